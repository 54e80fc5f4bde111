import random
import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.camera_leases import CameraLeases
from core.errors import LeaseLostError, QueueUnavailableError
from core.frame_queue import CameraQueue, ClaimedFrame, FrameQueue
from core.types import DropReason, Ledger, Policy
from tests.core.queue_rig import FILE, LIVE, MODEL, QueueRig, make_frame
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


def test_an_unknown_camera_has_an_empty_account(rig: QueueRig) -> None:
    assert rig.queue.ledger("nowhere") == Ledger("nowhere")
    assert rig.queue.ledgers() == []


def test_frames_dropped_before_the_queue_count_as_captured(rig: QueueRig) -> None:
    rig.publish(0)
    rig.queue.count_captured_dropped("gate", DropReason.SAMPLED_OUT)
    rig.queue.count_dropped("gate", {DropReason.SAMPLED_OUT: 4, DropReason.NO_MOTION: 2})
    ledger = rig.ledger()
    assert ledger.captured == 8
    assert ledger.dropped == {DropReason.SAMPLED_OUT: 5, DropReason.NO_MOTION: 2}


def test_accounts_of_all_cameras_are_listed_by_name(rig: QueueRig) -> None:
    rig.publish(0, camera="west")
    rig.queue.count_captured_dropped("east", DropReason.NO_MOTION)
    assert [ledger.camera for ledger in rig.queue.ledgers()] == ["east", "west"]


def test_a_camera_on_two_models_has_one_account(rig: QueueRig) -> None:
    rig.publish(0)
    rig.publish(0, use=CameraQueue("other"))
    ledger = rig.ledger()
    assert (ledger.captured, ledger.in_flight) == (2, 2)


def test_a_frame_published_again_after_a_lost_answer_is_queued_once(rig: QueueRig) -> None:
    queue, lose_answer = _queue_that_loses_answers(rig)
    frame = make_frame(0)
    lose_answer()
    with pytest.raises(QueueUnavailableError):
        queue.publish(frame, FILE)
    assert queue.publish(frame, FILE)
    assert len(rig.claim()) == 1
    assert rig.ledger().captured == 1


def test_a_frame_published_again_rings_if_its_bell_was_lost_with_the_answer(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=0.1)
    rig.beat(slots=1)
    queue, lose_answer = _queue_that_loses_answers(rig)
    frame = make_frame(0)
    lose_answer()
    with pytest.raises(QueueUnavailableError):
        queue.publish(frame, FILE)
    assert rig.rung == []
    wait_until(lambda: queue.publish(frame, FILE) and rig.rung, 5, "the bell runs out and is rung again")


def test_a_frame_dropped_as_queue_full_and_published_again_counts_once(rig: QueueRig) -> None:
    rig.with_limits(camera_max_bytes=1024)
    queue, lose_answer = _queue_that_loses_answers(rig)
    frame = make_frame(0, size=2000)
    lose_answer()
    with pytest.raises(QueueUnavailableError):
        queue.publish(frame, LIVE)
    queue.publish(frame, LIVE)
    assert rig.ledger().dropped == {DropReason.QUEUE_FULL: 1}


def test_a_new_run_of_the_same_file_is_accepted(rig: QueueRig) -> None:
    frame = make_frame(0, recorded=True)
    rig.queue.publish(frame, FILE)
    assert rig.another().publish(frame, FILE)
    assert rig.ledger().captured == 2


def test_counts_that_redis_may_not_have_got_go_with_the_next_and_count_once(rig: QueueRig) -> None:
    queue, lose_answer = _queue_that_loses_answers(rig)
    lose_answer()
    with pytest.raises(QueueUnavailableError):
        queue.count_dropped("gate", {DropReason.SAMPLED_OUT: 3})
    queue.count_dropped("gate", {DropReason.SAMPLED_OUT: 4})
    assert rig.ledger().dropped == {DropReason.SAMPLED_OUT: 7}


def test_counts_that_redis_may_not_have_got_can_be_flushed_at_the_end(rig: QueueRig) -> None:
    queue, lose_answer = _queue_that_loses_answers(rig)
    lose_answer()
    with pytest.raises(QueueUnavailableError):
        queue.count_dropped("gate", {DropReason.NO_MOTION: 3})
    queue.flush_counts()
    queue.flush_counts()
    assert rig.ledger().captured == 3


def test_the_minutes_add_up_to_the_account(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=1)
    rig.publish(*range(6))
    rig.publish(0, camera="yard")
    claimed = rig.claim(most=7)
    rig.ack([one for one in claimed if one.frame.index % 2 == 0])
    rig.queue.fail(MODEL, next(one for one in claimed if one.frame.index == 1), "broken")
    rig.queue.count_captured_dropped("gate", DropReason.SAMPLED_OUT, 5)
    _assert_minutes_add_up(rig)
    rig.queue.replay_dead(MODEL)
    _assert_minutes_add_up(rig)
    assert sum(minute.replayed for minute in rig.queue.ledger_minutes()) == 1


def test_a_minute_starts_on_the_minute_of_the_servers_clock(rig: QueueRig) -> None:
    before = rig.queue.server_time()
    rig.publish(0)
    [minute, *_] = rig.queue.ledger_minutes()
    assert minute.minute.second == minute.minute.microsecond == 0
    assert before - timedelta(minutes=1) < minute.minute <= rig.queue.server_time()


def test_flushed_minutes_are_forgotten_but_never_the_current_one(rig: QueueRig) -> None:
    rig.publish(0)
    now = rig.queue.server_time()
    old = int(now.timestamp()) // 60 - 3
    rig.client.zadd("{test}:minutes", {str(old): old})
    rig.client.hset(f"{{test}}:minute:{old}", "gate|captured", 5)
    assert [minute.captured for minute in rig.queue.ledger_minutes()][:2] == [5, 1]
    rig.queue.forget_ledger_minutes(before=now - timedelta(minutes=10))
    assert len(rig.queue.ledger_minutes()) == 2
    rig.queue.forget_ledger_minutes(before=now + timedelta(days=1))
    assert [minute.captured for minute in rig.queue.ledger_minutes()] == [1]
    assert not rig.client.exists(f"{{test}}:minute:{old}")


def test_minutes_that_nobody_flushes_expire(rig: QueueRig) -> None:
    rig.publish(0)
    [key] = rig.client.keys("*:minute:*")
    assert 0 < int(rig.client.ttl(key)) <= 7 * 24 * 3600


def test_many_publishers_and_workers_at_once_leave_an_exact_account(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=8, claim_timeout_s=0.05, max_deliveries=50)
    names, total = ["east", "north", "west"], 150
    published = threading.Event()

    def publish(camera: str, policy: Policy) -> None:
        queue = rig.another()
        for index in range(total):
            queue.publish(make_frame(index, camera), CameraQueue(MODEL, policy))

    def work(consumer: str) -> int:
        queue, chance, stored = rig.another(), random.Random(consumer), 0
        while not published.is_set() or sum(depth.frames for depth in queue.depth(MODEL)):
            claimed = queue.claim(MODEL, consumer, 4, 0.05)
            if chance.random() < 0.1:
                continue  # as if killed: the claim runs out
            if chance.random() < 0.1:
                queue.release(MODEL, claimed)
            stored += queue.ack(MODEL, claimed)
        return stored

    policies = [Policy.DROP_OLDEST, Policy.LATEST, Policy.WAIT]
    publishers = [rig.in_background(publish, *pair) for pair in zip(names, policies, strict=True)]
    workers = [rig.in_background(work, f"worker-{number}") for number in range(3)]
    for publisher in publishers:
        publisher.result(timeout=60)
    published.set()
    stored = sum(worker.result(timeout=60) for worker in workers)
    ledgers = [rig.ledger(camera) for camera in names]
    assert [ledger.captured for ledger in ledgers] == [total] * 3
    assert sum(ledger.stored for ledger in ledgers) == stored
    assert ledgers[2].stored == total, "the file lost nothing"
    _assert_counters_agree(rig)


STEPS = (
    *("publish", "publish", "publish", "claim", "claim", "ack", "ack", "fail", "drop", "release", "extend"),
    *("forsake", "late", "count", "replay", "drop_dead", "sweep"),
)
OPERATIONS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2**16)), max_size=60)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(OPERATIONS)
def test_whatever_happens_in_whatever_order_the_account_balances(
    rig: QueueRig, operations: list[tuple[str, int]]
) -> None:
    rig.client.flushall()
    rig.with_limits(
        camera_max_frames=4,
        camera_max_bytes=1500,
        queue_max_bytes=2500,
        claim_timeout_s=0.002,
        max_deliveries=2,
        dead_max_frames=3,
    )
    schedule = _Schedule(rig)
    for name, number in operations:
        getattr(schedule, name)(number)
        for camera in schedule.cameras:
            rig.ledger(camera)
    _assert_counters_agree(rig)
    assert {camera: rig.ledger(camera).captured for camera in schedule.cameras} == dict(schedule.captured)
    _assert_minutes_add_up(rig)
    schedule.drain()
    assert all(rig.ledger(camera).in_flight == 0 for camera in schedule.cameras)
    _assert_counters_agree(rig)


class _Schedule:
    """What publishers, workers and people may do, one step at a time, with what they remember."""

    def __init__(self, rig: QueueRig) -> None:
        self.rig = rig
        self.cameras = ["east", "west"]
        self.captured: Counter[str] = Counter(dict.fromkeys(self.cameras, 0))
        self.held: list[ClaimedFrame] = []
        self.forsaken: list[ClaimedFrame] = []
        self.index = 0

    def publish(self, number: int) -> None:
        camera = self.cameras[number % 2]
        policy = [Policy.DROP_OLDEST, Policy.LATEST, Policy.WAIT][number % 3]
        self.index += 1
        frame = make_frame(self.index, camera, size=100 + number % 600, age_s=number % 2)
        use = CameraQueue(MODEL, policy, max_age_s=0.5 if number % 5 == 0 else None)
        for _ in range(1 + number % 2):  # half of them twice, as after a lost answer
            accepted = self.rig.queue.publish(frame, use, should_stop=lambda: True)
        self.captured[camera] += accepted

    def claim(self, number: int) -> None:
        self.held += self.rig.claim(most=1 + number % 4, consumer=f"worker-{number % 3}")

    def ack(self, number: int) -> None:
        self.rig.ack(self._take(1 + number % 3))

    def fail(self, number: int) -> None:
        for one in self._take(1):
            self.rig.queue.fail(MODEL, one, "broken")

    def drop(self, number: int) -> None:
        for one in self._take(1):
            self.rig.queue.drop(MODEL, one, DropReason.CORRUPT)

    def release(self, number: int) -> None:
        self.rig.queue.release(MODEL, self._take(2))

    def extend(self, number: int) -> None:
        self.rig.queue.extend(MODEL, self.held[:2])

    def forsake(self, number: int) -> None:
        """A worker dies: its claims run out."""
        self.forsaken += self._take(4)
        time.sleep(0.003)

    def late(self, number: int) -> None:
        """A worker that was given up comes back and does what it had in mind."""
        if not self.forsaken:
            return
        one = self.forsaken.pop(0)
        calls: list[Any] = [
            lambda: self.rig.ack([one, one]),
            lambda: self.rig.queue.fail(MODEL, one, "late"),
            lambda: self.rig.queue.release(MODEL, [one]),
            lambda: self.rig.queue.drop(MODEL, one, DropReason.CORRUPT),
        ]
        calls[number % 4]()

    def count(self, number: int) -> None:
        camera = self.cameras[number % 2]
        self.rig.queue.count_dropped(camera, {DropReason.NO_MOTION: number % 3, DropReason.SAMPLED_OUT: 1})
        self.captured[camera] += number % 3 + 1

    def replay(self, number: int) -> None:
        self.rig.queue.replay_dead(MODEL)

    def drop_dead(self, number: int) -> None:
        self.rig.queue.drop_dead(MODEL, [letter.id for letter in self.rig.queue.dead_letters()[:1]])

    def sweep(self, number: int) -> None:
        self.rig.queue.sweep()

    def drain(self) -> None:
        """All that is left gets stored, or dies."""
        deadline = time.monotonic() + 10
        while any(self.rig.ledger(camera).in_flight for camera in self.cameras):
            assert time.monotonic() < deadline, "frames are stuck on the queue"
            self.rig.ack(self.rig.claim(block_s=0.003))

    def _take(self, number: int) -> list[ClaimedFrame]:
        taken, self.held = self.held[:number], self.held[number:]
        return taken


def _assert_counters_agree(rig: QueueRig) -> None:
    """The counters beside the streams say what the streams say."""
    total_bytes = total_waiting = 0
    for depth in rig.queue.depth(MODEL):
        stream = f"{{test}}:frames:{depth.camera}:{MODEL}"
        entries = rig.client.xrange(stream)
        assert depth.frames == len(entries)
        assert depth.bytes == sum(len(fields[b"jpeg"]) for _, fields in entries)
        held = [
            member
            for member in rig.client.zrange(f"{{test}}:deadlines:{MODEL}", 0, -1)
            if member.startswith(f"{depth.camera} ".encode())
        ]
        assert depth.waiting == len(entries) - len(held)
        ready = rig.client.zscore(f"{{test}}:ready:{MODEL}", depth.camera) is not None
        assert ready == (depth.waiting > 0)
        total_bytes, total_waiting = total_bytes + depth.bytes, total_waiting + depth.waiting
    assert int(rig.client.get("{test}:bytes") or 0) == total_bytes
    assert int(rig.client.hget(f"{{test}}:model:{MODEL}", "waiting") or 0) == total_waiting
    dead = sum(len(letter.frame.jpeg) for letter in rig.queue.dead_letters(MODEL))
    assert int(rig.client.hget(f"{{test}}:model:{MODEL}", "dead_bytes") or 0) == dead


def _assert_minutes_add_up(rig: QueueRig) -> None:
    minutes = rig.queue.ledger_minutes()
    for ledger in rig.queue.ledgers():
        own = [minute for minute in minutes if minute.camera == ledger.camera]
        assert sum(minute.captured for minute in own) == ledger.captured
        assert sum(minute.stored for minute in own) == ledger.stored
        for reason in DropReason:
            total = sum(minute.dropped.get(reason, 0) for minute in own)
            assert total == ledger.dropped.get(reason, 0)


def _queue_that_loses_answers(rig: QueueRig) -> tuple[FrameQueue, Any]:
    """A queue whose next script runs, but whose answer does not arrive: no server does that on request."""
    lose_next: list[bool] = []

    class LosingRedis(redis.Redis):
        def evalsha(self, *args: Any, **options: Any) -> Any:
            answer = super().evalsha(*args, **options)
            if lose_next:
                lose_next.pop()
                raise redis.ConnectionError("the answer was lost")
            return answer

    client = LosingRedis(connection_pool=rig.client.connection_pool)
    return FrameQueue(client, rig.limits, "test", rig.rung.append), lambda: lose_next.append(True)


def test_a_frame_of_a_lost_lease_is_refused(rig: QueueRig) -> None:
    """A process that was stopped for longer than its lease may wake up in the middle of publishing."""
    held = CameraLeases(rig.client, "test", "p1", 0.05).renew(["gate"]).held["gate"]
    queue = FrameQueue(rig.client, rig.limits, "test", rig.rung.append, lease=held)
    assert queue.publish(make_frame(0), LIVE)
    queue.count_dropped("gate", {DropReason.SAMPLED_OUT: 2})
    other = CameraLeases(rig.client, "test", "p2", 30.0)
    wait_until(lambda: other.renew(["gate"]).held, 5, "the lease to run out")
    with pytest.raises(LeaseLostError, match="camera gate: another ingest process"):
        queue.publish(make_frame(1), LIVE)
    with pytest.raises(LeaseLostError):
        queue.count_dropped("gate", {DropReason.SAMPLED_OUT: 5})
    queue.flush_counts()
    ledger = rig.ledger()
    assert (ledger.captured, ledger.in_flight, ledger.dropped) == (3, 1, {DropReason.SAMPLED_OUT: 2})
    rig.client.delete("{test}:leases")  # a server that lost its memory refuses nobody
    assert queue.publish(make_frame(2), LIVE)
