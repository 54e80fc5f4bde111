import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.frame_queue import FrameQueue, QueueLimits, WorkerBeat
from core.redis_client import make_redis
from core.redis_server import EmbeddedRedis
from tests.waiting import wait_until
from tests.workers.rig import NAMESPACE, publish
from workers.context import WorkerContext
from workers.keeper import Keeper
from workers.watchdog import Watchdog

pytestmark = pytest.mark.redis

MODEL = "tiny"
LIMITS = QueueLimits(claim_timeout_s=0.6, bell_timeout_s=0.6)


@dataclass
class Kept:
    """A keeper, the queue that it looks after, and why it gave up."""

    queue: FrameQueue
    context: WorkerContext
    keeper: Keeper
    rung: list[str]
    gave_up: list[str] = field(default_factory=list)


MakeKept = Callable[[str, float], Kept]


@pytest.fixture
def make_kept() -> Iterator[MakeKept]:
    """Keepers by Redis URL and broker_lost_exit_s; their bells reach nobody."""
    made: list[Kept] = []

    def make(redis_url: str, lost_exit_s: float) -> Kept:
        rung: list[str] = []
        gave_up: list[str] = []
        queue = FrameQueue(make_redis(redis_url), LIMITS, NAMESPACE, rung.append)
        context = WorkerContext(queue, Watchdog(60.0))
        beat = WorkerBeat("host-1", "host", 1, (MODEL,), "cpu", 2, 8, datetime.now(UTC))
        keeper = Keeper(context, LIMITS, lambda: beat, lost_exit_s, give_up=gave_up.append)
        keeper.start()
        made.append(Kept(queue, context, keeper, rung, gave_up))
        return made[-1]

    yield make
    for kept in made:
        kept.keeper.close()
        kept.context.watchdog.close()


def test_a_worker_shows_among_the_live_ones(redis_url: str, make_kept: MakeKept) -> None:
    kept = make_kept(redis_url, 60.0)
    (beat,) = wait_until(kept.queue.workers, 5.0, "a heartbeat")
    assert (beat.worker, beat.models, beat.slots) == ("host-1", (MODEL,), 2)


def test_a_batch_that_takes_longer_than_claim_timeout_s_stays_in_hand(
    redis_url: str, make_kept: MakeKept
) -> None:
    kept = make_kept(redis_url, 60.0)
    publish(kept.queue, MODEL, 2)
    claimed = kept.queue.claim(MODEL, "slot-1", 2, 0.0)
    with kept.context.hands.batch(MODEL, claimed):
        assert kept.queue.claim(MODEL, "thief", 2, 3 * LIMITS.claim_timeout_s) == []
    regained = kept.queue.claim(MODEL, "thief", 2, 10 * LIMITS.claim_timeout_s)
    assert [one.delivery for one in regained] == [2, 2]


def test_a_bell_is_held_for_as_long_as_its_drain_runs(redis_url: str, make_kept: MakeKept) -> None:
    kept = make_kept(redis_url, 60.0)
    publish(kept.queue, MODEL, 1)
    bell = kept.queue.answer_bell(MODEL, "slot-1")
    assert bell is not None
    claimed = kept.queue.claim(MODEL, "slot-1", 1, 0.0, bell=bell)
    with kept.context.hands.bell(bell), kept.context.hands.batch(MODEL, claimed):
        kept.rung.clear()
        threading.Event().wait(3 * LIMITS.bell_timeout_s)
        assert kept.rung == []


def test_frames_without_a_bell_are_rung_for(redis_url: str, make_kept: MakeKept) -> None:
    publisher = FrameQueue(make_redis(redis_url), LIMITS, NAMESPACE, lambda model: None)
    publish(publisher, MODEL, 1)  # its bell was lost on the way
    kept = make_kept(redis_url, 60.0)
    wait_until(lambda: MODEL in kept.rung, 10.0, "the sweep rings")


def test_a_worker_that_hears_no_bell_while_frames_wait_gives_up(redis_url: str, make_kept: MakeKept) -> None:
    kept = make_kept(redis_url, 1.0)
    publish(kept.queue, MODEL, 1)
    wait_until(lambda: kept.gave_up, 10.0, "the deaf worker gives up")
    assert "Celery brought this idle worker no bell" in kept.gave_up[0]


def test_an_idle_worker_does_not_give_up(redis_url: str, make_kept: MakeKept) -> None:
    kept = make_kept(redis_url, 0.5)
    threading.Event().wait(2.0)
    assert kept.gave_up == []


def test_a_worker_whose_redis_stays_away_gives_up_and_one_whose_redis_returns_does_not(
    tmp_path: Path, make_kept: MakeKept
) -> None:
    with EmbeddedRedis(tmp_path) as server:
        patient, impatient = make_kept(server.url, 60.0), make_kept(server.url, 1.0)
        wait_until(patient.queue.workers, 5.0, "a heartbeat")
        server.kill()
        wait_until(lambda: impatient.gave_up, 15.0, "the impatient worker gives up")
        assert "longer than broker_lost_exit_s (1 s)" in impatient.gave_up[0]
        server.start()
        wait_until(patient.queue.workers, 10.0, "a heartbeat on the restarted server")
        assert patient.gave_up == []
