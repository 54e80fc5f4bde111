"""Whoever looks sees what was stored, with its boxes; nobody looking costs nothing."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from core.errors import QueueUnavailableError
from core.frame_queue import FrameQueue
from core.live_view import LiveFrame, LiveView
from core.queue_types import ClaimedFrame
from core.redis_client import make_redis
from core.types import Detections, FrameResult
from models.detector import Detector
from storage.database import Database
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess, worker_environment
from tests.workers.rig import NAMESPACE, SOURCE_SIZE, make_frame, picture, publish, select, stored_indices
from workers import live_feed
from workers.live_feed import LiveFeed
from workers.storing import Done

pytestmark = pytest.mark.redis


def make_done(index: int, camera: str = "gate") -> Done:
    frame = make_frame(index, camera)
    now = frame.captured_at
    boxes = np.array([[10, 20, 40, 80]], np.float32)
    found = Detections(boxes, np.array([0.5], np.float32), np.array([1], np.int64), ("person", "car"))
    result = FrameResult(camera, index, now, SOURCE_SIZE, found, "tiny", now, now, now)
    return Done(ClaimedFrame(frame, f"{index}-0", now, now, 1, "slot"), result)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with make_redis(redis_url) as client:
        yield client


@pytest.fixture
def view(client: redis.Redis) -> LiveView:
    return LiveView(client, NAMESPACE)


def commands(client: redis.Redis) -> int:
    """How many commands the server has run so far."""
    found: Any = client.info("stats")
    return int(found["total_commands_processed"])


def test_nothing_is_sent_while_nobody_watches(client: redis.Redis, view: LiveView) -> None:
    feed = LiveFeed(view, look_every_s=3600)
    feed.publish([make_done(0)])  # the first look
    before = commands(client)
    for index in range(1, 100):
        feed.publish([make_done(index)])
    assert commands(client) - before == 1, "only the INFO of this test itself"
    assert view.latest("gate") is None


def test_only_watched_cameras_are_published_with_their_boxes_in_source_pixels(view: LiveView) -> None:
    view.watch(["yard"])
    feed = LiveFeed(view, look_every_s=0)
    feed.publish([make_done(0), make_done(1, "yard"), make_done(2, "yard")])
    assert view.latest("gate") is None
    frame = view.latest("yard")
    assert frame is not None
    assert (frame.index, frame.source_size, frame.model) == (2, SOURCE_SIZE, "tiny")
    assert frame.jpeg == picture(2)
    (box,) = frame.boxes
    assert (box.class_name, box.score, box.x, box.y, box.width, box.height) == ("car", 0.5, 10, 20, 30, 60)


def test_a_viewer_who_comes_and_goes_is_noticed(client: redis.Redis, view: LiveView) -> None:
    feed = LiveFeed(view, look_every_s=0)
    feed.publish([make_done(0)])
    assert view.latest("gate") is None
    view.watch(["gate"])
    feed.publish([make_done(1)])
    assert view.latest("gate") is not None
    client.flushall()
    feed.publish([make_done(2)])
    assert view.latest("gate") is None


class Clock:
    """Stands in for the module `time`, with a moment that a test chooses."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_feed, "time", clock)
    return clock


@pytest.mark.parametrize("interval_s", [2, 5, 60])
def test_every_frame_of_a_slow_watched_camera_is_shown_beside_a_fast_one(
    view: LiveView, clock: Clock, interval_s: int
) -> None:
    view.watch(["gate", "yard"])
    feed = LiveFeed(view)
    feed.publish([make_done(0, "yard")])  # the first look
    shown = []
    for second in range(1, 3 * interval_s + 1):
        clock.now += 1.0
        feed.publish([make_done(2 * second)])  # it is the fast camera that looks
        clock.now += 0.1
        feed.publish([make_done(2 * second + 1)])
        if second % interval_s == 0:
            feed.publish([make_done(second, "yard")])
            latest = view.latest("yard")
            shown.append(latest.index if latest else None)
    assert shown == [interval_s, 2 * interval_s, 3 * interval_s]


class NotingView(LiveView):
    """Notes about how many cameras it was asked."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client, NAMESPACE)
        self.asked: list[int] = []

    def watched(self, cameras: Sequence[str]) -> Mapping[str, bool]:
        self.asked.append(len(cameras))
        return super().watched(cameras)


def test_a_look_is_one_command_and_asks_only_about_cameras_met_lately(
    client: redis.Redis, clock: Clock
) -> None:
    view = NotingView(client)
    feed = LiveFeed(view)
    feed.publish([make_done(0, f"camera-{number}") for number in range(50)])
    before = commands(client)
    for wait_s in (2.0, live_feed.REMEMBERED_FOR_S - 3.0, 2.0):
        clock.now += wait_s
        feed.publish([make_done(1)])
    assert commands(client) - before == 4, "three looks, and the INFO of this test itself"
    assert view.asked == [50, 51, 51, 1]


def test_a_redis_that_is_away_does_not_reach_the_worker() -> None:
    away = LiveView(make_redis("redis://127.0.0.1:1"), NAMESPACE)
    with pytest.raises(QueueUnavailableError):
        away.watched(["gate"])
    LiveFeed(away).publish([make_done(0)])


@pytest.mark.slow
def test_a_worker_shows_what_it_stores_and_only_while_somebody_looks(
    redis_url: str,
    tmp_path: Path,
    queue: FrameQueue,
    database: Database,
    database_url: str,
    tiny_weights: Path,
    tiny_detector: Detector,
    view: LiveView,
) -> None:
    environment = worker_environment(
        redis_url=redis_url, database_url=database_url, model=tiny_weights, device="cpu", precision="fp32"
    )
    with WorkerProcess(environment, tmp_path / "worker.log", "--concurrency=1") as worker:
        worker.wait_ready(queue)
        publish(queue, tiny_weights, 5)
        wait_until(lambda: len(stored_indices(database)) == 5, 60, "frames are stored without a viewer")
        assert view.latest("gate") is None
        seen: list[LiveFrame] = []
        frames = view.frames(["gate"], wait_s=30)
        viewer = threading.Thread(target=lambda: seen.extend(islice(frames, 3)))
        viewer.start()
        wait_until(lambda: view.watched(["gate"])["gate"], 10, "the viewer watches")
        first = 5

        def shown() -> bool:
            nonlocal first
            publish(queue, tiny_weights, 1, first=first)
            first += 1
            return not viewer.is_alive()

        wait_until(shown, 30, "the viewer sees frames", poll_s=0.2)
        assert worker.terminate() == 0
    assert len(seen) == 3
    frame = seen[-1]
    assert frame.jpeg == picture(frame.index % 16)
    rows = select(
        database,
        "SELECT class_name, score, x, y, width, height FROM detection_history"
        f" WHERE frame_index = {frame.index} ORDER BY score DESC",
    )
    shown_rows = [(b.class_name, b.score, b.x, b.y, b.width, b.height) for b in frame.boxes]
    assert [row[0] for row in shown_rows] == [row[0] for row in rows]
    np.testing.assert_allclose([r[1:] for r in shown_rows], [r[1:] for r in rows], atol=0.01)
