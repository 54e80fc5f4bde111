"""One frame queue in a test's hands: a publisher, workers, and the bells that were rung."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from core.frame_queue import Bell, CameraQueue, ClaimedFrame, FrameQueue, QueueLimits, WorkerBeat
from core.redis_client import make_redis
from core.types import Ledger, Policy, QueuedFrame

MODEL = "thin"
LIVE = CameraQueue(MODEL)
LATEST = CameraQueue(MODEL, Policy.LATEST)
FILE = CameraQueue(MODEL, Policy.WAIT)


class QueueRig:
    """`queue` has the default limits until `with_limits` replaces it."""

    def __init__(self, url: str) -> None:
        self.client = make_redis(url)
        self._ended = threading.Event()
        self._end_threads_with_the_test()
        self.rung: list[str] = []
        self.limits = QueueLimits()
        self.queue = FrameQueue(self.client, self.limits, "test", self.rung.append)
        self._threads = ThreadPoolExecutor(8)

    def __enter__(self) -> "QueueRig":
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()  # else the threads of a failed test would wait for ever, and this for them
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.client.close()

    def _end_threads_with_the_test(self) -> None:
        execute = self.client.execute_command

        def execute_until_the_end(*args: Any, **options: Any) -> Any:
            if self._ended.is_set():
                raise RuntimeError("the test has ended")
            return execute(*args, **options)

        self.client.execute_command = execute_until_the_end  # type: ignore[method-assign]

    def with_limits(self, **limits: Any) -> FrameQueue:
        """Another queue with some limits changed; becomes `queue`."""
        self.limits = replace(self.limits, **limits)
        self.queue = FrameQueue(self.client, self.limits, "test", self.rung.append)
        return self.queue

    def another(self) -> FrameQueue:
        """A queue as another process would have it."""
        return FrameQueue(self.client, self.limits, "test", self.rung.append)

    def in_background(self, function: Callable[..., Any], *args: Any, **options: Any) -> "Future[Any]":
        return self._threads.submit(function, *args, **options)

    def publish(
        self, *indices: int, camera: str = "gate", use: CameraQueue = LIVE, size: int = 100, **fields: Any
    ) -> list[QueuedFrame]:
        """Publishes one frame per index; `age_s` and other fields of QueuedFrame may be given."""
        frames = [make_frame(index, camera, size, **fields) for index in indices]
        for frame in frames:
            assert self.queue.publish(frame, use)
        return frames

    def claim(self, most: int = 8, consumer: str = "worker-1", block_s: float = 0.0) -> list[ClaimedFrame]:
        return self.queue.claim(MODEL, consumer, most, block_s)

    def ack(self, claimed: Sequence[ClaimedFrame]) -> int:
        return self.queue.ack(MODEL, claimed)

    def answer(self, consumer: str = "worker-1") -> Bell | None:
        return self.queue.answer_bell(MODEL, consumer)

    def beat(self, slots: int, batch_size: int = 8, worker: str = "host-1") -> None:
        """Reports a live worker that drains MODEL."""
        self.queue.heartbeat(
            WorkerBeat(worker, "host", 1, (MODEL,), "cpu", slots, batch_size, datetime.now(UTC))
        )

    def ledger(self, camera: str = "gate") -> Ledger:
        """The camera's account, checked to balance and to agree with every other counter."""
        ledger = self.queue.ledger(camera)
        assert ledger.balance == 0
        return ledger

    def calls(self) -> int:
        """Commands that the server has run so far, those within scripts included."""
        stats: dict[str, Any] = self.client.info("commandstats")  # type: ignore[assignment]
        return sum(entry["calls"] for name, entry in stats.items() if name not in UNCOUNTED)


UNCOUNTED = {"cmdstat_info"}


def make_frame(
    index: int, camera: str = "gate", size: int = 100, *, age_s: float = 0.0, **fields: Any
) -> QueuedFrame:
    """A frame captured `age_s` seconds ago; its bytes are no picture, which the queue never looks at."""
    captured_at = fields.pop("captured_at", datetime.now(UTC) - timedelta(seconds=age_s))
    options = {"source_size": (1280, 720), "scale": 0.5} | fields
    return QueuedFrame(camera, index, captured_at, index.to_bytes(4) + bytes(size - 4), **options)


def indices(claimed: Sequence[ClaimedFrame]) -> list[int]:
    return [one.frame.index for one in claimed]


def cameras(claimed: Sequence[ClaimedFrame]) -> list[str]:
    return [one.frame.camera for one in claimed]
