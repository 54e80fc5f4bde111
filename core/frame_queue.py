"""The frame queue: bounded Redis Streams, one per camera and model, drained by workers that a bell wakes.

Every change is one Lua script (core/frame_queue_scripts), so that frames, counters, ledger and bells never
disagree. docs/frame-queue.md describes keys, scripts and promises. Every method raises
QueueUnavailableError while Redis is away; each may then be called again with the same arguments.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import redis

from core.errors import QueueUnavailableError, SettingsError
from core.queue_answers import (
    frame_header,
    read_claimed,
    read_dead_letter,
    read_depth,
    read_ledger,
    read_minutes,
)
from core.queue_scripts import QueueScripts
from core.queue_types import (
    Bell,
    CameraQueue,
    ClaimedFrame,
    DeadLetter,
    QueueDepth,
    QueueLimits,
    WorkerBeat,
)
from core.types import (
    DropReason,
    Ledger,
    LedgerMinute,
    Policy,
    QueuedFrame,
    from_microseconds,
    to_microseconds,
)

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

LOG = logging.getLogger(__name__)
FILES_SHARE = 7 / 8
"""Of the whole queue's bytes; the rest is kept for live cameras, whose frames cannot wait outside."""
WAIT_SLICE_S = 0.25
"""How long a publisher waits for room before it looks at `should_stop` again."""
SLEEP_SLICE_S = 1.0
"""How long a worker blocks in one command: well below the connection's time-out for an answer."""


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


class FrameQueue:
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
    ) -> None:
        if redis.get_encoder().decode_responses:
            raise SettingsError("expected a Redis client that answers bytes, got one with decode_responses")
        self._scripts = QueueScripts(redis, namespace)
        self._limits = limits
        self._ring = ring
        self._run = uuid.uuid4().hex
        self._unsent: dict[str, list[tuple[int, dict[DropReason, int]]]] = {}
        self._sent_batches = 0
        self._lock = threading.Lock()

    # ---- publishing -------------------------------------------------------------------------------------

    def publish(
        self, frame: QueuedFrame, camera: CameraQueue, *, should_stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Queues one frame in one round trip; by policy makes room, drops the frame as queue_full, or waits.

        The frame counts as captured from the moment this returns True. After QueueUnavailableError publish
        the same frame again: it is not queued twice. Returns False, with nothing counted, when `should_stop`
        turned true while policy WAIT waited for room. Raises SettingsError when a frame of a waiting camera
        is larger than the queue itself.
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
            "" if never_stale else _microseconds(camera.max_age_s or 0.0),
            self._limits.camera_max_frames,
            self._limits.camera_max_bytes,
            self._files_max_bytes() if camera.policy is Policy.WAIT else self._limits.queue_max_bytes,
            _microseconds(self._limits.bell_timeout_s),
            *frame_header(frame),
            frame.jpeg,
        )
        return bool(accepted), int(bells)

    def count_captured_dropped(self, camera: str, reason: DropReason, count: int = 1) -> None:
        """Counts frames that ingest captured and dropped itself, e.g. as sampled_out."""
        self.count_dropped(camera, {reason: count})

    def count_dropped(self, camera: str, counts: Mapping[DropReason, int]) -> None:
        """Counts frames that ingest captured and dropped itself, several reasons in one round trip.

        Never call it again for the same frames: when this raises QueueUnavailableError the counts are kept
        and go with the next call for the camera or with `flush_counts`, and are counted exactly once.
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
            self._scripts.run("count_dropped", camera, self._run, number, *pairs)
            batches.pop(0)
        del self._unsent[camera]

    # ---- claiming and settling --------------------------------------------------------------------------

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
                _microseconds(max(sleep_s, 0.0)),
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
        bells = self._scripts.run("release", model, _microseconds(self._limits.bell_timeout_s), *words)
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
        return int(self._scripts.run("extend", model, _microseconds(self._limits.claim_timeout_s), *words))

    def _recovery(self) -> tuple[int, int, int, int, int]:
        limits = self._limits
        return (
            _microseconds(limits.bell_timeout_s),
            _microseconds(limits.claim_timeout_s),
            limits.max_deliveries,
            limits.dead_max_frames,
            limits.dead_max_bytes,
        )

    # ---- bells ------------------------------------------------------------------------------------------

    def answer_bell(self, model: str, consumer: str) -> Bell | None:
        """Takes up one ring; None when others drain the model already and this one is not needed.

        The lease runs for bell_timeout_s and is renewed by `claim(bell=...)` and `renew_bell`. A holder that
        outlives its lease does no harm: another drain may start beside it.
        """
        bell = Bell(model, consumer, f"{consumer}/{uuid.uuid4().hex}")
        lease = _microseconds(self._limits.bell_timeout_s)
        needed = self._scripts.run("answer_bell", model, bell.token, lease)
        return bell if needed else None

    def renew_bell(self, bell: Bell) -> None:
        """Starts the lease anew, e.g. while a long batch runs; nothing for a bell that was left meanwhile."""
        lease = _microseconds(self._limits.bell_timeout_s)
        self._scripts.run("renew_bell", bell.model, bell.token, lease)

    def leave_bell(self, bell: Bell, *, quietly: bool = False) -> None:
        """Ends a drain, and rings again in the same step if frames still wait.

        `quietly` leaves that to the next `sweep` or frame, for a worker that cannot serve just now.
        """
        lease = _microseconds(self._limits.bell_timeout_s)
        bells = self._scripts.run(
            "leave_bell", bell.model, bell.consumer, bell.token, lease, 1 if quietly else 0
        )
        self._ring_bells(bell.model, bells)

    def sweep(self, model: str | None = None) -> int:
        """Heals what nobody else would notice: call it about once a second from any long-lived process.

        Gives back frames whose holder died, forgets silent workers and consumers, and rings for frames that
        wait without a live bell (a Celery message can get lost). None: all models. Returns the bells rung.
        """
        rung = 0
        for name in [model] if model is not None else self.models():
            rung += self._ring_bells(name, self._scripts.run("sweep", name, *self._recovery()))
        return rung

    def _ring_bells(self, model: str, count: int) -> int:
        """Returns how many were rung; frames of the others are safe, and the next sweep rings for them."""
        for rung in range(int(count)):
            try:
                self._ring(model)
            except BaseException as error:
                self._unring(model, count - rung)
                if not isinstance(error, QueueUnavailableError):
                    raise
                LOG.warning("frames of %s wait until Celery's broker is back: %s", model, error)
                return rung
        return int(count)

    def _unring(self, model: str, count: int) -> None:
        """Takes back bells that could not be rung; if this fails too they expire after bell_timeout_s."""
        try:
            self._scripts.run("unring", model, count)
        except QueueUnavailableError as error:
            LOG.debug("bell of %s stays until it expires: %s", model, error)

    # ---- accounts ---------------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Models that have or had a queue or a worker, sorted."""
        return sorted(name.decode() for name in self._scripts.run("models"))

    def ledger(self, camera: str) -> Ledger:
        """One camera's account; all zero for an unknown camera."""
        return read_ledger(self._scripts.run("ledger", camera)[0])

    def ledgers(self) -> list[Ledger]:
        """The accounts of all cameras, sorted by name."""
        return sorted(map(read_ledger, self._scripts.run("ledger")), key=lambda ledger: ledger.camera)

    def ledger_minutes(self) -> list[LedgerMinute]:
        """Absolute counts per camera and minute of the Redis server's clock, oldest first.

        An event counts in the minute in which it happened, so a frame may be captured in one and stored in
        the next. Writing them as they are over older ones is idempotent.
        """
        return read_minutes(self._scripts.run("ledger_minutes"))

    def forget_ledger_minutes(self, before: datetime) -> None:
        """Forgets minutes that are safely in SQL: those that began before `before`; never the current one.

        Give the `minute` of the newest row that the preceding `ledger_minutes` returned.
        """
        self._scripts.run("forget_minutes", to_microseconds(before) // 60_000_000)

    def depth(self, model: str) -> list[QueueDepth]:
        """How much of each camera is on Redis, sorted by camera; idle cameras too."""
        rows = self._scripts.run("depth", model)
        return sorted((read_depth(row, model) for row in rows), key=lambda depth: depth.camera)

    def forget_camera(self, camera: str) -> None:
        """Removes a camera's frames, dead letters, counters and ledger; its minutes stay to be flushed."""
        self._scripts.run("forget_camera", camera)

    # ---- dead letters -----------------------------------------------------------------------------------

    def dead_letters(self, model: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest dead letters of a model (None: of all), each with its picture, oldest first."""
        found: list[DeadLetter] = []
        for name in [model] if model is not None else self.models():
            found += [read_dead_letter(row, name) for row in self._scripts.run("dead_letters", name, limit)]
        return sorted(found, key=lambda letter: letter.failed_at)[-limit:]

    def replay_dead(self, model: str, ids: Sequence[str] | None = None) -> int:
        """Puts dead letters (None: all) back on their queues with fresh deliveries; no longer failed.

        They never turn stale, as a person asked for them. Returns how many: those for which queue_max_bytes
        leaves no room stay.
        """
        chosen = self.dead_ids(model) if ids is None else ids
        replayed = 0
        for one in chosen:
            moved, bells = self._scripts.run(
                "replay_dead",
                model,
                one,
                self._limits.queue_max_bytes,
                _microseconds(self._limits.bell_timeout_s),
            )
            self._ring_bells(model, bells)
            replayed += int(moved)
        return replayed

    def drop_dead(self, model: str, ids: Sequence[str] | None = None) -> int:
        """Deletes dead letters (None: all) for good; they stay counted as failed. Returns how many."""
        chosen = self.dead_ids(model) if ids is None else ids
        return sum(int(self._scripts.run("drop_dead", model, one)) for one in chosen)

    def dead_ids(self, model: str) -> list[str]:
        """Ids of all dead letters of a model, oldest first, without their pictures."""
        return [one.decode() for one in self._scripts.run("dead_ids", model)]

    # ---- workers ----------------------------------------------------------------------------------------

    def heartbeat(self, beat: WorkerBeat) -> None:
        """Reports a live worker; its slots and batch size steer how many bells are rung."""
        self._scripts.run(
            "heartbeat",
            beat.worker,
            beat.to_json(),
            _microseconds(self._limits.worker_timeout_s),
            *beat.models,
        )

    def retire(self, worker: str, consumers: Sequence[str] = ()) -> None:
        """A worker's clean exit: its slots no longer count, its idle consumers are deleted."""
        self._scripts.run("retire", worker, *consumers)

    def workers(self) -> list[WorkerBeat]:
        """Workers heard of within worker_timeout_s, sorted by name."""
        rows: list[Any] = self._scripts.run("workers", _microseconds(self._limits.worker_timeout_s))
        beats = [WorkerBeat.from_json(text, from_microseconds(int(seen))) for text, seen in rows]
        return sorted(beats, key=lambda beat: beat.worker)

    def server_time(self) -> datetime:
        """The Redis server's clock, on which leases and ages are measured."""
        return from_microseconds(int(self._scripts.run("server_time"))).astimezone(UTC)
