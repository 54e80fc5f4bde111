import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from core.errors import SettingsError
from core.frame_queue import CameraQueue, FrameQueue, QueueLimits
from core.types import DropReason, Policy
from tests.core.queue_rig import FILE, LIVE, MODEL, QueueRig, cameras, indices, make_frame
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


def test_a_claimed_frame_is_what_was_published(rig: QueueRig) -> None:
    before = rig.queue.server_time()
    frame = make_frame(7, size=5000, source_size=(1920, 1080), scale=1 / 3, recorded=True)
    assert rig.queue.publish(frame, LIVE)
    [claimed] = rig.claim()
    after = rig.queue.server_time()
    assert claimed.frame == frame
    assert claimed.frame.jpeg == frame.jpeg
    assert before <= claimed.enqueued_at <= claimed.claimed_at <= after
    assert claimed.delivery == 1


def test_a_capture_time_keeps_its_microseconds(rig: QueueRig) -> None:
    captured_at = datetime(2026, 11, 23, 12, 0, 0, 123457, tzinfo=UTC)
    rig.publish(0, captured_at=captured_at)
    assert rig.claim()[0].frame.captured_at == captured_at


def test_frames_of_a_camera_come_in_their_order(rig: QueueRig) -> None:
    rig.publish(*range(20))
    assert indices(rig.claim(most=20)) == list(range(20))


def test_a_lone_frame_is_not_held_back(rig: QueueRig) -> None:
    rig.publish(0)
    started = time.monotonic()
    assert indices(rig.claim(most=8, block_s=5.0)) == [0]
    assert time.monotonic() - started < 1.0


def test_batches_fill_by_themselves_under_load(rig: QueueRig) -> None:
    rig.publish(*range(20))
    assert [len(rig.claim(most=8)) for _ in range(4)] == [8, 8, 4, 0]


def test_a_claim_without_frames_blocks_for_as_long_as_asked(rig: QueueRig) -> None:
    started = time.monotonic()
    assert rig.claim(block_s=0.2) == []
    assert 0.15 < time.monotonic() - started < 2.0


def test_a_blocked_drain_wakes_for_a_frame(rig: QueueRig) -> None:
    waiting = rig.in_background(rig.claim, block_s=20.0)
    _until_blocked(rig, 1)
    [frame] = rig.publish(3)
    [claimed] = waiting.result(timeout=10)
    assert claimed.frame == frame
    assert claimed.claimed_at - claimed.enqueued_at < timedelta(seconds=0.5)
    assert not rig.rung[1:], "a drain that is awake needs no second bell"


def test_no_wake_up_is_lost_between_looking_and_blocking(rig: QueueRig) -> None:
    """Frames arrive at every moment of a drain's turn; a lost wake-up would last block_s."""
    rounds = 300

    def drain() -> list[timedelta]:
        waits = []
        while len(waits) < rounds:
            claimed = rig.claim(most=1, block_s=20.0)
            waits += [one.claimed_at - one.enqueued_at for one in claimed]
            rig.ack(claimed)
        return waits

    drained = rig.in_background(drain)
    for index in range(rounds):
        rig.publish(index)
        wait_until(lambda: rig.queue.ledger("gate").in_flight == 0, 10, "the frame is taken", poll_s=0.0005)
    assert max(drained.result(timeout=10)) < timedelta(seconds=1)


def test_one_frame_wakes_one_of_several_blocked_drains(rig: QueueRig) -> None:
    drains = [rig.in_background(rig.claim, consumer=f"worker-{n}", block_s=1.5) for n in range(3)]
    _until_blocked(rig, 3)
    rig.publish(0)
    _until_blocked(rig, 2)
    assert sorted(len(drain.result(timeout=10)) for drain in drains) == [0, 0, 1]


def test_more_frames_than_one_drain_takes_wake_another(rig: QueueRig) -> None:
    """Before any worker has told its batch size, a drain is thought to take one frame."""
    rig.publish(0, 1)
    both = rig.claim(consumer="first")
    drains = [rig.in_background(rig.claim, most=1, consumer=f"worker-{n}", block_s=20.0) for n in range(2)]
    _until_blocked(rig, 2)
    released_at = rig.queue.server_time()
    rig.queue.release(MODEL, both)
    claimed = [drain.result(timeout=10)[0] for drain in drains]
    assert all(one.claimed_at - released_at < timedelta(seconds=0.5) for one in claimed)


def test_claims_go_round_robin_over_the_cameras_that_have_frames(rig: QueueRig) -> None:
    for camera in ("east", "north", "west"):
        rig.publish(*range(4), camera=camera)
    first, second = rig.claim(most=6), rig.claim(most=6)
    assert sorted(cameras(first)) == ["east", "east", "north", "north", "west", "west"]
    assert sorted(cameras(second)) == ["east", "east", "north", "north", "west", "west"]
    assert sorted(indices(first)) == [0, 0, 0, 1, 1, 1]


def test_a_camera_with_many_frames_does_not_delay_one_with_few(rig: QueueRig) -> None:
    rig.publish(*range(100), camera="fast")
    rig.publish(0, 1, camera="slow")
    claimed = rig.claim(most=8)
    assert cameras(claimed).count("slow") == 2
    assert len(claimed) == 8


def test_more_cameras_than_a_batch_holds_all_get_their_turn(rig: QueueRig) -> None:
    names = [f"camera-{n}" for n in range(10)]
    for camera in names:
        rig.publish(0, 1, camera=camera)
    turns = [camera for _ in range(5) for camera in cameras(rig.claim(most=4))]
    assert sorted(turns[:10]) == sorted(turns[10:]) == names


@pytest.mark.parametrize("idle_cameras", [0, 200])
def test_a_claim_costs_the_same_however_many_cameras_are_idle(rig: QueueRig, idle_cameras: int) -> None:
    for number in range(idle_cameras):
        rig.publish(0, camera=f"idle-{number}")
    while claimed := rig.claim(most=50):
        rig.ack(claimed)
    rig.publish(*range(8))
    before = rig.calls()
    assert len(rig.claim(most=8)) == 8
    assert rig.calls() - before < 60


def test_a_live_frame_older_than_its_limit_is_dropped_and_never_claimed(rig: QueueRig) -> None:
    use = CameraQueue(MODEL, max_age_s=2.0)
    rig.publish(0, use=use, age_s=60)
    [fresh] = rig.publish(1, use=use)
    assert [one.frame for one in rig.claim()] == [fresh]
    ledger = rig.ledger()
    assert ledger.dropped == {DropReason.STALE: 1}
    assert ledger.in_flight == 1


def test_a_recorded_frame_ages_from_its_queueing_on(rig: QueueRig) -> None:
    use = CameraQueue(MODEL, max_age_s=0.3)
    rig.publish(0, use=use, age_s=86400, recorded=True)
    assert indices(rig.claim()) == [0]
    [second] = rig.publish(1, use=use, age_s=86400, recorded=True)
    wait_until(lambda: rig.queue.depth(MODEL)[0].oldest_age_s > 0.35, 5, "the frame grows old")
    assert second not in [one.frame for one in rig.claim()]
    assert rig.ledger().dropped == {DropReason.STALE: 1}


@pytest.mark.parametrize(
    "use", [CameraQueue(MODEL, max_age_s=None), CameraQueue(MODEL, Policy.WAIT, max_age_s=1.0)]
)
def test_frames_without_an_age_limit_and_those_of_files_never_turn_stale(
    rig: QueueRig, use: CameraQueue
) -> None:
    rig.publish(0, use=use, age_s=3600)
    assert indices(rig.claim()) == [0]


def test_a_backlog_of_stale_frames_does_not_hide_a_fresh_one(rig: QueueRig) -> None:
    """More stale frames than one script call drops, spread over cameras."""
    use = CameraQueue(MODEL, max_age_s=5.0)
    for number in range(8):
        rig.publish(*range(100), camera=f"camera-{number}", use=use, age_s=60)
    rig.publish(0, camera="fresh", use=use)
    assert cameras(rig.claim(most=8, block_s=5.0)) == ["fresh"]
    assert rig.claim(most=8) == []
    assert sum(ledger.dropped_total for ledger in rig.queue.ledgers()) == 800


def test_a_given_back_frame_turns_stale_like_any_other(rig: QueueRig) -> None:
    rig.publish(0, use=CameraQueue(MODEL, max_age_s=0.3))
    claimed = rig.claim()
    rig.queue.release(MODEL, claimed)
    wait_until(lambda: rig.queue.depth(MODEL)[0].oldest_age_s > 0.35, 5, "the frame grows old")
    assert rig.claim() == []
    assert rig.ledger().dropped == {DropReason.STALE: 1}


def test_a_corrupt_frame_is_dropped_with_its_reason(rig: QueueRig) -> None:
    rig.publish(0)
    [claimed] = rig.claim()
    rig.queue.drop(MODEL, claimed, DropReason.CORRUPT)
    rig.queue.drop(MODEL, claimed, DropReason.CORRUPT)
    assert rig.ledger().dropped == {DropReason.CORRUPT: 1}


def test_the_depth_tells_waiting_frames_bytes_and_age(rig: QueueRig) -> None:
    rig.publish(*range(5), size=1000)
    rig.publish(0, camera="idle")
    rig.ack([one for one in rig.claim(most=2) if one.frame.camera == "idle"])
    gate, idle = rig.queue.depth(MODEL)
    assert (gate.camera, gate.frames, gate.waiting, gate.bytes) == ("gate", 5, 4, 5000)
    assert 0 < gate.oldest_age_s < 10
    assert (idle.frames, idle.waiting, idle.bytes, idle.oldest_age_s) == (0, 0, 0, 0)


def test_models_have_queues_of_their_own(rig: QueueRig) -> None:
    rig.publish(0, use=CameraQueue("other"))
    assert rig.claim() == []
    assert len(rig.queue.claim("other", "worker-1", 8, 0.0)) == 1
    assert rig.rung == ["other"]
    assert rig.queue.models() == ["other"]


def test_a_model_may_be_the_path_of_a_file(rig: QueueRig) -> None:
    model = "/srv/models: my own/thin fpn.safetensors"
    rig.publish(0, use=CameraQueue(model))
    claimed = rig.queue.claim(model, "worker-1", 8, 0.0)
    assert rig.queue.ack(model, claimed) == 1
    assert rig.ledger().stored == 1


def test_namespaces_share_a_server_without_meeting(rig: QueueRig) -> None:
    other = FrameQueue(rig.client, QueueLimits(), "other-fleet", rig.rung.append)
    rig.publish(0)
    assert other.claim(MODEL, "worker-1", 8, 0.0) == []
    assert other.ledgers() == []


def test_a_frame_costs_one_round_trip_to_publish_and_a_batch_two_to_serve(rig: QueueRig) -> None:
    rig.publish(0)
    rig.ack(rig.claim())  # scripts are loaded now
    before = _scripts_run(rig)
    rig.publish(*range(8), camera="east")
    rig.publish(*range(8), camera="west")
    assert _scripts_run(rig) - before == 16
    rig.ack(rig.claim(most=16))
    assert _scripts_run(rig) - before == 18


def test_a_client_that_decodes_answers_is_refused(rig: QueueRig) -> None:
    client = redis.Redis(decode_responses=True)
    with pytest.raises(SettingsError, match="decode_responses"):
        FrameQueue(client, rig.limits, "test", rig.rung.append)


def test_a_camera_that_is_forgotten_leaves_no_key_behind(rig: QueueRig) -> None:
    rig.publish(*range(2), camera="gone")
    rig.publish(0, camera="gone", use=replace(LIVE, model="other"))
    rig.publish(0, camera="stays")
    rig.queue.count_captured_dropped("gone", DropReason.NO_MOTION)
    rig.ack(rig.claim())
    assert rig.queue.forget_cameras(["gone"]) == set(), "one of its frames waits"
    rig.queue.ack("other", rig.queue.claim("other", "worker-1", 8, 0.0))
    assert rig.queue.forget_cameras(["gone", "never-was"]) == {"gone", "never-was"}

    assert not [key for key in rig.client.keys("*") if b"gone" in key]
    assert [ledger.camera for ledger in rig.queue.ledgers()] == ["stays"]
    assert {minute.camera for minute in rig.queue.ledger_minutes()} == {"gone", "stays"}
    assert rig.client.get("{test}:bytes") == b"0"
    assert rig.client.zrange("{test}:live", 0, -1) == [f"stays:{MODEL}".encode()]


def test_a_camera_with_dead_letters_is_not_forgotten(rig: QueueRig) -> None:
    rig.with_limits(max_deliveries=1)
    rig.publish(0)
    rig.queue.fail(MODEL, rig.claim()[0], "broken")
    assert rig.queue.forget_cameras(["gate"]) == set()
    rig.queue.drop_dead(MODEL)
    assert rig.queue.forget_cameras(["gate"]) == {"gate"}


def test_a_forgotten_camera_may_come_back(rig: QueueRig) -> None:
    rig.publish(0, use=FILE)
    rig.ack(rig.claim())
    rig.queue.forget_cameras(["gate"])
    rig.publish(0, use=FILE)
    assert indices(rig.claim()) == [0]
    assert rig.ledger().captured == 1


def _scripts_run(rig: QueueRig) -> int:
    return int(rig.client.info("commandstats")["cmdstat_evalsha"]["calls"])


def _until_blocked(rig: QueueRig, drains: int) -> None:
    def blocked() -> bool:
        return int(rig.client.info("clients")["blocked_clients"]) == drains

    wait_until(blocked, 10, f"{drains} drains block")
