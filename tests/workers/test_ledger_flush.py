from dataclasses import asdict
from typing import Any

import pytest

from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.types import DropReason
from storage.database import Database
from tests.waiting import wait_until
from tests.workers.rig import publish, select
from workers.ledger_flush import LedgerFlusher, OncePerFleet, flush_ledger

pytestmark = pytest.mark.redis


def totals(database: Database) -> list[tuple[Any, ...]]:
    return select(
        database,
        "SELECT name, sum(captured), sum(stored), sum(corrupt) FROM frame_ledger"
        " JOIN cameras ON cameras.id = camera_id GROUP BY name ORDER BY name",
    )


def account_for(queue: FrameQueue, camera: str) -> None:
    """Three frames: two stored, one corrupt."""
    publish(queue, "tiny", 3, camera=camera)
    first, *others = queue.claim("tiny", "slot-1", 3, 0.0)
    queue.drop("tiny", first, DropReason.CORRUPT)
    queue.ack("tiny", others)


def test_the_ledger_in_sql_says_what_redis_says_however_often_it_is_flushed(
    queue: FrameQueue, database: Database
) -> None:
    account_for(queue, "gate")
    account_for(queue, "yard")
    for _ in range(3):
        flush_ledger(queue, database)
        assert totals(database) == [("gate", 3, 2, 1), ("yard", 3, 2, 1)]
    account_for(queue, "gate")
    flush_ledger(queue, database)
    assert totals(database) == [("gate", 6, 4, 2), ("yard", 3, 2, 1)]
    assert asdict(queue.ledger("gate"))["captured"] == 6


def test_frames_replayed_between_two_flushes_of_a_minute_are_failed_no_longer(
    queue: FrameQueue, database: Database
) -> None:
    publish(queue, "tiny", 3)
    for _ in range(QueueLimits().max_deliveries):
        for claimed in queue.claim("tiny", "slot-1", 3, 0.0):
            queue.fail("tiny", claimed, "broken")
    flush_ledger(queue, database)
    assert queue.replay_dead("tiny") == 3
    flush_ledger(queue, database)
    assert select(database, "SELECT failed, in_flight FROM ledger_balance") == [(0, 3)]
    queue.ack("tiny", queue.claim("tiny", "slot-1", 3, 0.0))
    flush_ledger(queue, database)
    assert select(database, "SELECT stored, failed, in_flight FROM ledger_balance") == [(3, 0, 0)]


def test_an_empty_ledger_is_no_write(queue: FrameQueue, database: Database) -> None:
    assert flush_ledger(queue, database) == 0
    assert totals(database) == []


def test_one_process_of_a_fleet_takes_the_turn(redis_url: str) -> None:
    client = make_redis(redis_url)
    first, second = OncePerFleet(client, "fleet:flush"), OncePerFleet(client, "fleet:flush")
    assert first.take(60.0)
    assert not second.take(60.0)
    assert OncePerFleet(client, "other:flush").take(0.05)
    wait_until(lambda: OncePerFleet(client, "other:flush").take(60.0), 5.0, "the turn expires")


def test_a_thread_flushes_by_itself_and_once_more_when_it_is_closed(
    redis_url: str, queue: FrameQueue, database: Database
) -> None:
    turn = OncePerFleet(make_redis(redis_url), "fleet:flush")
    flusher = LedgerFlusher(queue, database, turn, interval_s=0.2)
    flusher.start()
    account_for(queue, "gate")
    wait_until(lambda: totals(database) == [("gate", 3, 2, 1)], 10.0, "the flush")
    turn.take(60.0)
    account_for(queue, "gate")
    flusher.close()
    assert totals(database) == [("gate", 6, 4, 2)]
