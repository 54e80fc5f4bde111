import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from core.camera_leases import CameraLeases
from core.errors import QueueUnavailableError
from core.frame_queue import CameraQueue, ClaimedFrame, FrameQueue
from core.redis_server import EmbeddedRedis
from core.types import DropReason
from tests.core.queue_rig import FILE, LATEST, LIVE, MODEL, QueueRig, indices, make_frame
from tests.waiting import wait_until

pytestmark = pytest.mark.redis

SHORT_S = 0.2


def test_frames_of_a_silent_worker_are_claimed_by_another(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0, 1)
    rig.claim(consumer="worker-1")
    rig.publish(2)
    claimed = rig.claim(consumer="worker-2")
    assert indices(claimed) == [2], "before the time-out they are not"
    rig.ack(claimed)
    recovered = _claim_when_overdue(rig, "worker-2")
    assert [(one.frame.index, one.delivery) for one in recovered] == [(0, 2), (1, 2)]
    assert rig.ack(recovered) == 2


def test_frames_of_a_worker_killed_in_mid_batch_are_claimed_by_another(rig: QueueRig, tmp_path: Path) -> None:
    rig.with_limits(claim_timeout_s=0.5, bell_timeout_s=0.5)
    rig.beat(slots=1)
    rig.publish(*range(8))
    program = """
        import sys, time
        from core.frame_queue import FrameQueue, QueueLimits
        from core.redis_client import make_redis
        limits = QueueLimits(claim_timeout_s=0.5, bell_timeout_s=0.5)
        queue = FrameQueue(make_redis(sys.argv[1]), limits, "test", lambda model: None)
        bell = queue.answer_bell("thin", "victim")
        claimed = queue.claim("thin", "victim", 8, 5.0, bell=bell)
        queue.ack("thin", claimed[:3])
        print(len(claimed), flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), _url(rig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"8\n"
        os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: rig.queue.sweep() and len(rig.rung) == 2, 10, "the sweep rings for its frames")
    bell = rig.answer("heir")
    recovered = rig.queue.claim(MODEL, "heir", 8, 0.0, bell=bell)
    assert indices(recovered) == [3, 4, 5, 6, 7]
    rig.ack(recovered)
    assert rig.ledger().stored == 8


def test_a_worker_that_extends_its_claim_keeps_its_frames(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0)
    claimed = rig.claim(consumer="slow")
    first_end = claimed[0].claimed_at.timestamp() + SHORT_S

    def extended_past_the_first_end() -> bool:
        assert rig.queue.extend(MODEL, claimed) == 1
        return rig.queue.server_time().timestamp() > first_end + SHORT_S

    wait_until(extended_past_the_first_end, 10, "the first claim would be over")
    assert rig.claim(consumer="worker-2") == []
    assert rig.ack(claimed) == 1


def test_a_worker_that_lost_its_claim_cannot_extend_it(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0)
    lost = rig.claim(consumer="slow")
    assert _claim_when_overdue(rig, "worker-2")
    assert rig.queue.extend(MODEL, lost) == 0


@pytest.mark.parametrize("first", ["late holder", "new holder"])
def test_a_frame_in_two_workers_hands_is_counted_once(rig: QueueRig, first: str) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0)
    late = rig.claim(consumer="slow")
    new = _claim_when_overdue(rig, "worker-2")
    order = [late, new] if first == "late holder" else [new, late]
    assert [rig.ack(claimed) for claimed in order] == [1, 0]
    assert rig.ledger().stored == 1
    assert rig.queue.depth(MODEL)[0].bytes == 0


def test_a_late_ack_takes_the_frame_off_the_queue(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0)
    late = rig.claim(consumer="slow")
    wait_until(lambda: _given_back(rig), 10, "the claim runs out")
    assert rig.ack(late) == 1
    assert rig.claim(consumer="worker-2") == []
    assert rig.ledger().stored == 1


@pytest.mark.parametrize("late_call", ["fail", "release"])
def test_a_late_holder_does_not_take_the_frame_from_the_new_one(rig: QueueRig, late_call: str) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0)
    late = rig.claim(consumer="slow")
    rig.with_limits(claim_timeout_s=60.0)
    new = _claim_when_overdue(rig, "worker-2")
    if late_call == "fail":
        rig.queue.fail(MODEL, late[0], "too late")
    else:
        rig.queue.release(MODEL, late)
    assert rig.claim(consumer="worker-3") == []
    assert rig.ack(new) == 1


@pytest.mark.parametrize("late_call", ["fail", "release", "extend"])
def test_a_late_holder_changes_nothing_for_a_frame_that_waits_again(rig: QueueRig, late_call: str) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(0)
    [late] = rig.claim(consumer="slow")
    wait_until(lambda: _given_back(rig), 10, "the claim runs out")
    if late_call == "fail":
        rig.queue.fail(MODEL, late, "too late")
    elif late_call == "release":
        rig.queue.release(MODEL, [late])
    else:
        assert rig.queue.extend(MODEL, [late]) == 0
    assert rig.queue.depth(MODEL)[0].waiting == 1
    assert [one.delivery for one in rig.claim(consumer="worker-2")] == [2]


def test_a_release_that_is_told_twice_does_not_take_the_frame_from_the_next_worker(rig: QueueRig) -> None:
    rig.publish(0)
    released = rig.claim(consumer="worker-1")
    rig.queue.release(MODEL, released)
    assert len(rig.claim(consumer="worker-2")) == 1
    rig.queue.release(MODEL, released)
    assert rig.claim(consumer="worker-3") == []


def test_released_frames_are_there_at_once_in_order_and_their_delivery_does_not_count(rig: QueueRig) -> None:
    rig.publish(*range(4))
    for _ in range(10):
        claimed = rig.claim(most=3)
        assert [(one.frame.index, one.delivery) for one in claimed] == [(0, 1), (1, 1), (2, 1)]
        rig.queue.release(MODEL, claimed)
        rig.queue.release(MODEL, claimed)
    assert rig.queue.depth(MODEL)[0].waiting == 4
    assert rig.ledger().in_flight == 4


def test_a_failed_frame_comes_again_at_once_and_then_goes_to_the_dead_letters(rig: QueueRig) -> None:
    [frame] = rig.publish(0)
    for delivery in (1, 2, 3):
        [claimed] = rig.claim()
        assert claimed.delivery == delivery
        rig.queue.fail(MODEL, claimed, f"InferenceError: try {delivery}")
    assert rig.claim() == []
    [letter] = rig.queue.dead_letters()
    assert (letter.frame, letter.error, letter.deliveries) == (frame, "InferenceError: try 3", 3)
    assert abs(letter.failed_at - rig.queue.server_time()).total_seconds() < 10
    assert rig.ledger().dropped == {DropReason.FAILED: 1}


def test_a_failure_that_is_told_twice_counts_once(rig: QueueRig) -> None:
    rig.publish(0)
    [claimed] = rig.claim()
    rig.queue.fail(MODEL, claimed, "broken")
    rig.queue.fail(MODEL, claimed, "broken")
    [again] = rig.claim()
    rig.queue.fail(MODEL, claimed, "broken")
    assert again.delivery == 2
    assert rig.claim() == [], "it is still in hand"
    assert rig.ack([again]) == 1


def test_a_frame_that_kills_its_workers_goes_to_the_dead_letters(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S, max_deliveries=2)
    rig.publish(0)
    rig.claim(consumer="first victim")
    assert _claim_when_overdue(rig, "second-victim")
    wait_until(lambda: rig.queue.sweep() or rig.queue.dead_letters(), 10, "the frame is buried")
    [letter] = rig.queue.dead_letters()
    assert letter.error == "worker died or hung while it held the frame (2 deliveries)"
    assert rig.ledger().dropped == {DropReason.FAILED: 1}


def test_dead_letters_are_bounded_and_the_oldest_make_room(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=1, dead_max_frames=5, dead_max_bytes=4000)
    _bury(rig, *range(7), size=100)
    assert [letter.frame.index for letter in rig.queue.dead_letters()] == [2, 3, 4, 5, 6]
    _bury(rig, 7, size=3900)
    assert [letter.frame.index for letter in rig.queue.dead_letters()] == [6, 7]
    _bury(rig, 8, size=5000)
    assert rig.queue.dead_letters() == []
    assert rig.ledger().dropped == {DropReason.FAILED: 9}


def test_the_newest_dead_letters_of_all_models_are_listed(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=1)
    _bury(rig, *range(4))
    rig.publish(0, camera="yard", use=CameraQueue("other"))
    rig.queue.fail("other", rig.queue.claim("other", "worker-1", 1, 0.0)[0], "broken")
    listed = [(letter.model, letter.frame.index) for letter in rig.queue.dead_letters(limit=3)]
    assert listed == [(MODEL, 2), (MODEL, 3), ("other", 0)]
    assert len(rig.queue.dead_letters(MODEL)) == 4


def test_a_replayed_frame_is_in_flight_again_with_fresh_deliveries(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=2)
    use = CameraQueue(MODEL, max_age_s=0.3)
    [frame] = rig.publish(0, use=use)
    for _ in range(2):
        rig.queue.fail(MODEL, rig.claim()[0], "broken")
    rig.rung.clear()
    wait_until(lambda: (rig.queue.server_time() - frame.captured_at).total_seconds() > 0.35, 5, "it is old")
    assert rig.queue.replay_dead(MODEL) == 1
    assert rig.queue.replay_dead(MODEL) == 0
    assert rig.ledger().dropped.get(DropReason.FAILED, 0) == 0
    [claimed] = rig.claim()
    assert (claimed.frame, claimed.delivery) == (frame, 1)
    assert rig.ack([claimed]) == 1
    assert rig.ledger().stored == 1


def test_chosen_dead_letters_are_replayed_or_dropped(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=1)
    _bury(rig, *range(4))
    letters = rig.queue.dead_letters()
    assert rig.queue.replay_dead(MODEL, [letters[1].id, "1-1"]) == 1
    assert indices(rig.claim()) == [1]
    assert rig.queue.drop_dead(MODEL, [letters[2].id]) == 1
    assert [letter.frame.index for letter in rig.queue.dead_letters()] == [0, 3]
    assert rig.queue.drop_dead(MODEL) == 2
    ledger = rig.ledger()
    assert (ledger.dropped, ledger.in_flight) == ({DropReason.FAILED: 3}, 1)


@pytest.mark.parametrize("way_out", ["dropped", "replayed"])
def test_dead_letters_that_are_gone_leave_room_for_others(rig: QueueRig, way_out: str) -> None:
    rig.with_limits(max_deliveries=1, dead_max_bytes=1000)
    _bury(rig, 0, 1, size=400)
    if way_out == "dropped":
        assert rig.queue.drop_dead(MODEL) == 2
    else:
        assert rig.queue.replay_dead(MODEL) == 2
        rig.ack(rig.claim())
    _bury(rig, 2, 3, size=400)
    assert [letter.frame.index for letter in rig.queue.dead_letters()] == [2, 3]


def test_a_full_queue_keeps_its_dead_letters(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=1, queue_max_bytes=2500)
    _bury(rig, 0, 1, size=1000)
    rig.publish(2, size=1000)
    assert rig.queue.replay_dead(MODEL) == 1
    assert len(rig.queue.dead_letters()) == 1
    rig.ledger()


@pytest.mark.parametrize("limits", [{"camera_max_frames": 4}, {"camera_max_bytes": 400}])
def test_dead_letters_stay_when_their_cameras_queue_is_full(rig: QueueRig, limits: dict[str, int]) -> None:
    rig.with_limits(max_deliveries=1, **limits)
    _bury(rig, *range(6))
    rig.publish(6)
    assert rig.queue.replay_dead(MODEL) == 3
    assert [letter.frame.index for letter in rig.queue.dead_letters()] == [3, 4, 5]
    assert rig.ledger().in_flight == 4
    assert rig.ack(rig.claim()) == 4
    assert rig.queue.replay_dead(MODEL) == 3


@pytest.mark.parametrize("use", [LIVE, LATEST])
def test_replayed_frames_are_not_dropped_for_a_live_cameras_new_ones(rig: QueueRig, use: CameraQueue) -> None:
    rig.with_limits(max_deliveries=1, camera_max_frames=6)
    _bury(rig, *range(4))
    rig.publish(10, use=use)
    assert rig.queue.replay_dead(MODEL, rig.queue.dead_ids(MODEL)[:2]) == 2
    rig.publish(11, use=use)
    assert rig.queue.replay_dead(MODEL) == 2
    rig.publish(*range(12, 40), use=use)
    assert {0, 1, 2, 3} < set(_waiting(rig))
    assert max(_waiting(rig)) == 39
    assert rig.ack(rig.claim(most=20)) == (6 if use is LIVE else 5)
    ledger = rig.ledger()
    assert (ledger.captured, ledger.in_flight) == (34, 0)
    assert ledger.dropped.keys() <= {DropReason.QUEUE_FULL, DropReason.FAILED}
    assert ledger.dropped.get(DropReason.FAILED, 0) == 0


def test_replayed_frames_that_come_back_are_not_dropped_either(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=4, max_deliveries=1)
    _bury(rig, 0, 1)
    rig.queue.replay_dead(MODEL)
    rig.publish(2)
    rig.queue.release(MODEL, rig.claim())
    rig.publish(*range(3, 9))
    assert sorted(_waiting(rig)) == [0, 1, 7, 8]
    rig.queue.release(MODEL, rig.claim(most=3))
    rig.publish(*range(9, 14))
    assert sorted(indices(rig.claim())) == [0, 1, 12, 13]
    assert rig.ledger().in_flight == 4


def test_a_queue_full_of_replayed_frames_drops_the_new_one(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=2, max_deliveries=1)
    _bury(rig, 0, 1)
    assert rig.queue.replay_dead(MODEL) == 2
    rig.publish(2, 3)
    assert indices(rig.claim()) == [0, 1]
    assert rig.ledger().dropped[DropReason.QUEUE_FULL] == 2


def test_a_replayed_frame_is_looked_at_once_and_then_costs_no_publish_anything(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=60, max_deliveries=1)
    rig.publish(*range(1000, 1060))
    cost = _commands_of(rig, lambda: rig.publish(1060))
    rig.ack(rig.claim(most=60))
    for index in range(50):
        _bury(rig, index)
    assert rig.queue.replay_dead(MODEL) == 50
    rig.publish(*range(2000, 2012))
    assert _commands_of(rig, lambda: rig.publish(2012)) <= cost


def test_consumers_do_not_grow_over_restarts(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=0.01)
    for restart in range(30):
        rig.publish(restart)
        rig.ack(rig.claim(consumer=f"worker-{restart}"))
    rig.publish(99)
    [held] = rig.claim(consumer="holder")

    def only_the_holder_is_left() -> bool:
        rig.queue.sweep()
        return _consumers(rig) == ["holder"]

    wait_until(only_the_holder_is_left, 10, "silent consumers are deleted")
    assert rig.ack([held]) == 1


def test_a_worker_that_exits_takes_its_consumers_along(rig: QueueRig) -> None:
    rig.publish(0)
    rig.ack(rig.claim(consumer="worker-1"))
    rig.publish(1)
    rig.claim(consumer="worker-2")
    rig.queue.retire("host-1", ["worker-1", "worker-2"])
    assert _consumers(rig) == ["worker-2"], "what it still holds is claimed by another in time"


def test_frames_deleted_by_hand_are_written_off(rig: QueueRig) -> None:
    rig.publish(*range(4))
    rig.queue.release(MODEL, rig.claim(most=2))
    rig.client.xtrim(f"{{test}}:frames:gate:{MODEL}", maxlen=0)
    assert rig.claim() == []
    ledger = rig.ledger()
    assert (ledger.in_flight, ledger.dropped) == (0, {DropReason.FAILED: 4})
    rig.publish(4)
    assert rig.queue.depth(MODEL)[0].bytes == 100
    assert indices(rig.claim()) == [4]


@pytest.mark.parametrize("max_deliveries", [1, 3])
def test_held_frames_deleted_by_hand_are_written_off(rig: QueueRig, max_deliveries: int) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S, max_deliveries=max_deliveries)
    rig.publish(0, 1)
    rig.claim()
    rig.client.xtrim(f"{{test}}:frames:gate:{MODEL}", maxlen=0)

    def written_off() -> bool:
        return rig.claim() == [] and rig.queue.ledger("gate").balance == 0

    wait_until(written_off, 10, "the claim runs out and the account balances again")
    assert rig.ledger().dropped == {DropReason.FAILED: 2}
    assert rig.queue.depth(MODEL)[0].bytes == 0


def test_a_stream_deleted_by_hand_stops_nobody(rig: QueueRig) -> None:
    rig.with_limits(claim_timeout_s=SHORT_S)
    rig.publish(*range(6))
    held = rig.claim(most=4)
    rig.queue.release(MODEL, held[:2])
    deleted_at = rig.queue.server_time() + timedelta(milliseconds=1)  # a new stream counts its ids anew
    rig.client.delete(f"{{test}}:frames:gate:{MODEL}")
    wait_until(lambda: rig.queue.server_time() > deleted_at, 5, "ids of another millisecond")
    rig.publish(7)
    rig.publish(8, camera="yard")

    def settled() -> bool:
        rig.ack(rig.claim())
        rig.queue.sweep()
        return rig.queue.ledger("gate").stored == rig.queue.ledger("yard").stored == 1

    wait_until(settled, 10, "both cameras' new frames are served")
    wait_until(lambda: rig.queue.sweep() == rig.queue.ledger("gate").balance, 10, "the account balances")
    assert rig.queue.extend(MODEL, held) == 0
    assert rig.ledger().dropped == {DropReason.FAILED: 6}
    assert rig.queue.depth(MODEL)[0].bytes == 0
    assert rig.queue.forget_cameras(["gate"]) == {"gate"}


def test_scripts_come_back_by_themselves_after_the_server_forgot_them(rig: QueueRig) -> None:
    rig.publish(0)
    rig.client.script_flush()
    rig.publish(1)
    assert indices(rig.claim()) == [0, 1]


@pytest.fixture
def kept_server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path, appendonly=True) as server:
        yield server


def test_every_call_tells_that_redis_is_away_and_works_when_it_is_back(kept_server: EmbeddedRedis) -> None:
    with QueueRig(kept_server.url) as rig:
        rig.publish(0)
        bell = rig.answer()
        [claimed] = rig.claim()
        kept_server.kill()
        for call in _calls(rig.queue, claimed):
            with pytest.raises(QueueUnavailableError, match="Redis"):
                call()
        kept_server.start()
        rig.queue.renew_bell(bell)
        assert rig.ack([claimed]) == 1
        rig.publish(1)
        assert indices(rig.claim()) == [1]
        assert rig.ledger().captured == 2


def test_a_run_survives_kills_of_redis_with_every_frame_accounted_for(kept_server: EmbeddedRedis) -> None:
    with QueueRig(kept_server.url) as rig:
        rig.with_limits(claim_timeout_s=0.5, bell_timeout_s=0.5, camera_max_frames=16)
        total, stored = 300, set[int]()

        def publish_all() -> None:
            queue = rig.another()
            for index in range(total):
                frame = make_frame(index, size=20_000)
                wait_until(lambda frame=frame: _survives(lambda: queue.publish(frame, FILE)), 30, "Redis")

        def drain() -> None:
            queue, done = rig.another(), False
            while not done:
                claimed: list[ClaimedFrame] = []
                with contextlib.suppress(QueueUnavailableError):
                    claimed = queue.claim(MODEL, "worker-1", 8, 0.2)
                if claimed:
                    stored.update(indices(claimed))
                    wait_until(lambda batch=claimed: _survives(lambda: queue.ack(MODEL, batch)), 30, "Redis")
                done = len(stored) == total

        publisher, worker = rig.in_background(publish_all), rig.in_background(drain)
        for share in (0.2, 0.5, 0.8):
            wait_until(lambda share=share: len(stored) > share * total, 60, "the run gets on")
            kept_server.kill()
            kept_server.start()
        publisher.result(timeout=60)
        worker.result(timeout=60)
        wait_until(lambda: rig.ledger().stored == total, 10, "the last ack counts")
        ledger = rig.ledger()
        assert (ledger.captured, ledger.stored, ledger.in_flight, ledger.dropped) == (total, total, 0, {})


def _survives(call: Callable[[], object]) -> bool:
    try:
        call()
    except QueueUnavailableError:
        return False
    return True


def _calls(queue: FrameQueue, claimed: ClaimedFrame) -> list[Callable[[], object]]:
    return [
        lambda: queue.publish(make_frame(1), LIVE),
        lambda: queue.claim(MODEL, "worker-1", 8, 0.5),
        lambda: queue.ack(MODEL, [claimed]),
        lambda: queue.fail(MODEL, claimed, "broken"),
        lambda: queue.release(MODEL, [claimed]),
        lambda: queue.extend(MODEL, [claimed]),
        lambda: queue.answer_bell(MODEL, "worker-1"),
        lambda: queue.sweep(),
        lambda: queue.ledgers(),
        lambda: queue.depth(MODEL),
        lambda: queue.workers(),
    ]


def _claim_when_overdue(rig: QueueRig, consumer: str) -> list[ClaimedFrame]:
    return wait_until(lambda: rig.claim(consumer=consumer), 10, "overdue frames come to another worker")


def _given_back(rig: QueueRig) -> bool:
    rig.queue.sweep()
    return rig.queue.depth(MODEL)[0].waiting > 0


def _bury(rig: QueueRig, *frames: int, size: int = 100) -> None:
    for index in frames:
        rig.publish(index, size=size)
        rig.queue.fail(MODEL, rig.claim()[0], "broken")


def _waiting(rig: QueueRig) -> list[int]:
    """Indices of the frames on the queue, without claiming them."""
    entries = rig.client.xrange(f"{{test}}:frames:gate:{MODEL}")
    return [int.from_bytes(fields[b"jpeg"][:4]) for _, fields in entries]


def _commands_of(rig: QueueRig, act: Callable[[], object]) -> int:
    before = rig.calls()
    act()
    return rig.calls() - before


def _consumers(rig: QueueRig) -> list[str]:
    rows = rig.client.xinfo_consumers(f"{{test}}:frames:gate:{MODEL}", "workers")
    return sorted(row["name"].decode() for row in rows)


def _url(rig: QueueRig) -> str:
    options = rig.client.connection_pool.connection_kwargs
    assert isinstance(rig.client, redis.Redis)
    return f"redis://{options['host']}:{options['port']}/0"


@contextlib.contextmanager
def memory_full(client: redis.Redis) -> Iterator[None]:
    """The server is over its memory limit, and evicts nothing."""
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def test_over_the_memory_limit_workers_drain_what_fills_it(rig: QueueRig) -> None:
    rig.beat(slots=2)
    rig.publish(*range(40), size=20_000)
    bell = rig.answer("worker-1")
    assert bell is not None
    held = rig.claim(8, "worker-1")
    leases = CameraLeases(rig.client, "test", "host-1", lease_s=5.0)
    with memory_full(rig.client):
        with pytest.raises(QueueUnavailableError):
            rig.queue.publish(make_frame(40), LIVE)
        rig.beat(slots=3, worker="host-2")
        rig.queue.renew_bell(bell)
        assert rig.queue.extend(MODEL, held) == 8
        rig.queue.fail(MODEL, held[0], "no picture")
        rig.queue.release(MODEL, held[1:3])
        assert rig.ack(held[3:]) == 5
        while claimed := rig.queue.claim(MODEL, "worker-1", 8, 0.0, bell=bell):
            rig.queue.sweep(MODEL)
            rig.ack(claimed)
            rig.queue.leave_bell(bell)
            bell = rig.answer("worker-1") or bell
        assert leases.renew(["gate"]).held
    assert len(rig.queue.workers()) == 2
    ledger = rig.ledger()
    assert (ledger.captured, ledger.stored, ledger.in_flight) == (40, 40, 0)
