"""ONVIF cameras, asked over a socket where their stream is."""

import socket
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from core.errors import SourceError, SourceLostError, SourceRefusedError
from ingest.sources import open_source
from ingest.sources.onvif import find_stream
from ingest.sources.source import SourceOptions
from tests.onvif_device import OnvifDevice
from tests.rtsp_server import RtspServer, encode_clip

PATIENT = SourceOptions(open_timeout_s=10.0)
PASSWORD = "p@ss/w:rd"


@pytest.fixture
def streams(clip: Path) -> Iterator[tuple[RtspServer, RtspServer]]:
    """A large and a small stream behind one login."""
    users = {"viewer": PASSWORD}
    small = encode_clip(clip, size=(160, 120))
    with RtspServer(encode_clip(clip), users=users) as main, RtspServer(small, users=users) as sub:
        yield main, sub


@pytest.fixture
def device(streams: tuple[RtspServer, RtspServer]) -> Iterator[OnvifDevice]:
    # It names its address behind a router: streams are looked for where the camera itself answered.
    main, sub = (server.url().replace("127.0.0.1", "192.0.2.1") for server in streams)
    with OnvifDevice({"main": main, "sub": sub}, login=("viewer", PASSWORD)) as device:
        yield device


@pytest.mark.parametrize(("query", "size"), [("", (320, 240)), ("?profile=sub", (160, 120))])
def test_the_stream_of_the_wanted_profile_is_found_and_read(
    device: OnvifDevice, query: str, size: tuple[int, int], monkeypatch
) -> None:
    monkeypatch.setenv("GATE_PASSWORD", PASSWORD)
    with open_source(device.url("viewer:${GATE_PASSWORD}@", query), PATIENT) as source:
        frames = list(islice(source, 3))
    assert frames[0].source_size == size
    assert len({frame.captured_at for frame in frames}) == 3


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_camera_may_have_an_ipv6_address() -> None:
    with OnvifDevice({"main": "rtsp://192.0.2.1:8554/main"}, ("viewer", "hush"), "::1") as device:
        found = find_stream(device.url("viewer:hush@"), PATIENT)
    assert found == "rtsp://viewer:hush@[::1]:8554/main"


@pytest.mark.parametrize("login", ["viewer:hush-hush@", ""])
def test_a_wrong_login_is_refused_without_telling_the_password(
    device: OnvifDevice, login: str, caplog
) -> None:
    with pytest.raises(SourceRefusedError, match="refused the user or password") as caught:
        open_source(device.url(login), PATIENT)
    assert "hush-hush" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None


def test_an_unknown_profile_can_never_work_and_lists_the_known_ones(device: OnvifDevice) -> None:
    login = "viewer:p%40ss%2Fw%3Ard@"
    with pytest.raises(SourceError, match="expected profile=main or sub, got third"):
        open_source(device.url(login, "?profile=third"), PATIENT)


def test_a_device_that_hangs_is_given_up(device: OnvifDevice) -> None:
    device.frozen.set()
    asked_at = time.monotonic()
    with pytest.raises(SourceLostError, match="no usable ONVIF answer"):
        open_source(device.url("viewer:x@"), SourceOptions(open_timeout_s=1.0))
    assert time.monotonic() - asked_at < 15


def test_a_device_that_is_off_is_lost() -> None:
    with pytest.raises(SourceLostError, match="no usable ONVIF answer: ConnectionError"):
        open_source("onvif://viewer:hush-hush@127.0.0.1:9", PATIENT)


@pytest.mark.parametrize("url", ["onvif://", "onvif://host:eighty"])
def test_a_url_without_a_host_can_never_work(url: str) -> None:
    with pytest.raises(SourceError, match="expected onvif://"):
        open_source(url)
