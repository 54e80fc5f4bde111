"""Real worker processes, with Redis on loopback and SQLite."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.queue_access import make_queue
from app.worker_pool import MOST_RESTARTS, WorkerPool, WorkersLostError
from core.errors import UsageError
from core.frame_queue import FrameQueue
from core.redis_client import make_redis
from core.settings import Settings, load_settings
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def settings(folder: Path, redis_url: str, tiny_weights: Path) -> Settings:
    return load_settings(redis_url=redis_url, model=str(tiny_weights), database_url="sqlite:///framewatch.db")


@pytest.fixture
def queue(settings: Settings) -> Iterator[FrameQueue]:
    client = make_redis(settings.redis_url)
    yield make_queue(client, settings)
    client.close()


def test_a_killed_worker_is_started_again_and_all_end_in_order(
    settings: Settings, queue: FrameQueue, folder: Path
) -> None:
    pool = WorkerPool(1, [settings.model_name], settings, folder / "logs")
    try:
        pool.start()
        wait_until(queue.workers, 60, "the worker reports for duty")
        (first,) = pool.process_ids()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pool.running == 0, 5, "the worker is dead")
        assert pool.check() == [
            f"worker1 was ended by SIGKILL; started again ({folder / 'logs/worker-1.log'})"
        ]
        (second,) = pool.process_ids()
        assert second != first
        wait_until(lambda: any(beat.pid == second for beat in queue.workers()), 60, "its successor works")
    finally:
        pool.stop()
    assert pool.running == 0
    assert not any(beat.pid == second for beat in queue.workers()), "SIGTERM lets a worker sign off"


def wait_for_end(pool: WorkerPool) -> None:
    wait_until(lambda: pool.running == 0, 60, "the worker ends")


def test_a_wrong_setting_is_the_workers_own_line_and_no_restart(settings: Settings, folder: Path) -> None:
    wrong = settings.model_copy(update={"device": "abacus"})
    pool = WorkerPool(1, [settings.model_name], wrong, folder / "logs")
    try:
        pool.start()
        wait_for_end(pool)
        with pytest.raises(UsageError, match="device: expected") as caught:
            pool.check()
        assert "\n" not in str(caught.value)
    finally:
        pool.stop()


def test_a_worker_that_dies_again_and_again_is_given_up(settings: Settings, folder: Path) -> None:
    pool = WorkerPool(1, [settings.model_name], settings, folder / "logs")
    try:
        pool.start()
        for _ in range(MOST_RESTARTS):
            os.kill(pool.process_ids()[0], signal.SIGKILL)
            wait_for_end(pool)
            assert "started again" in pool.check()[0]
        os.kill(pool.process_ids()[0], signal.SIGKILL)
        wait_for_end(pool)
        with pytest.raises(WorkersLostError, match=r"no worker stays alive: .*worker-1\.log"):
            pool.check()
    finally:
        pool.stop()


def test_no_password_stands_on_a_workers_command_line(settings: Settings, folder: Path) -> None:
    secret = settings.model_copy(update={"database_url": "postgresql://u:hunter2@127.0.0.1:1/x"})
    pool = WorkerPool(1, [settings.model_name], secret, folder / "logs")
    try:
        pool.start()
        line = Path(f"/proc/{pool.process_ids()[0]}/cmdline")
        wait_until(lambda: b"worker" in line.read_bytes(), 10, "the process has become the worker")
        command = line.read_bytes()
        assert b"hunter2" not in command
    finally:
        pool.stop()


def test_workers_serve_other_models_from_the_next_start_on(settings: Settings, folder: Path) -> None:
    pool = WorkerPool(1, [], settings, folder / "logs")
    try:
        pool.serve(["a"])
        before = pool.process_ids()
        pool.serve(["a"])
        assert pool.process_ids() == before
        pool.serve(["a", "b"])
        assert pool.models == ("a", "b")
        assert pool.process_ids() != before
    finally:
        pool.stop()
