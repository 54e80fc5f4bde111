import queue
import random
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.errors import QueueUnavailableError
from core.frame_queue import FrameQueue, WorkerBeat
from tests.core.queue_rig import FILE, LIVE, MODEL, QueueRig, make_frame
from tests.waiting import wait_until

pytestmark = pytest.mark.redis

SHORT_S = 0.2


def test_without_frames_there_are_no_messages(rig: QueueRig) -> None:
    rig.beat(slots=4)
    rig.queue.sweep()
    bell = rig.answer()
    assert bell is None, "nothing was rung"
    rig.claim()
    rig.queue.sweep(MODEL)
    assert rig.rung == []


def test_a_lone_frame_rings_once(rig: QueueRig) -> None:
    rig.beat(slots=4)
    rig.publish(0)
    assert rig.rung == [MODEL]
    rig.publish(1, 2, 3)
    rig.queue.sweep()
    assert rig.rung == [MODEL], "a batch of them is on its way already"


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
def test_enough_frames_for_all_slots_ring_for_all_slots_and_no_more(rig: QueueRig, slots: int) -> None:
    rig.beat(slots=slots, batch_size=4)
    rig.publish(*range(slots * 4))
    assert len(rig.rung) == slots
    rig.publish(*range(100, 150))
    assert len(rig.rung) == slots
    assert all(rig.answer(f"worker-{n}") for n in range(slots))


def test_slots_of_several_workers_add_up(rig: QueueRig) -> None:
    rig.beat(slots=2, batch_size=4, worker="host-1")
    rig.beat(slots=2, batch_size=8, worker="host-2")
    rig.publish(*range(100))
    assert len(rig.rung) == 4


def test_slots_of_workers_for_another_model_do_not_count(rig: QueueRig) -> None:
    rig.beat(slots=3)
    rig.publish(*range(100), use=replace(LIVE, model="other"))
    assert rig.rung == ["other"]


def test_a_silent_workers_slots_are_forgotten(rig: QueueRig) -> None:
    rig.with_limits(worker_timeout_s=SHORT_S)
    rig.beat(slots=8)
    assert [beat.worker for beat in rig.queue.workers()] == ["host-1"]
    wait_until(lambda: rig.queue.workers() == [], 5, "the worker's beat runs out")
    rig.queue.sweep(MODEL)
    rig.publish(*range(100))
    assert len(rig.rung) == 1


def test_a_worker_that_leaves_takes_its_slots_along(rig: QueueRig) -> None:
    rig.beat(slots=8)
    assert rig.queue.models() == [MODEL]
    rig.queue.retire("host-1")
    rig.publish(*range(100))
    assert rig.queue.workers() == []
    assert len(rig.rung) == 1


def test_a_drain_that_holds_the_bell_spares_the_message(rig: QueueRig) -> None:
    rig.beat(slots=2)
    rig.publish(0)
    bell = rig.answer()
    for index in range(1, 30):
        rig.ack(rig.queue.claim(MODEL, "worker-1", 8, 0.0, bell=bell))
        rig.publish(index)
    assert len(rig.rung) <= 2


def test_while_every_drain_is_in_a_long_batch_a_frame_rings_for_a_free_slot(rig: QueueRig) -> None:
    rig.beat(slots=2)
    rig.publish(0)
    assert rig.answer()
    rig.claim()  # a batch of unknown length is in hand now
    rig.publish(1)
    assert len(rig.rung) == 2
    rig.publish(2, 3)
    assert len(rig.rung) == 2, "the second slot takes them along"


def test_drains_in_short_batches_are_waited_for(rig: QueueRig) -> None:
    rig.beat(slots=2)
    rig.publish(0)
    assert rig.answer()
    _learn_that_batches_are_short(rig)
    rig.rung.clear()
    rig.publish(1)
    assert len(rig.claim()) == 1
    rig.publish(2)
    assert rig.rung == [], "it will be back within a moment"


def test_time_between_two_drains_is_not_taken_for_a_long_batch(rig: QueueRig) -> None:
    rig.beat(slots=2)
    rig.publish(0)
    bell = rig.answer()
    _learn_that_batches_are_short(rig)
    rig.publish(1)
    rig.ack(rig.claim())
    rig.queue.leave_bell(bell)
    left_at = rig.queue.server_time()
    wait_until(lambda: (rig.queue.server_time() - left_at).total_seconds() > 0.2, 5, "a pause")
    rig.claim()
    assert _batch_us(rig) < 20_000


def test_with_all_slots_at_work_frames_wait_for_them(rig: QueueRig) -> None:
    rig.beat(slots=1)
    rig.publish(0)
    assert rig.answer()
    rig.claim()
    rig.publish(*range(1, 50))
    assert len(rig.rung) == 1


def test_no_frame_is_stranded_while_drains_come_and_go(rig: QueueRig) -> None:
    """Short drains and irregular frames meet at every step; a lost bell would show as an hour of silence."""
    rig.with_limits(bell_timeout_s=3600.0, camera_max_frames=1000)
    rig.beat(slots=2, batch_size=4)
    messages: queue.SimpleQueue[str] = queue.SimpleQueue()
    frames = FrameQueue(rig.client, rig.limits, "test", messages.put)
    pause, waits = threading.Event(), list[float]()

    def slot(consumer: str) -> None:
        chance = random.Random(consumer)
        while messages.get():
            bell = frames.answer_bell(MODEL, consumer)
            until = time.monotonic() + 0.02
            while bell and time.monotonic() < until:
                claimed = frames.claim(MODEL, consumer, 4, 0.005, bell=bell)
                waits.extend((one.claimed_at - one.enqueued_at).total_seconds() for one in claimed)
                pause.wait(chance.uniform(0, 0.004))
                frames.ack(MODEL, claimed)
            if bell:
                frames.leave_bell(bell)

    slots = [rig.in_background(slot, f"worker-{number}") for number in range(2)]
    chance = random.Random(1)
    for index in range(300):
        frames.publish(make_frame(index), LIVE)
        pause.wait(chance.choice([0.0, 0.001, 0.005, 0.03]))
    wait_until(lambda: len(waits) == 300, 10, "every frame is taken without any help")
    for _ in slots:
        messages.put("")
    for running in slots:
        running.result(timeout=10)
    assert max(waits) < 0.5
    assert rig.ledger().stored == 300


def test_a_lost_message_is_repeated_by_the_next_frame(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=2)
    rig.publish(0)
    _until_expired(rig, "rung")
    rig.publish(1)
    assert len(rig.rung) == 2


def test_the_last_frame_of_a_file_is_not_stranded_by_a_lost_message(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=2)
    rig.publish(0, use=FILE)
    assert rig.queue.sweep() == 0, "the bell is still good"
    _until_expired(rig, "rung")
    assert rig.queue.sweep() == 1
    assert len(rig.rung) == 2


def test_a_full_queue_without_a_drain_rings_for_the_publisher_that_waits(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S, camera_max_frames=1)
    rig.beat(slots=1)
    rig.publish(0, use=FILE)
    publishing = rig.in_background(rig.queue.publish, make_frame(1), FILE)
    wait_until(lambda: len(rig.rung) >= 2, 10, "the waiting publisher rings again")
    rig.ack(rig.claim())
    assert publishing.result(timeout=10)


def test_without_any_worker_one_message_waits_however_long_it_takes(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=0.02)
    for index in range(10):
        rig.publish(index)
        _until_expired(rig, "rung")
        rig.queue.sweep()
    assert len(rig.rung) == 1
    assert rig.answer(), "and the first worker to come is welcome"


def test_a_killed_holders_bell_runs_out_and_is_rung_again(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0)
    assert rig.answer()  # and it is never heard of again
    rig.publish(1)
    assert len(rig.rung) == 1
    _until_expired(rig, "held")
    assert rig.queue.sweep() == 1


def test_a_killed_blocked_drain_is_not_waited_for(rig: QueueRig) -> None:
    """It stands on the list of blocked drains, as its last claim left it, but nobody listens."""
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0)
    bell = rig.answer()
    rig.ack(rig.claim())
    rig.queue._scripts.run("claim", MODEL, "worker-1", 8, 60_000_000, bell.token, *rig.queue._recovery())
    rig.publish(1)
    assert len(rig.rung) == 1, "it was woken instead"
    _until_expired(rig, "held")
    assert rig.queue.sweep() == 1


def test_leaving_the_bell_with_frames_waiting_rings_again(rig: QueueRig) -> None:
    rig.beat(slots=1)
    rig.publish(*range(10))
    bell = rig.answer()
    rig.ack(rig.claim(most=8))
    rig.queue.leave_bell(bell)
    assert len(rig.rung) == 2


def test_leaving_the_bell_of_an_empty_queue_rings_nobody(rig: QueueRig) -> None:
    rig.publish(0)
    bell = rig.answer()
    rig.ack(rig.claim())
    rig.queue.leave_bell(bell)
    rig.queue.sweep()
    assert len(rig.rung) == 1
    rig.publish(1)
    assert len(rig.rung) == 2


def test_a_worker_that_cannot_serve_leaves_quietly_and_the_sweep_rings(rig: QueueRig) -> None:
    rig.beat(slots=1)
    rig.publish(0)
    bell = rig.answer()
    rig.queue.leave_bell(bell, quietly=True)
    assert len(rig.rung) == 1
    assert rig.queue.sweep() == 1


def test_a_holder_that_outlives_its_lease_does_no_harm(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0, 1)
    late = rig.answer("worker-1")
    batch = rig.claim(most=1, consumer="worker-1")
    _until_expired(rig, "held")
    assert rig.queue.sweep() == 1
    rig.limits = replace(rig.limits, bell_timeout_s=60.0)
    second = rig.another()
    bell = second.answer_bell(MODEL, "worker-2")
    assert bell is not None
    rig.ack(batch)
    rig.queue.leave_bell(late)
    rig.queue.leave_bell(late)
    rig.publish(2)
    assert len(rig.rung) == 2, "the second drain still counts as one"
    assert second.ack(MODEL, second.claim(MODEL, "worker-2", 8, 0.0, bell=bell)) == 2


def test_a_renewed_bell_lasts_through_a_long_batch(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0)
    bell = rig.answer()
    rig.claim()
    rig.publish(1)
    ends_at = rig.client.zscore(f"{{test}}:held:{MODEL}", bell.token)

    def renewed_past_its_first_end() -> bool:
        rig.queue.renew_bell(bell)
        return rig.queue.server_time().timestamp() > ends_at / 1e6 + SHORT_S

    wait_until(renewed_past_its_first_end, 10, "the first lease would be over")
    assert rig.queue.sweep() == 0


def test_every_claim_renews_the_bell(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0)
    bell = rig.answer()
    ends_at = rig.client.zscore(f"{{test}}:held:{MODEL}", bell.token)

    def claimed_past_its_first_end() -> bool:
        rig.queue.claim(MODEL, "worker-1", 8, 0.0, bell=bell)
        return rig.queue.server_time().timestamp() > ends_at / 1e6 + SHORT_S

    wait_until(claimed_past_its_first_end, 10, "the first lease would be over")
    rig.publish(1)
    assert len(rig.rung) == 1
    assert rig.queue.sweep() == 0


def test_a_late_message_is_welcome_when_the_holder_died(rig: QueueRig) -> None:
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0)
    assert rig.answer("victim")
    assert rig.answer("worker-2") is None
    _until_expired(rig, "held")
    assert rig.answer("worker-2")


def test_a_late_message_is_declined(rig: QueueRig) -> None:
    """Its bell ran out and was rung again, so there are two messages for one drain."""
    rig.with_limits(bell_timeout_s=SHORT_S)
    rig.beat(slots=1)
    rig.publish(0)
    _until_expired(rig, "rung")
    rig.queue.sweep()
    assert len(rig.rung) == 2
    assert rig.answer("worker-1")
    assert rig.answer("worker-2") is None


def test_a_message_for_frames_that_another_drain_took_is_declined(rig: QueueRig) -> None:
    rig.beat(slots=2, batch_size=1)
    rig.publish(0, 1)
    assert len(rig.rung) == 2
    assert rig.answer("worker-1")
    rig.claim(most=2, consumer="worker-1")
    assert rig.answer("worker-2") is None


def test_a_bell_that_cannot_be_rung_is_rung_by_the_next_frame(rig: QueueRig) -> None:
    broken = True

    def ring(model: str) -> None:
        if broken:
            raise QueueUnavailableError("the broker is away")
        rig.rung.append(model)

    queue = FrameQueue(rig.client, rig.limits, "test", ring)
    assert queue.publish(make_frame(0), LIVE), "the frame itself is safe"
    assert rig.rung == []
    broken = False
    queue.publish(make_frame(1), LIVE)
    assert rig.rung == [MODEL]
    assert rig.ledger().in_flight == 2


def test_a_bell_that_was_left_is_not_renewed(rig: QueueRig) -> None:
    """A worker's keeper renews from another thread and may come a moment too late."""
    rig.beat(slots=1)
    rig.publish(0)
    bell = rig.answer()
    rig.ack(rig.claim())
    rig.queue.leave_bell(bell)
    rig.queue.renew_bell(bell)
    rig.publish(1)
    assert len(rig.rung) == 2


def test_a_worker_of_any_model_counts_for_models_that_come_later(rig: QueueRig) -> None:
    rig.queue.heartbeat(WorkerBeat("any", "host", 1, (), "cpu", 3, 4, datetime.now(UTC)))
    rig.publish(*range(12))
    assert len(rig.rung) == 3


def test_a_worker_that_changes_its_slots_is_believed(rig: QueueRig) -> None:
    rig.beat(slots=1, batch_size=4)
    rig.beat(slots=3, batch_size=4)
    rig.publish(*range(12))
    assert len(rig.rung) == 3


def test_frames_given_back_ring_if_nobody_drains(rig: QueueRig) -> None:
    rig.beat(slots=1)
    rig.publish(0)
    bell = rig.answer()
    claimed = rig.claim()
    rig.queue.leave_bell(bell)
    rig.queue.release(MODEL, claimed)
    assert len(rig.rung) == 2


def _learn_that_batches_are_short(rig: QueueRig) -> None:
    def short() -> bool:
        rig.publish(0)
        rig.ack(rig.claim())
        rig.claim()
        return _batch_us(rig) < 10_000

    wait_until(short, 10, "the queue learns that batches are short")


def _batch_us(rig: QueueRig) -> int:
    return int(rig.client.hget(f"{{test}}:model:{MODEL}", "batch_us") or 10**9)


def _until_expired(rig: QueueRig, kind: str) -> None:
    """Waits until every bell that is rung or held now has run out."""
    ends = [end for _, end in rig.client.zrange(f"{{test}}:{kind}:{MODEL}", 0, -1, withscores=True)]
    moment = max(ends, default=0.0) / 1e6
    wait_until(lambda: rig.queue.server_time().timestamp() > moment, 10, f"{kind} bells run out")
