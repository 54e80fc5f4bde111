"""A real queue, a real database and a real, tiny detector file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.frame_queue import FrameQueue
from models.detector import Detector, load_detector
from storage.database import Database, open_database
from tests.fakes import save_tiny_detector
from tests.workers.rig import make_queue


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector file that takes about a millisecond per picture."""
    return save_tiny_detector(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="session")
def tiny_detector(tiny_weights: Path) -> Detector:
    """The same, loaded."""
    return load_detector(tiny_weights, device="cpu", precision="fp32")


@pytest.fixture
def queue(redis_url: str) -> FrameQueue:
    """On an empty Redis."""
    return make_queue(redis_url)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite, as workers use it on one host."""
    return f"sqlite:///{tmp_path / 'history.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Upgraded and empty."""
    database = open_database(database_url)
    database.upgrade()
    yield database
    database.close()
