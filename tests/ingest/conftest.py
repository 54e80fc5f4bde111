"""Clips and queues for the tests of ingest."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from tests.clips import write_clip
from tests.rtsp_server import RtspServer, encode_clip

NAMESPACE = "test-ingest"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 numbered frames of 320x240 at 25 fps."""
    return write_clip(tmp_path_factory.mktemp("clips") / "numbered.mp4", frames=100)


@pytest.fixture(scope="session")
def gop_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 numbered frames of 320x240 at 25 fps, a keyframe per second."""
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / "seconds.mp4", frames=150, keyframe_every=25)


@pytest.fixture
def rtsp_server(clip: Path) -> Iterator[RtspServer]:
    """The numbered clip as a camera."""
    with RtspServer(encode_clip(clip)) as server:
        yield server


@pytest.fixture
def make_queue(redis_url: str) -> Iterator[Callable[..., FrameQueue]]:
    """Makes queues on a clean Redis; nobody answers their bells."""
    clients = []

    def make(**limits: int) -> FrameQueue:
        clients.append(make_redis(redis_url))
        return FrameQueue(clients[-1], QueueLimits(**limits), NAMESPACE, lambda _: None)

    yield make
    for client in clients:
        client.close()
