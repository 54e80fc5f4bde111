"""The way from one camera to the queue, over gaps in which Redis is away."""

import logging
import threading
import time
from collections import Counter, deque
from datetime import UTC, datetime, timedelta

from core.errors import LeaseLostError, QueueUnavailableError, UsageError
from core.frame_queue import CameraQueue, FrameQueue
from core.types import DropReason, Policy, QueuedFrame
from ingest.backoff import Backoff

LOG = logging.getLogger(__name__)
COUNT_EVERY_S = 0.5
"""Frames that ingest leaves out are counted on Redis in one message per half second."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 2.0
MOST_KEPT_BYTES = 32 * 1024 * 1024


class Outbox:
    """Publishes frames and counts the left-out ones; nothing that it was given is lost while it runs.

    Policy WAIT blocks until the frame is queued. A live camera's frames are kept here while Redis is away,
    for as long as they are fresh, and the reader goes on reading. When another ingest process has the camera
    by now, `stop` is set, and what is still here is dropped uncounted: it is as good as never captured.
    """

    def __init__(self, queue: FrameQueue, camera: str, use: CameraQueue, stop: threading.Event) -> None:
        self._queue, self._camera, self._use, self._stop = queue, camera, use, stop
        self._kept: deque[QueuedFrame] = deque()
        self._counts: Counter[DropReason] = Counter()
        self._counts_lock = threading.Lock()
        self._counted_at = time.monotonic()
        self._backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._retry_at = 0.0
        self.lease_lost = False
        """Another ingest process reads the camera by now."""
        self.published = 0
        self.dropped: Counter[DropReason] = Counter()
        """Everything that was counted here, for the report."""

    def count(self, reason: DropReason, count: int = 1) -> None:
        """Accounts for captured frames that will not be queued."""
        with self._counts_lock:
            self._counts[reason] += count
        self.dropped[reason] += count
        if time.monotonic() >= max(self._counted_at + COUNT_EVERY_S, self._retry_at):
            self.flush()

    def send(self, frame: QueuedFrame) -> None:
        """Queues a frame, now or as soon as Redis is back."""
        if self.lease_lost:
            return
        self._kept.append(frame)
        if self._use.policy is Policy.WAIT:
            self._send_all()
        else:
            self._send_fresh()

    def flush(self) -> bool:
        """Sends the counts; False when Redis is away, and then they go with the next flush."""
        self._counted_at = time.monotonic()
        with self._counts_lock:
            counts, self._counts = self._counts, Counter()
        if self.lease_lost:
            return True
        try:
            if counts:
                self._queue.count_dropped(self._camera, counts)
            else:
                self._queue.flush_counts()
        except QueueUnavailableError as error:  # the queue keeps the counts
            self._note_outage(error)
            return False
        except LeaseLostError as error:
            self._note_loss(error)
        return True

    def close(self) -> None:
        """Sends what is left; waits for Redis until `stop` is set."""
        self._retry_at = 0.0
        self._send_all()
        while not self.flush() and not self._stop.is_set():
            self._stop.wait(self._backoff.next_s())
        if self._kept:
            LOG.warning("camera %s: %d frames lost, as Redis is away", self._camera, len(self._kept))

    def _send_all(self) -> None:
        while self._kept and not self._send_fresh():
            if self._stop.wait(max(0.0, self._retry_at - time.monotonic())):
                return

    def _send_fresh(self) -> bool:
        """Queues the kept frames in order; False when Redis is away or `stop` ended the wait for room."""
        if time.monotonic() < self._retry_at:
            self._trim()
            return False
        while self._kept:
            if self._is_stale(self._kept[0]):
                self._kept.popleft()
                self.count(DropReason.STALE)
                continue
            try:
                if not self._queue.publish(self._kept[0], self._use, should_stop=self._stop.is_set):
                    self._kept.clear()  # a recording's frame that was never queued counts as not captured
                    return False
            except QueueUnavailableError as error:
                self._note_outage(error)
                self._trim()
                return False
            except LeaseLostError as error:
                self._note_loss(error)
                return True
            except UsageError:  # it can never be queued
                self._kept.popleft()
                raise
            self._kept.popleft()
            self.published += 1
            self._note_recovery()
        return True

    def _is_stale(self, frame: QueuedFrame) -> bool:
        if self._use.max_age_s is None or self._use.policy is Policy.WAIT or frame.recorded:
            return False
        return datetime.now(UTC) - frame.captured_at > timedelta(seconds=self._use.max_age_s)

    def _trim(self) -> None:
        """Bounds what is kept; policy WAIT never keeps more than one frame."""
        while len(self._kept) > 1 and sum(len(frame.jpeg) for frame in self._kept) > MOST_KEPT_BYTES:
            self._kept.popleft()
            self.count(DropReason.QUEUE_FULL)

    def _note_loss(self, error: LeaseLostError) -> None:
        if not self.lease_lost:
            LOG.warning("%s; stopping here", error)
        self.lease_lost = True
        self._kept.clear()
        self._stop.set()

    def _note_outage(self, error: QueueUnavailableError) -> None:
        if self._backoff.tries == 0:
            LOG.warning("camera %s: %s; keeping frames until it is back", self._camera, error)
        self._retry_at = time.monotonic() + self._backoff.next_s()

    def _note_recovery(self) -> None:
        if self._backoff.tries:
            LOG.info("camera %s: Redis is back", self._camera)
            self._backoff.reset()
