"""Workers, Redis and PostgreSQL killed, stopped and restarted in the middle of the work: nothing is lost."""

import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from core.errors import QueueUnavailableError
from core.frame_queue import FrameQueue
from core.redis_client import make_redis
from core.redis_server import EmbeddedRedis
from core.types import DropReason
from storage.database import Database, open_database
from tests.postgres_server import PostgresServer
from tests.redis_logins import login_refused
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess, worker_environment
from tests.workers.faulty_worker import POISON_INDEX
from tests.workers.rig import make_frame, make_queue, publish, select, stored_indices, waiting_camera
from workers.watchdog import HANG_EXIT_CODE

pytestmark = [pytest.mark.redis, pytest.mark.slow]

FAULTY_APP = "tests.workers.faulty_worker"
CLAIM_TIMEOUT_S = 3.0
DONE_TIMEOUT_S = 60.0


def in_hands(queue: FrameQueue, model: Path) -> int:
    """Frames that some worker holds."""
    return sum(depth.frames - depth.waiting for depth in queue.depth(str(model)))


def all_settled(queue: FrameQueue, count: int, camera: str = "gate") -> bool:
    ledger = queue.ledger(camera)
    return ledger.captured == count and ledger.in_flight == 0


@contextmanager
def write_locked(database_url: str) -> Iterator[None]:
    """Nobody else can write to the SQLite file, so that batches stay in their workers' hands."""
    connection = sqlite3.connect(make_url(database_url).database or "", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.rollback()
        connection.close()


def assert_all_stored_once(queue: FrameQueue, database: Database, count: int) -> None:
    assert stored_indices(database) == list(range(count))
    ledger = queue.ledger("gate")
    assert (ledger.captured, ledger.stored, ledger.in_flight) == (count, count, 0)
    assert (ledger.dropped_total, ledger.balance) == (0, 0)


@pytest.fixture
def environment(redis_url: str, database_url: str, tiny_weights: Path) -> dict[str, str]:
    return worker_environment(
        redis_url=redis_url,
        database_url=database_url,
        model=tiny_weights,
        claim_timeout_s=CLAIM_TIMEOUT_S,
        bell_timeout_s=1.0,
    )


@pytest.fixture
def queue(redis_url: str) -> FrameQueue:
    return make_queue(redis_url, claim_timeout_s=CLAIM_TIMEOUT_S, bell_timeout_s=1.0)


def test_two_workers_share_and_a_killed_ones_frames_are_claimed_by_the_other(
    environment: dict[str, str],
    queue: FrameQueue,
    database: Database,
    database_url: str,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    with (
        WorkerProcess(environment, tmp_path / "first.log", "--hostname=first@%h") as first,
        WorkerProcess(environment, tmp_path / "second.log", "--hostname=second@%h") as second,
    ):
        first.wait_ready(queue)
        second.wait_ready(queue)
        with write_locked(database_url):
            publish(queue, tiny_weights, 100)
            # Two slots of 8 frames each: more than 16 are in the hands of both.
            wait_until(lambda: in_hands(queue, tiny_weights) > 16, 20.0, "both workers hold frames")
            first.kill()
        wait_until(lambda: all_settled(queue, 100), CLAIM_TIMEOUT_S + 20.0, "all frames are settled")
        assert_all_stored_once(queue, database, 100)
        assert second.terminate() == 0


def test_a_worker_killed_between_commit_and_acknowledgement_stores_nothing_twice(
    environment: dict[str, str],
    redis_url: str,
    queue: FrameQueue,
    database: Database,
    database_url: str,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    with WorkerProcess(environment, tmp_path / "killed.log") as killed:
        killed.wait_ready(queue)
        with make_redis(redis_url) as client:
            with write_locked(database_url):
                publish(queue, tiny_weights, 8)
                wait_until(lambda: in_hands(queue, tiny_weights) == 8, 20.0, "the frames are in hand")
                client.client_pause(60_000, all=False)  # no acknowledgement comes through
            wait_until(lambda: len(stored_indices(database)) == 8, 20.0, "the rows are committed")
            killed.kill()
            client.client_unpause()
    assert queue.ledger("gate").stored == 0
    detections = select(database, "SELECT count(*) FROM detections")
    with WorkerProcess(environment, tmp_path / "next.log") as follower:
        follower.wait_ready(queue)
        wait_until(lambda: all_settled(queue, 8), CLAIM_TIMEOUT_S + 20.0, "all frames are settled")
        assert_all_stored_once(queue, database, 8)
        assert select(database, "SELECT count(*) FROM detections") == detections


def test_sigterm_finishes_the_batch_in_hand_and_exits_0(
    environment: dict[str, str],
    queue: FrameQueue,
    database: Database,
    database_url: str,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    with WorkerProcess(environment, tmp_path / "worker.log") as worker:
        worker.wait_ready(queue)
        with write_locked(database_url):
            publish(queue, tiny_weights, 100)
            wait_until(lambda: in_hands(queue, tiny_weights) > 8, 20.0, "both slots hold a batch")
            held = in_hands(queue, tiny_weights)
            worker.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Warm shutdown" in worker.log, 20.0, "the worker heard SIGTERM")
            assert worker.process.poll() is None
        assert worker.process.wait(30) == 0
        assert len(stored_indices(database)) == queue.ledger("gate").stored == held
        assert in_hands(queue, tiny_weights) == 0
        assert queue.ledger("gate").balance == 0
        assert queue.workers() == []


def test_a_hanging_batch_ends_its_worker_and_another_takes_the_frames(
    environment: dict[str, str], queue: FrameQueue, database: Database, tiny_weights: Path, tmp_path: Path
) -> None:
    faulty = environment | {"FRAMEWATCH_BATCH_TIMEOUT_S": "1.5", "FAULT": "hang"}
    with WorkerProcess(faulty, tmp_path / "hanging.log", app=FAULTY_APP) as hanging:
        hanging.wait_ready(queue)
        publish(queue, tiny_weights, 8)
        assert hanging.process.wait(20) == HANG_EXIT_CODE
        assert "longer than batch_timeout_s of 1.5 s" in hanging.log
    with WorkerProcess(environment, tmp_path / "sound.log") as sound:
        sound.wait_ready(queue)
        wait_until(lambda: all_settled(queue, 8), CLAIM_TIMEOUT_S + 20.0, "all frames are settled")
        assert_all_stored_once(queue, database, 8)


def test_a_frame_that_kills_every_worker_is_buried_alone(
    environment: dict[str, str], queue: FrameQueue, database: Database, tiny_weights: Path, tmp_path: Path
) -> None:
    killing = environment | {"FAULT": "kill", "FRAMEWATCH_CLAIM_TIMEOUT_S": "1"}
    publish(queue, tiny_weights, 12)
    deaths = 0
    while not all_settled(queue, 12):
        with WorkerProcess(killing, tmp_path / "killed.log", app=FAULTY_APP) as worker:
            ended = lambda worker=worker: worker.process.poll() is not None or all_settled(queue, 12)  # noqa: E731
            wait_until(ended, 60.0, "the worker dies, or is done")
            deaths += worker.process.poll() == -signal.SIGKILL
    assert deaths == 3
    assert [letter.frame.index for letter in queue.dead_letters(str(tiny_weights))] == [POISON_INDEX]
    assert stored_indices(database) == [index for index in range(12) if index != POISON_INDEX]
    ledger = queue.ledger("gate")
    assert (ledger.dropped[DropReason.FAILED], ledger.stored, ledger.balance) == (1, 11, 0)


def test_a_worker_without_its_broker_exits_in_bounded_time(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        impatient = environment | {
            "FRAMEWATCH_REDIS_URL": server.url,
            "FRAMEWATCH_BROKER_LOST_EXIT_S": "2",
        }
        with WorkerProcess(impatient, tmp_path / "worker.log") as worker:
            worker.wait_ready(make_queue(server.url))
            server.kill()
            assert worker.process.wait(30) == HANG_EXIT_CODE
            assert "Redis was out of reach for longer than broker_lost_exit_s (2 s)" in worker.log


def test_a_restart_of_redis_in_mid_run_loses_nothing(
    environment: dict[str, str], database: Database, tiny_weights: Path, tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "redis", appendonly=True) as server:
        queue = make_queue(server.url, bell_timeout_s=1.0)
        settings = environment | {"FRAMEWATCH_REDIS_URL": server.url}
        with WorkerProcess(settings, tmp_path / "worker.log") as worker:
            worker.wait_ready(queue)
            with ThreadPoolExecutor(1) as pool:
                publishing = pool.submit(publish_patiently, queue, tiny_weights, 400)
                wait_until(lambda: queue.ledger("gate").stored > 50, 30.0, "the run is under way")
                server.stop()
                server.start()
                publishing.result(DONE_TIMEOUT_S)
            wait_until(lambda: all_settled(queue, 400), DONE_TIMEOUT_S, "all frames are settled")
            assert_all_stored_once(queue, database, 400)
            assert worker.terminate() == 0


def test_a_worker_rides_out_a_redis_that_is_killed_again_and_again(
    environment: dict[str, str], database: Database, tiny_weights: Path, tmp_path: Path
) -> None:
    """Each time some bell is unacknowledged, which Celery must not take for the end of the world."""
    with EmbeddedRedis(tmp_path / "redis", appendonly=True) as server:
        queue = make_queue(server.url, bell_timeout_s=1.0, claim_timeout_s=CLAIM_TIMEOUT_S)
        settings = environment | {"FRAMEWATCH_REDIS_URL": server.url}
        with WorkerProcess(settings, tmp_path / "worker.log") as worker:
            worker.wait_ready(queue)

            def has_logged(line: str, times: int) -> bool:
                assert worker.process.poll() is None
                return worker.log.count(line) >= times

            for round_number in range(1, 5):
                wait_until(
                    lambda times=round_number: has_logged("Connected to redis://", times),
                    20.0,
                    "Celery is connected",
                )
                first = len(stored_indices(database))
                with ThreadPoolExecutor(1) as pool:
                    publishing = pool.submit(publish_patiently, queue, tiny_weights, 200, first)
                    wait_until(
                        lambda first=first: len(stored_indices(database)) > first + 20,
                        30.0,
                        "the run is under way",
                    )
                    server.kill()
                    wait_until(
                        lambda times=round_number: has_logged("Connection to broker lost", times),
                        10.0,
                        "Celery notices",
                    )
                    server.start()
                    publishing.result(DONE_TIMEOUT_S)
                wait_until(
                    lambda: not queue.ledger("gate").in_flight, DONE_TIMEOUT_S, "all frames are settled"
                )
                assert stored_indices(database) == list(range(200 * round_number))
                assert worker.process.poll() is None
            assert worker.terminate() == 0


def test_a_worker_rides_out_a_redis_that_refuses_its_login_for_a_while(
    environment: dict[str, str], database: Database, tiny_weights: Path, tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        queue = make_queue(server.url, bell_timeout_s=1.0, claim_timeout_s=CLAIM_TIMEOUT_S)
        settings = environment | {"FRAMEWATCH_REDIS_URL": server.url}
        with WorkerProcess(settings, tmp_path / "worker.log") as worker, ThreadPoolExecutor(1) as pool:
            worker.wait_ready(queue)
            publishing = pool.submit(publish_patiently, queue, tiny_weights, 2000)
            wait_until(lambda: queue.ledger("gate").stored > 50, 30.0, "the run is under way")
            with login_refused(server):
                wait_until(lambda: "cannot keep its place" in worker.log, 20.0, "the worker notices")
            publishing.result(DONE_TIMEOUT_S)
            wait_until(lambda: all_settled(queue, 2000), DONE_TIMEOUT_S, "all frames are settled")
            assert_all_stored_once(queue, database, 2000)
            assert worker.terminate() == 0


def test_a_worker_empties_a_redis_that_is_over_its_memory_limit(
    environment: dict[str, str],
    redis_url: str,
    database: Database,
    database_url: str,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    """Such a server takes no bell, so the drain that is at work must not end before all is done."""
    queue = make_queue(redis_url, bell_timeout_s=1.0, claim_timeout_s=CLAIM_TIMEOUT_S, camera_max_frames=2000)
    with WorkerProcess(environment, tmp_path / "worker.log") as worker, make_redis(redis_url) as client:
        worker.wait_ready(queue)
        with write_locked(database_url):
            publish(queue, tiny_weights, 2000)
            wait_until(lambda: in_hands(queue, tiny_weights) > 8, 20.0, "both slots hold a batch")
            client.config_set("maxmemory", 1)
        try:
            wait_until(lambda: all_settled(queue, 2000), DONE_TIMEOUT_S, "all frames are settled")
        finally:
            client.config_set("maxmemory", 0)
        assert_all_stored_once(queue, database, 2000)
        assert worker.terminate() == 0


def publish_patiently(queue: FrameQueue, model: Path, count: int, first: int = 0) -> None:
    """As ingest does it: the same frame again while Redis is away."""
    for index in range(first, first + count):
        wait_until(lambda index=index: try_to_publish(queue, model, index), 30.0, "the frame is queued")


def try_to_publish(queue: FrameQueue, model: Path, index: int) -> bool:
    try:
        return queue.publish(make_frame(index), waiting_camera(model))
    except QueueUnavailableError:
        return False


@pytest.mark.postgres
def test_a_restart_of_postgresql_in_mid_run_loses_nothing(
    environment: dict[str, str], queue: FrameQueue, tiny_weights: Path, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        database = open_database(server.url)
        settings = environment | {"FRAMEWATCH_DATABASE_URL": server.url}
        with WorkerProcess(settings, tmp_path / "worker.log") as worker:
            worker.wait_ready(queue)
            with ThreadPoolExecutor(1) as pool:
                publishing = pool.submit(publish, queue, tiny_weights, 400)
                wait_until(lambda: queue.ledger("gate").stored > 50, 30.0, "the run is under way")
                server.kill()
                wait_until(lambda: "the database is away" in worker.log, 20.0, "the worker notices")
                held = in_hands(queue, tiny_weights)
                assert 0 < held <= 16
                server.start()
                publishing.result(DONE_TIMEOUT_S)
            wait_until(lambda: all_settled(queue, 400), DONE_TIMEOUT_S, "all frames are settled")
            assert_all_stored_once(queue, database, 400)
            assert worker.terminate() == 0
        database.close()
