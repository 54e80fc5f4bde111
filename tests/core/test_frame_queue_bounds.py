import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from core import frame_queue
from core.errors import SettingsError
from core.frame_queue import CameraQueue
from core.types import DropReason
from tests.core.queue_rig import FILE, LATEST, LIVE, MODEL, QueueRig, indices, make_frame
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishers that look again by themselves only after longer than a test waits for them."""
    monkeypatch.setattr(frame_queue, "WAIT_SLICE_S", 4.0)


SOON_S = 3.0


def test_a_live_camera_keeps_its_newest_frames(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=5)
    rig.publish(*range(12))
    assert indices(rig.claim(most=20)) == [7, 8, 9, 10, 11]
    ledger = rig.ledger()
    assert (ledger.captured, ledger.dropped) == (12, {DropReason.QUEUE_FULL: 7})


def test_a_camera_keeps_within_its_bytes(rig: QueueRig) -> None:
    rig.with_limits(camera_max_bytes=10_000)
    rig.publish(*range(20), size=3000)
    assert rig.queue.depth(MODEL)[0].bytes == 9000
    assert indices(rig.claim(most=20)) == [17, 18, 19]
    assert rig.ledger().dropped == {DropReason.QUEUE_FULL: 17}


def test_a_large_frame_makes_room_for_itself(rig: QueueRig) -> None:
    rig.with_limits(camera_max_bytes=10_000)
    rig.publish(*range(5), size=2000)
    rig.publish(5, size=7000)
    assert indices(rig.claim(most=20)) == [4, 5]


def test_all_cameras_together_keep_within_the_queue(rig: QueueRig) -> None:
    rig.with_limits(queue_max_bytes=10_000)
    rig.publish(*range(4), camera="east", size=2000)
    rig.publish(*range(4), camera="west", size=2000)
    assert rig.client.get("{test}:bytes") == b"10000"
    dropped = [rig.ledger(camera).dropped.get(DropReason.QUEUE_FULL, 0) for camera in ("east", "west")]
    assert sum(dropped) == 3


def test_cameras_that_come_late_to_a_full_queue_get_their_share(rig: QueueRig) -> None:
    rig.with_limits(queue_max_bytes=60_000)
    rig.publish(*range(60), camera="first", size=1000)
    for index in range(60):
        rig.publish(index, camera="second", size=1000)
        rig.publish(index, camera="third", size=1000)
        rig.publish(60 + index, camera="first", size=1000)
    assert all(19 <= depth.frames <= 21 for depth in rig.queue.depth(MODEL))
    assert all(rig.ledger(camera).captured == count for camera, count in {"first": 120, "third": 60}.items())


def test_files_leave_a_part_of_the_queue_to_live_cameras(rig: QueueRig) -> None:
    rig.with_limits(queue_max_bytes=16_000)
    rig.publish(*range(14), camera="file", size=1000, use=FILE)
    publishing = _blocked_publisher(rig, "other-file")
    rig.publish(0, 1, 2, camera="live", size=1000)
    assert [(depth.camera, depth.frames) for depth in rig.queue.depth(MODEL) if depth.frames] == [
        ("file", 14),
        ("live", 2),
    ]
    assert rig.ledger("live").dropped == {DropReason.QUEUE_FULL: 1}
    while claimed := rig.claim():
        rig.ack(claimed)
    publishing.result(timeout=10)


def test_a_files_frames_never_make_room_for_a_live_camera(rig: QueueRig) -> None:
    rig.with_limits(queue_max_bytes=8000)
    rig.publish(*range(3), camera="turned-file", size=1000)
    rig.publish(*range(3, 7), camera="turned-file", size=1000, use=FILE)
    rig.publish(*range(10), camera="live", size=1000)
    assert rig.ledger("turned-file").dropped == {}
    assert rig.ledger("live").in_flight == 1


@pytest.mark.parametrize("limit", ["camera_max_bytes", "queue_max_bytes"])
@pytest.mark.parametrize("use", [LIVE, LATEST])
def test_a_frame_larger_than_the_queue_is_dropped_and_drives_nobody_out(
    rig: QueueRig, use: CameraQueue, limit: str
) -> None:
    rig.with_limits(**{limit: 10_000})
    rig.publish(0, use=use, size=2000)
    rig.publish(1, use=use, size=20_000)
    assert rig.ledger().dropped == {DropReason.QUEUE_FULL: 1}
    assert indices(rig.claim()) == [0]


def test_frames_in_a_workers_hands_are_never_dropped(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=4)
    rig.publish(*range(4))
    held = rig.claim(most=3)
    rig.publish(4, 5, 6)
    waiting = rig.claim(most=8)
    assert indices(waiting) == [6], "only the frame in nobody's hands made room"
    rig.publish(7)
    assert rig.claim() == [], "with all of them in hands, the new frame is the one that goes"
    assert rig.ledger().dropped == {DropReason.QUEUE_FULL: 4}
    assert rig.ack(held + waiting) == 4
    assert rig.ledger().stored == 4


def test_a_frame_that_came_back_makes_room_like_any_other(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=3)
    rig.publish(0, 1, 2)
    rig.queue.release(MODEL, rig.claim(most=2))
    rig.publish(3)
    assert indices(rig.claim()) == [1, 2, 3]
    assert rig.ledger().dropped == {DropReason.QUEUE_FULL: 1}


def test_of_a_latest_camera_only_the_newest_frame_waits(rig: QueueRig) -> None:
    rig.publish(0, 1, 2, use=LATEST)
    held = rig.claim()
    rig.publish(3, 4, 5, use=LATEST)
    assert indices(held) == [2]
    assert indices(rig.claim()) == [5]
    assert rig.ledger().dropped == {DropReason.QUEUE_FULL: 4}


def test_a_file_waits_for_room_and_loses_nothing(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=4)
    publishing = rig.in_background(rig.publish, *range(50), use=FILE)
    seen: list[int] = []
    while len(seen) < 50:
        assert rig.queue.ledger("gate").in_flight <= 4
        claimed = rig.claim(most=3, block_s=10.0)
        seen += indices(claimed)
        rig.ack(claimed)
    publishing.result(timeout=10)
    assert seen == list(range(50))
    ledger = rig.ledger()
    assert (ledger.captured, ledger.stored, ledger.dropped) == (50, 50, {})


@pytest.mark.usefixtures("patient")
def test_a_waiting_publisher_is_woken_by_the_ack_that_makes_room(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=1)
    rig.publish(0, use=FILE)
    publishing = _blocked_publisher(rig, "gate")
    rig.ack(rig.claim())
    assert publishing.result(timeout=SOON_S)
    rig.ack(rig.claim())
    assert rig.client.keys("*room*") == rig.client.keys("*publishers*") == []


@pytest.mark.usefixtures("patient")
def test_room_in_the_whole_queue_wakes_a_publisher_of_another_camera(rig: QueueRig) -> None:
    rig.with_limits(queue_max_bytes=1200)
    rig.publish(0, camera="east", size=1000, use=FILE)
    publishing = _blocked_publisher(rig, "west")
    rig.ack(rig.claim())
    assert publishing.result(timeout=SOON_S)
    assert rig.ledger("west").in_flight == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("ending", ["drop", "stale", "buried"])
def test_every_way_out_of_the_queue_makes_room(rig: QueueRig, ending: str) -> None:
    rig.with_limits(queue_max_bytes=1200, max_deliveries=1)
    rig.publish(0, camera="east", size=1000, use=replace(LIVE, max_age_s=0.3 if ending == "stale" else None))
    publishing = _blocked_publisher(rig, "west")
    if ending == "drop":
        rig.queue.drop(MODEL, rig.claim()[0], DropReason.CORRUPT)
    elif ending == "stale":
        wait_until(lambda: rig.queue.depth(MODEL)[0].oldest_age_s > 0.35, 5, "the frame grows old")
        rig.claim()
    else:
        rig.queue.fail(MODEL, rig.claim()[0], "broken")
    assert publishing.result(timeout=SOON_S)


def test_a_waiting_publisher_can_be_stopped_and_then_nothing_was_captured(rig: QueueRig) -> None:
    rig.with_limits(camera_max_frames=1)
    rig.publish(0, use=FILE)
    stop = threading.Event()
    publishing = rig.in_background(rig.queue.publish, make_frame(1), FILE, should_stop=stop.is_set)
    wait_until(lambda: rig.client.exists("{test}:publishers"), 10, "the publisher waits")
    stop.set()
    assert publishing.result(timeout=10) is False
    assert rig.ledger().captured == 1


def test_a_file_whose_frames_can_never_fit_is_told_so(rig: QueueRig) -> None:
    rig.with_limits(camera_max_bytes=2048)
    with pytest.raises(SettingsError, match="camera_max_bytes=2048"):
        rig.queue.publish(make_frame(0, size=4096), FILE)
    assert rig.ledger().captured == 0


def test_memory_on_redis_stays_near_the_cap_under_overload(rig: QueueRig) -> None:
    cap = 4 * 1024 * 1024
    rig.with_limits(queue_max_bytes=cap)
    rig.publish(0, camera="warm-up")
    before = int(rig.client.info("memory")["used_memory"])
    for camera in ("east", "north", "west"):
        rig.publish(*range(150), camera=camera, size=60_000)
    used = int(rig.client.info("memory")["used_memory"]) - before
    assert used < 1.5 * cap
    assert int(rig.client.get("{test}:bytes") or 0) <= cap
    assert sum(rig.ledger(camera).captured for camera in ("east", "north", "west")) == 450


def _blocked_publisher(rig: QueueRig, camera: str) -> "Future[Any]":
    publishing = rig.in_background(rig.queue.publish, make_frame(9, camera, size=1000), FILE)
    wait_until(lambda: rig.client.exists("{test}:publishers"), 10, "the publisher waits for room")
    return publishing
