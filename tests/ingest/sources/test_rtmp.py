"""RTMP over a socket."""

import time
from itertools import islice
from pathlib import Path

import pytest

from core.errors import SourceError, SourceLostError
from ingest.sources import open_source
from ingest.sources.source import SourceOptions
from tests.clips import read_number
from tests.conftest import missing
from tests.rtmp_server import RtmpServer

QUICK = SourceOptions(open_timeout_s=10.0, stall_timeout_s=1.0)


@pytest.fixture(autouse=True)
def _ffmpeg() -> None:
    if not RtmpServer.is_possible():
        missing("ffmpeg (Debian's package of that name)")


def test_frames_arrive_in_order_and_a_server_that_is_killed_is_lost_and_found(gop_clip: Path) -> None:
    with RtmpServer(gop_clip) as server:
        with open_source(server.url, QUICK) as source:
            frames = iter(source)
            first = list(islice(frames, 30))
            server.kill()
            with pytest.raises(SourceLostError, match=r"the stream broke|closed the connection"):
                list(frames)
        server.wait_until_listening()
        with open_source(server.url, QUICK) as source:
            again = list(islice(source, 5))
    assert [read_number(frame.image, 320) for frame in first] == list(range(30))
    assert [read_number(frame.image, 320) for frame in again] == list(range(5))


def test_sound_that_goes_on_does_not_hide_a_picture_that_stands_still(gop_clip: Path) -> None:
    with (
        RtmpServer(gop_clip, video_ends_after_s=2.0) as server,
        open_source(server.url, QUICK) as source,
    ):
        moments: list[float] = []
        with pytest.raises(SourceLostError, match="nothing came for 1 s"):
            moments.extend(time.monotonic() for _ in source)
    assert time.monotonic() - moments[-1] < QUICK.stall_timeout_s + 1


@pytest.mark.parametrize("url", ["rtmp://", "rtmp:///live/clip", "rtmp://host/"])
def test_a_url_without_host_or_path_can_never_work(url: str) -> None:
    with pytest.raises(SourceError, match="expected rtmp://"):
        open_source(url)
