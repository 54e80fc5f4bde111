"""A camera from nothing but its URL."""

import os

import pytest

from core.errors import SettingsError, SourceError
from core.types import Policy
from ingest.camera_defaults import camera_for, name_from


def test_a_recording_loses_no_frame() -> None:
    camera = camera_for("/videos/street.mp4", fps=5)
    assert (camera.policy, camera.max_age_s, camera.fps) == (Policy.WAIT, None, 5)


def test_a_live_camera_stays_fresh() -> None:
    camera = camera_for("rtsp://192.0.2.10/stream1")
    assert (camera.policy, camera.max_age_s) == (Policy.DROP_OLDEST, 10.0)


def test_a_policy_that_is_given_wins() -> None:
    assert camera_for("street.mp4", policy=Policy.LATEST, max_age_s=1.0).policy is Policy.LATEST


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/videos/front door.mp4", "front-door"),
        ("file:///videos/street.v2.mp4", "street.v2"),
        ("pictures/", "pictures"),
        ("rtsp://viewer:hush@192.0.2.10:554/stream1?token=hush", "192.0.2.10-554-stream1"),
        ("rtsp://admin:p@ss/word@192.0.2.1/x", "192.0.2.1-x"),
        (
            "rtsp://192.0.2.1/user=admin_password=hush_channel=1_stream=0.sdp",
            "192.0.2.1-user-admin_channel-1_stream-0.sdp",
        ),
        ("rtsp://192.0.2.1/user=admin&password=hush&channel=1", "192.0.2.1-user-admin-channel-1"),
        ("rtsp://192.0.2.1/password=hush", "192.0.2.1"),
        ("usb://0", "0"),
        ("/dev/video0", "dev-video0"),
        ("/videos/дверь.mp4", "camera"),
        ("x" * 100, "x" * 63),
    ],
)
def test_a_name_comes_from_the_url_and_holds_no_secret(url: str, name: str) -> None:
    assert name_from(url) == name
    assert camera_for(url).name == name


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SourceError, match="expected a file or one of"):
        camera_for("rstp://192.0.2.10/stream1")


def test_a_file_name_that_is_not_utf_8_is_refused_in_one_printable_line() -> None:
    with pytest.raises(SettingsError, match="expected a url or file name in UTF-8") as caught:
        camera_for(os.fsdecode(b"videos/caf\xe9.mp4"))
    assert str(caught.value).isascii()
    assert str(caught.value).startswith("camera caf: ")
    assert "\n" not in str(caught.value)
