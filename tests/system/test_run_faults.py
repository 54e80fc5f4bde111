"""A worker killed, Redis and PostgreSQL restarted while `framewatch run` is at it: all frames stored once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.redis_server import EmbeddedRedis
from tests.postgres_server import PostgresServer
from tests.system.street import STREET_FRAMES, framewatch, select, start_framewatch
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess, worker_environment
from tests.workers.rig import make_queue

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.postgres]

CLAIM_TIMEOUT_S = 5.0
RUN_TIMEOUT_S = 200.0


class Street:
    """Redis, PostgreSQL, two workers, and the clip on its way through them."""

    def __init__(self, folder: Path, redis: EmbeddedRedis, postgres: PostgresServer) -> None:
        self.folder = folder
        self.redis = redis
        self.postgres = postgres
        self.environment = worker_environment(
            redis_url=redis.url,
            database_url=postgres.url,
            claim_timeout_s=CLAIM_TIMEOUT_S,
            canvas="192x160",  # what is found is not looked at, and slow CPUs need minutes for more
            data_dir=folder,
        )

    def wait_stored(self, count: int) -> None:
        """Returns when that many frames are acknowledged."""
        queue = make_queue(self.redis.url)
        wait_until(
            lambda: queue.ledger("street").stored >= count,
            RUN_TIMEOUT_S,
            f"{count} stored frames",
            poll_s=0.1,
        )

    def assert_nothing_is_lost_by(self, clip: Path, fault: Callable[[WorkerProcess], None]) -> None:
        """The whole clip through two workers; `fault` happens when a quarter of it is stored."""
        queue = make_queue(self.redis.url)
        framewatch(self.environment, self.folder, "db", "upgrade")
        with (
            WorkerProcess(self.environment, self.folder / "first.log", "--hostname=first@%h") as first,
            WorkerProcess(self.environment, self.folder / "second.log", "--hostname=second@%h") as second,
        ):
            first.wait_ready(queue)
            second.wait_ready(queue)
            words = ("run", f"street={clip}", "--workers", "0", "--json")
            with start_framewatch(self.environment, self.folder, *words) as process:
                self.wait_stored(STREET_FRAMES // 4)
                fault(first)
                output, errors = process.communicate(timeout=RUN_TIMEOUT_S)
            assert process.returncode == 0, errors
            assert second.terminate() == 0
        self.assert_all_stored_once(json.loads(output)["cameras"][0])

    def assert_all_stored_once(self, ledger: dict[str, int]) -> None:
        assert (ledger["captured"], ledger["stored"], ledger["balance"]) == (STREET_FRAMES, STREET_FRAMES, 0)
        rows = select(self.postgres.url, "SELECT frame_index FROM frames ORDER BY 1")
        assert [index for (index,) in rows] == list(range(STREET_FRAMES))


@pytest.fixture
def street(tmp_path: Path) -> "Street":  # type: ignore[misc]
    with (
        EmbeddedRedis(tmp_path / "redis", appendonly=True) as redis,
        PostgresServer(tmp_path / "postgres") as postgres,
    ):
        yield Street(tmp_path, redis, postgres)  # type: ignore[misc]


def test_a_worker_killed_in_mid_batch_loses_no_frame(street: Street, street_clip: Path) -> None:
    street.assert_nothing_is_lost_by(street_clip, lambda worker: worker.kill())


def test_restarts_of_redis_and_postgresql_lose_no_frame(street: Street, street_clip: Path) -> None:
    def restart(_: WorkerProcess) -> None:
        street.redis.stop()
        street.redis.start()
        street.wait_stored(STREET_FRAMES // 2)
        street.postgres.restart()

    street.assert_nothing_is_lost_by(street_clip, restart)
