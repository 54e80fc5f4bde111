from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.source_list import inspect_sources, parse_sources, split_name
from core.errors import SettingsError
from core.types import Policy
from tests.clips import write_clip


@pytest.mark.parametrize(
    ("text", "name", "url"),
    [
        ("street.mp4", None, "street.mp4"),
        ("gate=street.mp4", "gate", "street.mp4"),
        ("gate=rtsp://host/1?a=b", "gate", "rtsp://host/1?a=b"),
        ("rtsp://host/1?a=b", None, "rtsp://host/1?a=b"),
        ("gate=", None, "gate="),
    ],
)
def test_a_source_may_have_a_name_in_front(text: str, name: str | None, url: str) -> None:
    assert split_name(text) == (name, url)


def test_a_file_with_an_equals_sign_in_its_name_stays_whole(folder: Path) -> None:
    (folder / "a=b.mp4").touch()
    assert split_name("a=b.mp4") == (None, "a=b.mp4")


def test_cameras_are_called_after_their_files_and_lose_no_frame() -> None:
    camera, live = parse_sources(["videos/street (1).mp4", "rtsp://u:secret@192.0.2.10:554/stream1"], fps=5)
    assert (camera.name, camera.policy, camera.max_age_s, camera.fps) == ("street-1", Policy.WAIT, None, 5)
    assert live.name == "192.0.2.10-554-stream1"
    assert live.policy is Policy.DROP_OLDEST


def test_two_sources_of_one_name_are_refused_with_a_way_out() -> None:
    with pytest.raises(SettingsError, match=r"got 'street' twice; .* example street-2=b/street\.mp4"):
        parse_sources(["a/street.mp4", "b/street.mp4"], None)


def test_two_sources_that_differ_in_a_password_alone_are_refused_without_showing_it() -> None:
    urls = [f"rtsp://viewer:{password}@192.0.2.10/stream1" for password in ("s3cret-a", "s3cret-b")]
    with pytest.raises(SettingsError, match=r"-2=rtsp://viewer:\*\*\*@192\.0\.2\.10/stream1$") as caught:
        parse_sources(urls, None)
    assert "s3cret" not in str(caught.value)


def test_files_are_looked_into_before_anything_starts(folder: Path) -> None:
    write_clip(folder / "good.mp4", frames=30, metadata={"creation_time": "2026-11-23T08:00:00Z"})
    (folder / "text.mp4").write_text("hello")
    found, errors = inspect_sources(parse_sources(["good.mp4", "text.mp4", "gone.mp4", "usb://0"], None))
    good, usb = found
    assert good.camera.url == "good.mp4"
    assert good.first_captured_at == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert (good.frames, good.recorded) == (30, True)
    assert (usb.frames, usb.recorded) == (None, False)
    assert len(errors) == 2
    assert "text.mp4" in errors[0]
    assert "no such file" in errors[1]
