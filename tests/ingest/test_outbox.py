"""The way to the queue, over gaps in which Redis is away."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.frame_queue import CameraQueue, FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.redis_server import EmbeddedRedis
from core.types import DropReason, Policy, QueuedFrame
from ingest import outbox
from ingest.outbox import Outbox
from tests.ingest.conftest import NAMESPACE
from tests.redis_logins import login_refused
from tests.waiting import wait_until

LIVE = CameraQueue("tiny", Policy.DROP_OLDEST, max_age_s=10.0)
FILE = CameraQueue("tiny", Policy.WAIT, max_age_s=None)


def frame(index: int, age_s: float = 0.0, size: int = 100) -> QueuedFrame:
    captured_at = datetime.now(UTC) - timedelta(seconds=age_s)
    return QueuedFrame("gate", index, captured_at, bytes(size), (640, 480), 1.0)


def indices(queue: FrameQueue) -> list[int]:
    return [claimed.frame.index for claimed in queue.claim("tiny", "reader", 1000, 0.0)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own, which may be stopped."""
    with EmbeddedRedis(tmp_path, appendonly=True) as server:
        yield server


@pytest.fixture
def queue(server: EmbeddedRedis) -> Iterator[FrameQueue]:
    with make_redis(server.url) as client:
        yield FrameQueue(client, QueueLimits(), NAMESPACE, lambda _: None)


def test_left_out_frames_are_counted_in_few_messages(make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue()
    sent = []
    queue.count_dropped = lambda camera, counts: sent.append(dict(counts))  # type: ignore[method-assign]
    box = Outbox(queue, "gate", LIVE, threading.Event())
    for _ in range(1000):
        box.count(DropReason.SAMPLED_OUT)
    box.close()
    assert sent == [{DropReason.SAMPLED_OUT: 1000}]


def test_the_ledger_balances_after_closing(make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue()
    box = Outbox(queue, "gate", LIVE, threading.Event())
    box.count(DropReason.SAMPLED_OUT, 4)
    box.count(DropReason.CORRUPT)
    box.send(frame(5))
    box.close()
    ledger = queue.ledger("gate")
    assert (ledger.captured, ledger.in_flight, ledger.balance) == (6, 1, 0)
    assert ledger.dropped[DropReason.SAMPLED_OUT] == 4


def test_a_live_cameras_frames_wait_for_redis_and_the_reader_does_not(
    server: EmbeddedRedis, queue: FrameQueue
) -> None:
    box = Outbox(queue, "gate", LIVE, threading.Event())
    box.send(frame(0))
    server.stop()
    for index in range(1, 6):
        box.send(frame(index))
        box.count(DropReason.SAMPLED_OUT)
    server.start()
    box.close()
    assert indices(queue) == [0, 1, 2, 3, 4, 5]
    assert (queue.ledger("gate").captured, queue.ledger("gate").balance) == (11, 0)


def test_frames_outlast_a_moment_in_which_redis_refuses_the_login(
    server: EmbeddedRedis, queue: FrameQueue, caplog: pytest.LogCaptureFixture
) -> None:
    box = Outbox(queue, "gate", LIVE, threading.Event())
    box.send(frame(0))
    with login_refused(server):
        for index in range(1, 6):
            box.send(frame(index))
            box.count(DropReason.SAMPLED_OUT)
            box.flush()
    box.close()
    assert indices(queue) == [0, 1, 2, 3, 4, 5]
    assert (queue.ledger("gate").captured, queue.ledger("gate").balance) == (11, 0)
    assert caplog.text.count("Redis refuses the login") == 1


def test_frames_that_turn_stale_while_redis_is_away_are_counted(
    server: EmbeddedRedis, queue: FrameQueue
) -> None:
    box = Outbox(queue, "gate", LIVE, threading.Event())
    server.stop()
    box.send(frame(0, age_s=9.99))
    box.send(frame(1))
    server.start()
    wait_until(lambda: (datetime.now(UTC) - box._kept[0].captured_at).total_seconds() > 10, 2, "staleness")
    box.close()
    assert indices(queue) == [1]
    assert queue.ledger("gate").dropped[DropReason.STALE] == 1
    assert queue.ledger("gate").balance == 0


def test_a_recordings_frame_waits_for_redis(server: EmbeddedRedis, queue: FrameQueue) -> None:
    box = Outbox(queue, "gate", FILE, threading.Event())
    server.stop()
    sending = threading.Thread(target=box.send, args=(frame(0),))
    sending.start()
    wait_until(lambda: box._backoff.tries > 1, 5, "tries while Redis is away")
    server.start()
    sending.join(timeout=10)
    assert (box.published, indices(queue)) == (1, [0])


def test_a_recordings_frame_waits_for_room_until_the_stop(make_queue: Callable[..., FrameQueue]) -> None:
    queue, stop = make_queue(camera_max_frames=2), threading.Event()
    box = Outbox(queue, "gate", FILE, stop)
    box.send(frame(0))
    box.send(frame(1))
    sending = threading.Thread(target=box.send, args=(frame(2),))
    sending.start()
    stop.set()
    sending.join(timeout=5)
    assert not sending.is_alive()
    box.close()
    assert (queue.ledger("gate").captured, queue.ledger("gate").balance) == (2, 0)


def test_what_is_kept_is_bounded(server: EmbeddedRedis, queue: FrameQueue, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "MOST_KEPT_BYTES", 1000)
    box = Outbox(queue, "gate", LIVE, threading.Event())
    server.stop()
    for index in range(30):
        box.send(frame(index))
    server.start()
    box.close()
    assert indices(queue) == list(range(20, 30))
    assert queue.ledger("gate").dropped[DropReason.QUEUE_FULL] == 20
    assert queue.ledger("gate").balance == 0


def test_without_redis_a_stop_does_not_wait(server: EmbeddedRedis, queue: FrameQueue, caplog) -> None:
    stop = threading.Event()
    box = Outbox(queue, "gate", LIVE, stop)
    server.stop()
    box.send(frame(0))
    stop.set()
    box.close()
    assert "camera gate: 1 frames lost, as Redis is away" in caplog.text


def test_a_frame_that_no_queue_can_hold_is_refused_once(make_queue: Callable[..., FrameQueue]) -> None:
    queue = make_queue(camera_max_bytes=1024)
    box = Outbox(queue, "gate", FILE, threading.Event())
    with pytest.raises(SettingsError, match="camera_max_bytes"):
        box.send(frame(0, size=2000))
    box.close()
    assert queue.ledger("gate").captured == 0
