"""The frame ledger gets to SQL beside the supervisor's loop, which waits for no database."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.ingest_service import shared_supervisor
from app.ledger_copy import LedgerCopy
from core.errors import DatabaseUnavailableError
from core.frame_queue import FrameQueue
from core.settings import load_settings
from core.types import Camera
from storage.cameras import add_camera, remove_camera
from storage.database import Database
from tests.waiting import wait_until
from tests.workers.rig import make_queue, publish, select

pytestmark = pytest.mark.redis


@pytest.fixture
def queue(redis_url: str) -> FrameQueue:
    return make_queue(redis_url)


def captured(database: Database) -> list[tuple[int]]:
    return select(database, "SELECT sum(captured) FROM frame_ledger")


@contextmanager
def write_locked(path: Path) -> Iterator[None]:
    """Whoever writes to the SQLite file waits."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


def test_while_the_database_is_slow_the_supervisor_looks_after_its_cameras(
    queue: FrameQueue, redis_url: str, history: Database, folder: Path
) -> None:
    publish(queue, "tiny", 3)
    settings = load_settings(redis_url=redis_url, ledger_flush_s=0.1)
    with shared_supervisor(settings, queue, history) as supervisor:
        with write_locked(folder / "framewatch.db"):
            longest_s, until = 0.0, time.monotonic() + 3
            while time.monotonic() < until:
                began_at = time.monotonic()
                supervisor.look()
                longest_s = max(longest_s, time.monotonic() - began_at)
            assert captured(history) == [(None,)]
        assert longest_s < 1.5
        wait_until(lambda: captured(history) == [(3,)], 15, "the ledger in SQL")
        supervisor.stop()


def test_the_ledger_of_a_removed_camera_is_forgotten_after_it_was_copied(
    queue: FrameQueue, history: Database
) -> None:
    add_camera(history, Camera("gate", "/nowhere.mp4"))
    copy = LedgerCopy(queue, history, every_s=0.1)
    publish(queue, "tiny", 2)
    queue.ack("tiny", queue.claim("tiny", "slot-1", 2, 0.0))
    remove_camera(history, "gate")
    wait_until(lambda: queue.ledgers() == [], 15, "the camera to be forgotten")
    copy.close()
    assert captured(history) == [(2,)]


def test_it_outlives_a_database_that_is_away_and_says_so_once(
    queue: FrameQueue, history: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fail(*_: object) -> None:
        tries.append(1)
        raise ZeroDivisionError if len(tries) == 1 else DatabaseUnavailableError("SQL is away")

    publish(queue, "tiny", 2)
    with monkeypatch.context() as away:
        away.setattr("app.ledger_copy.flush_ledger", fail)
        copy = LedgerCopy(queue, history, every_s=0.05)
        wait_until(lambda: len(tries) > 4, 15, "vain tries")
    wait_until(lambda: captured(history) == [(2,)], 15, "the ledger in SQL")
    copy.close()
    assert caplog.text.count("SQL is away") == 1
    assert "unexpected ZeroDivisionError" in caplog.text
