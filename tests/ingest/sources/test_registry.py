"""One registry by URL scheme."""

import pytest

from core.errors import SettingsError, SourceError, SourceLostError
from ingest.sources import KINDS, SourceKind, _by_scheme, is_recorded, open_source, source_kind


@pytest.mark.parametrize("url", ["rstp://viewer:hush@host/x", "ftp://viewer:hush@host/street.mp4"])
def test_a_misspelt_scheme_lists_the_known_ones_and_hides_the_password(url: str) -> None:
    with pytest.raises(
        SourceError, match=r"expected a file or one of file://, .*rtsp://.*usb://, got "
    ) as caught:
        open_source(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("street.mp4", True),
        ("/videos", True),
        ("file:///videos/street.mp4", True),
        ("RTSP://host/x", False),
        ("rtsps://host/x", False),
        ("https://host/x", False),
        ("usb://0", False),
        ("/dev/video0", False),
    ],
)
def test_a_url_tells_whether_it_is_a_recording(url: str, recorded: bool) -> None:
    assert is_recorded(url) is recorded


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp", "onvif"])
@pytest.mark.parametrize("host", ["[camera", "camera:eighty", "camera:65536"])
def test_a_host_or_port_that_cannot_be_is_refused(scheme: str, host: str) -> None:
    with pytest.raises(SourceError, match=f"expected {scheme}://") as caught:
        open_source(f"{scheme}://viewer:hush@{host}/stream")
    assert "hush" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(SourceError, match=r"name too long|no such file"):
        open_source("x" * 5000)


@pytest.mark.parametrize("url", ["~nosuchuser/a.mp4", "file://~nosuchuser/a.mp4"])
def test_a_home_of_nobody_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"~nosuchuser/a\.mp4: expected the name of a person"):
        open_source(url)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.schemes[0])
def test_every_kind_has_an_example_of_its_own(kind: SourceKind) -> None:
    assert source_kind(kind.example.split(" ")[0].rstrip(",")) is kind


def test_two_kinds_cannot_share_a_scheme() -> None:
    with pytest.raises(ValueError, match="two kinds of source for file://"):
        _by_scheme([*KINDS, KINDS[0]])


def test_a_reference_may_stand_for_the_whole_url(monkeypatch) -> None:
    monkeypatch.setenv("GATE_URL", "rtsp://viewer:hush@127.0.0.1:9/x")
    assert not is_recorded("${GATE_URL}")
    with pytest.raises(SourceLostError, match=r"^\$\{GATE_URL\}: cannot connect: Connection refused$"):
        open_source("${GATE_URL}")


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="NO_SUCH_PASSWORD"):
        open_source("rtsp://viewer:${NO_SUCH_PASSWORD}@127.0.0.1/x")
