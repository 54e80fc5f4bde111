"""MJPEG over HTTP, over a socket."""

import socket
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NoReturn

import cv2
import pytest

from core.errors import CorruptFrameError, SourceError, SourceLostError, SourceRefusedError
from ingest.sources import open_source
from ingest.sources.http_login import Login
from ingest.sources.source import SourceFrame, SourceOptions
from tests.clips import numbered_picture, read_number
from tests.mjpeg_server import MjpegServer

QUICK = SourceOptions(open_timeout_s=1.0, stall_timeout_s=0.5, max_side=640)


def pictures(count: int = 8, size: tuple[int, int] = (320, 240)) -> list[bytes]:
    return [cv2.imencode(".jpg", numbered_picture(number, size))[1].tobytes() for number in range(count)]


@pytest.mark.parametrize("with_length", [True, False])
def test_every_picture_arrives(with_length: bool) -> None:
    with (
        MjpegServer(pictures(), with_length=with_length) as server,
        open_source(server.url(), QUICK) as source,
    ):
        frames = list(islice(source, 8))
    assert [read_number(frame.image, 320) for frame in frames] == list(range(8))
    assert datetime.now(UTC) - frames[-1].captured_at < timedelta(seconds=1)
    assert not source.recorded


def test_pictures_are_shrunk_and_know_their_source_size() -> None:
    with MjpegServer(pictures(1, (1280, 720))) as server, open_source(server.url(), QUICK) as source:
        frame = next(iter(source))
    assert (frame.image.shape, frame.source_size) == ((360, 640, 3), (1280, 720))


def test_a_damaged_picture_is_told_and_the_next_one_read() -> None:
    good = pictures(1)[0]
    with (
        MjpegServer([good, b"\xff\xd8 oh \xff\xd9", good]) as server,
        open_source(server.url(), QUICK) as source,
    ):
        first, damaged, third = islice(source, 3)
    assert first.image.shape == third.image.shape
    with pytest.raises(CorruptFrameError):
        _ = damaged.image


def with_thumbnail(jpeg: bytes, length: int | None = None) -> bytes:
    """The picture with an EXIF segment that holds a smaller picture; `length` is what it says of itself."""
    inner = b"Exif\0\0" + pictures(1, (160, 120))[0]
    said = len(inner) + 2 if length is None else length
    return jpeg[:2] + b"\xff\xe1" + said.to_bytes(2, "big") + inner + jpeg[2:]


@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("filling", [b"", b"\xff\xff"])
def test_a_picture_goes_on_after_its_thumbnail(with_length: bool, filling: bytes) -> None:
    sent = [jpeg[:2] + filling + with_thumbnail(jpeg)[2:] for jpeg in pictures()]
    with MjpegServer(sent, with_length=with_length) as server, open_source(server.url(), QUICK) as source:
        frames = list(islice(source, 8))
    assert [read_number(frame.image, 320) for frame in frames] == list(range(8))


@pytest.mark.parametrize("length", [0, 7, 65_535])
def test_the_stream_goes_on_after_a_segment_that_lies_about_its_length(length: int) -> None:
    good = pictures(1)[0]
    sent = [with_thumbnail(good, length), *([good] * 40)]
    with (
        MjpegServer(sent, fps=200, with_length=False) as server,
        open_source(server.url(), QUICK) as source,
    ):
        frames = list(islice(source, 41))
    assert sum(is_readable(frame) for frame in frames) >= 30


def is_readable(frame: SourceFrame) -> bool:
    try:
        return frame.source_size == (320, 240)
    except CorruptFrameError:
        return False


def test_segments_without_end_are_no_picture() -> None:
    endless = b"\xff\xd8" + (b"\xff\xe1\xff\xff" + bytes(65_533)) * 520
    with (
        MjpegServer([endless], with_length=False) as server,
        open_source(server.url(), QUICK) as source,
        pytest.raises(SourceLostError, match="is none"),
    ):
        next(iter(source))


@pytest.mark.parametrize("digest", [False, True])
def test_a_login_is_given(digest: bool) -> None:
    with (
        MjpegServer(pictures(), login=("viewer", "p@ss:w"), digest=digest) as server,
        open_source(server.url(login="viewer:p%40ss%3Aw@"), QUICK) as source,
    ):
        assert next(iter(source)).source_size == (320, 240)


@pytest.mark.parametrize("login", ["viewer:hush-hush@", ""])
@pytest.mark.parametrize("digest", [False, True])
def test_a_wrong_login_is_refused_without_telling_the_password(digest: bool, login: str) -> None:
    with (
        MjpegServer(pictures(), login=("viewer", "right"), digest=digest) as server,
        pytest.raises(SourceRefusedError, match="refused the user or password") as caught,
    ):
        open_source(server.url(login=login), QUICK)
    assert "hush-hush" not in str(caught.value)


def test_a_redirection_is_followed() -> None:
    with (
        MjpegServer(pictures(), login=("a", "b")) as server,
        open_source(server.url("/moved", login="a:b@"), QUICK) as source,
    ):
        assert next(iter(source)).source_size == (320, 240)


@pytest.mark.parametrize("address", ["http://cam era/stream", "http://cam:eighty/", "rtsp://camera/"])
def test_a_redirection_to_no_web_address_is_lost(address: str) -> None:
    with (
        MjpegServer(pictures(1), moved_to=address) as server,
        pytest.raises(SourceLostError, match="redirects to what is no web address"),
    ):
        open_source(server.url("/moved"), QUICK)


def test_a_web_page_is_no_camera_as_yet() -> None:
    with (
        MjpegServer(pictures()) as server,
        pytest.raises(SourceLostError, match=r"expected .*MJPEG.*got text/html"),
    ):
        open_source(server.url("/page"), QUICK)


def test_a_camera_that_freezes_is_noticed_within_the_stall_time() -> None:
    with MjpegServer(pictures()) as server, open_source(server.url(), QUICK) as source:
        frames = iter(source)
        next(frames)
        server.frozen.set()
        frozen_at = time.monotonic()
        with pytest.raises(SourceLostError, match=r"nothing came for 0\.5 s"):
            list(frames)
        assert time.monotonic() - frozen_at < QUICK.stall_timeout_s + 1


def test_a_camera_that_hangs_up_is_lost() -> None:
    with MjpegServer(pictures()) as server, open_source(server.url(), QUICK) as source:
        frames = iter(source)
        next(frames)
        server.stopped.set()
        with pytest.raises(SourceLostError, match="the camera closed the connection"):
            list(frames)


def test_a_camera_that_is_off_is_lost() -> None:
    with pytest.raises(SourceLostError, match="cannot connect: Connection refused"):
        open_source("http://127.0.0.1:9/stream", QUICK)


def test_a_host_that_does_not_exist_is_lost() -> None:
    with pytest.raises(SourceLostError, match="cannot connect"):
        open_source("http://camera.invalid/stream", QUICK)


@pytest.mark.parametrize("url", ["http:///stream", "http://user:pa[ss@127.0.0.1/stream"])
def test_a_url_without_a_readable_host_can_never_work(url: str) -> None:
    with pytest.raises(SourceError, match="expected http://HOST") as caught:
        open_source(url, QUICK)
    assert "pa[ss" not in str(caught.value)


def test_a_host_with_a_space_can_never_work() -> None:
    with pytest.raises(SourceError, match=r"expected http://USER:PASSWORD@HOST.* got http://cam era/stream"):
        open_source("http://cam era/stream", QUICK)


def test_an_ipv6_address_without_a_port_is_asked_at_the_usual_one(monkeypatch) -> None:
    asked = []

    def connect(address: tuple[str, int], *_: object) -> NoReturn:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    for url in ("http://[fe80::abcd]/stream", "https://[::1]/stream", "http://[::1]:81/stream"):
        with pytest.raises(SourceLostError, match="cannot connect"):
            open_source(url, QUICK)
    assert asked == [("fe80::abcd", 80), ("::1", 443), ("::1", 81)]


def test_a_host_that_cannot_be_looked_up_is_lost() -> None:
    with pytest.raises(SourceLostError, match="cannot connect"):
        open_source("http://cam..local/stream", QUICK)


def test_a_path_may_have_letters_of_any_language() -> None:
    with MjpegServer(pictures()) as server, open_source(server.url("/stream?tor=süd"), QUICK) as source:
        assert next(iter(source)).source_size == (320, 240)


@pytest.mark.parametrize("challenge", ["Digest realm, Negotiate", "Digest stale=,", "Digest", "Negotiate"])
def test_a_challenge_that_nobody_understands_is_not_answered(challenge: str) -> None:
    assert Login("viewer", "hush").answer(challenge, "GET", "/") is None or challenge == "Digest"
