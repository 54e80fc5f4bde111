"""The frame queue: bounded Redis Streams, one per camera and model, drained by workers that a bell wakes.

Every change is one Lua script (core/frame_queue_scripts), so that frames, counters, ledger and bells never
disagree. docs/frame-queue.md describes keys, scripts and promises. Every method raises
QueueUnavailableError while Redis is away; each but `count_dropped` may then be called again as it was.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

import redis

from core.errors import LeaseLostError, SettingsError
from core.queue_accounts import QueueAccounts
from core.queue_answers import frame_header, read_claimed
from core.queue_bells import microseconds
from core.queue_types import (
    Bell,
    CameraQueue,
    ClaimedFrame,
    DeadLetter,
    QueueDepth,
    QueueLimits,
    WorkerBeat,
)
from core.types import DropReason, Policy, QueuedFrame

__all__ = [
    "Bell",
    "CameraQueue",
    "ClaimedFrame",
    "DeadLetter",
    "FrameQueue",
    "QueueDepth",
    "QueueLimits",
    "WorkerBeat",
]

FILES_SHARE = 7 / 8
"""Of the whole queue's bytes; the rest is kept for live cameras, whose frames cannot wait outside."""
WAIT_SLICE_S = 0.25
"""How long a publisher waits for room before it looks at `should_stop` again."""
SLEEP_SLICE_S = 1.0
"""How long a worker blocks in one command: well below the connection's time-out for an answer."""


class FrameQueue(QueueAccounts):
    """One fleet's frames on one Redis. Threads may share it; processes make their own.

    `ring(model)` sends the Celery message that makes a worker drain `model`. It is called only when a script
    decides so: never without frames, and no more often than the live workers have free slots.
    """

    def __init__(
        self,
        redis: redis.Redis,
        limits: QueueLimits,
        namespace: str,
        ring: Callable[[str], None],
        *,
        lease: str = "",
    ) -> None:
        """`lease` is the publisher's token of core/camera_leases.py, where cameras are shared by leases."""
        super().__init__(redis, limits, namespace, ring)
        self._lease = lease
        self._run = uuid.uuid4().hex
        self._unsent: dict[str, list[tuple[int, dict[DropReason, int]]]] = {}
        self._sent_batches = 0
        self._lock = threading.Lock()

    def publish(
        self, frame: QueuedFrame, camera: CameraQueue, *, should_stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Queues one frame in one round trip; by policy makes room, drops the frame as queue_full, or waits.

        The frame counts as captured from the moment this returns True. After QueueUnavailableError publish
        the same frame again: it is not queued twice. Returns False, with nothing counted, when `should_stop`
        turned true while policy WAIT waited for room. Raises SettingsError when a frame of a waiting camera
        is larger than the queue itself, and LeaseLostError, with nothing counted, when the camera's lease
        has gone to another process.
        """
        if camera.policy is Policy.WAIT:
            self._require_fit(frame)
        while True:
            accepted, bells = self._publish_once(frame, camera)
            self._ring_bells(camera.model, bells)
            if accepted:
                return True
            if should_stop():
                return False
            self._scripts.wait_for("room", f"{self._run}:{frame.camera}", WAIT_SLICE_S)

    def _require_fit(self, frame: QueuedFrame) -> None:
        """A publisher must not wait for room that can never be."""
        limits, size = self._limits, len(frame.jpeg)
        if size > min(limits.camera_max_bytes, self._files_max_bytes()):
            raise SettingsError(
                f"camera {frame.camera}: expected frames within camera_max_bytes={limits.camera_max_bytes}"
                f" and 7/8 of queue_max_bytes={limits.queue_max_bytes}, got {size} bytes: raise them"
            )

    def _files_max_bytes(self) -> int:
        return int(self._limits.queue_max_bytes * FILES_SHARE)

    def _publish_once(self, frame: QueuedFrame, camera: CameraQueue) -> tuple[bool, int]:
        never_stale = camera.max_age_s is None or camera.policy is Policy.WAIT
        accepted, bells = self._scripts.run(
            "publish",
            camera.model,
            frame.camera,
            camera.policy.value,
            self._run,
            "" if never_stale else microseconds(camera.max_age_s or 0.0),
            self._limits.camera_max_frames,
            self._limits.camera_max_bytes,
            self._files_max_bytes() if camera.policy is Policy.WAIT else self._limits.queue_max_bytes,
            self._lease_us,
            *frame_header(frame),
            frame.jpeg,
            self._lease,
        )
        if accepted == -1:
            raise _lease_lost(frame.camera)
        return bool(accepted), int(bells)

    def count_captured_dropped(self, camera: str, reason: DropReason, count: int = 1) -> None:
        """Counts frames that ingest captured and dropped itself, e.g. as sampled_out."""
        self.count_dropped(camera, {reason: count})

    def count_dropped(self, camera: str, counts: Mapping[DropReason, int]) -> None:
        """Counts frames that ingest captured and dropped itself, several reasons in one round trip.

        Never call it again for the same frames: when this raises QueueUnavailableError the counts are kept
        and go with the next call for the camera or with `flush_counts`, and are counted exactly once. Raises
        LeaseLostError, and counts nothing, when the camera's lease has gone to another process.
        """
        with self._lock:
            self._sent_batches += 1
            kept = {reason: count for reason, count in counts.items() if count}
            self._unsent.setdefault(camera, []).append((self._sent_batches, kept))
            self._send_counts(camera)

    def flush_counts(self) -> None:
        """Sends what `count_dropped` could not; call it when a camera's run ends."""
        with self._lock:
            for camera in list(self._unsent):
                self._send_counts(camera)

    def _send_counts(self, camera: str) -> None:
        batches = self._unsent[camera]
        while batches:
            number, counts = batches[0]
            pairs = [word for reason, count in counts.items() for word in (reason.value, count)]
            if not self._scripts.run("count_dropped", camera, self._run, number, self._lease, *pairs):
                del self._unsent[camera]
                raise _lease_lost(camera)
            batches.pop(0)
        del self._unsent[camera]

    def claim(
        self, model: str, consumer: str, max_frames: int, block_s: float, *, bell: Bell | None = None
    ) -> list[ClaimedFrame]:
        """Up to `max_frames` frames, as they are, round robin over the cameras that have some.

        Blocks up to `block_s` only while there is none. Renews `bell`. Stale frames are dropped on the way;
        frames whose holder's claim timed out come first, or go to the dead letters.
        """
        deadline = time.monotonic() + block_s
        while True:
            sleep_s = min(deadline - time.monotonic(), SLEEP_SLICE_S)
            frames, bells, unfinished = self._scripts.run(
                "claim",
                model,
                consumer,
                max_frames,
                microseconds(max(sleep_s, 0.0)),
                bell.token if bell else "",
                *self._recovery(),
            )
            self._ring_bells(model, bells)
            if frames:
                return [read_claimed(fields, consumer) for fields in frames]
            if unfinished:
                continue
            if sleep_s <= 0:
                return []
            self._scripts.wait_for("wake", f"{model}:{consumer}", sleep_s)

    def ack(self, model: str, claimed: Sequence[ClaimedFrame]) -> int:
        """Counts frames as stored and removes them, after their rows are committed.

        Returns how many this call settled: a frame that was settled before counts nothing.
        """
        return self._settle(model, "stored", claimed)

    def drop(self, model: str, claimed: ClaimedFrame, reason: DropReason) -> None:
        """Counts a claimed frame as dropped, e.g. corrupt, and removes it."""
        self._settle(model, reason.value, [claimed])

    def _settle(self, model: str, column: str, claimed: Sequence[ClaimedFrame]) -> int:
        if not claimed:
            return 0
        words = [word for one in claimed for word in (one.frame.camera, one.entry_id, len(one.frame.jpeg))]
        return int(self._scripts.run("settle", model, column, *words))

    def fail(self, model: str, claimed: ClaimedFrame, error: str) -> None:
        """Gives back a frame that failed its worker for another delivery at once.

        At the last delivery the frame goes to the dead letters with `error` and counts as failed. Nothing
        happens when another worker holds the frame by now.
        """
        bells = self._scripts.run(
            "fail",
            model,
            claimed.frame.camera,
            claimed.entry_id,
            claimed.consumer,
            claimed.delivery,
            error[:2000],
            *self._recovery(),
        )
        self._ring_bells(model, bells)

    def release(self, model: str, claimed: Sequence[ClaimedFrame]) -> None:
        """Gives back frames unprocessed (shutdown, SQL away): available at once, delivery not counted."""
        if not claimed:
            return
        words = [
            word for one in claimed for word in (one.frame.camera, one.entry_id, one.consumer, one.delivery)
        ]
        bells = self._scripts.run("release", model, self._lease_us, *words)
        self._ring_bells(model, bells)

    def extend(self, model: str, claimed: Sequence[ClaimedFrame]) -> int:
        """Gives the holder of a long batch another claim_timeout_s; returns how many frames it still holds.

        Call it every claim_timeout_s / 3 while a batch runs, for as long as the worker believes in it.
        """
        if not claimed:
            return 0
        words = [
            word for one in claimed for word in (one.frame.camera, one.entry_id, one.consumer, one.delivery)
        ]
        return int(self._scripts.run("extend", model, microseconds(self._limits.claim_timeout_s), *words))


def _lease_lost(camera: str) -> LeaseLostError:
    return LeaseLostError(f"camera {camera}: another ingest process reads it by now")
