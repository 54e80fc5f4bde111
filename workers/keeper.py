"""A thread that keeps a worker's place in the fleet: beats, leases, sweeps, and an end when Redis is gone."""

import logging
import threading
import time
from collections.abc import Callable

from core.queue_types import QueueLimits, WorkerBeat
from workers.context import WorkerContext
from workers.watchdog import exit_at_once

BEAT_S = 3.0
"""A fifth of the time after which a silent worker no longer counts."""
DEAF_CHECK_S = 10.0

logger = logging.getLogger(__name__)


class Keeper:
    """Ticks a few times per lease. `describe` makes this worker's beat; None before it takes bells."""

    def __init__(
        self,
        context: WorkerContext,
        limits: QueueLimits,
        describe: Callable[[], WorkerBeat | None],
        lost_exit_s: float,
        give_up: Callable[[str], None] = exit_at_once,
    ) -> None:
        self._context = context
        self._describe = describe
        self._lost_exit_s = lost_exit_s
        self._give_up = give_up
        self._tick_s = min(1.0, limits.bell_timeout_s / 4, limits.claim_timeout_s / 4)
        self._reached_redis = time.monotonic()
        self._lost = False
        self._last_beat = -BEAT_S
        self._deafness = Deafness(context, lost_exit_s)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def heard_bell(self) -> None:
        """Celery delivers."""
        self._deafness.heard_bell()

    def _run(self) -> None:
        while not self._closed.wait(self._tick_s):
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001  without this thread the worker would fade from the fleet
                self._look_at_loss(error)
            else:
                self._note_return()

    def _tick(self) -> None:
        queue = self._context.queue
        for bell in self._context.hands.bells():
            queue.renew_bell(bell)
        for held in self._context.hands.batches_older_than(self._tick_s):
            queue.extend(held.model, held.frames)
        beat = self._describe()
        if beat is None or self._context.stopping.is_set():
            queue.server_time()  # to see that Redis is there
            return
        if time.monotonic() - self._last_beat >= BEAT_S:
            queue.heartbeat(beat)
            self._last_beat = time.monotonic()
        for model in beat.models:
            queue.sweep(model)
        deaf_s = self._deafness.since_s(beat.models)
        if deaf_s > self._lost_exit_s:
            self._give_up(
                f"frames waited for {deaf_s:.0f} s while Celery brought this idle worker no bell; exiting"
            )

    def _look_at_loss(self, error: Exception) -> None:
        if not self._lost:
            logger.warning("this worker cannot keep its place on Redis: %r", error)
        self._lost = True
        if time.monotonic() - self._reached_redis > self._lost_exit_s:
            self._give_up(
                f"Redis was out of reach for longer than broker_lost_exit_s ({self._lost_exit_s:g} s)"
            )

    def _note_return(self) -> None:
        if self._lost:
            logger.warning(
                "this worker has its place on Redis again after %.1f s",
                time.monotonic() - self._reached_redis,
            )
        self._lost = False
        self._reached_redis = time.monotonic()


class Deafness:
    """How long frames have waited while this worker had nothing to do and heard no bell.

    The sweep rings for such frames, so something between the broker and Celery's consumer is broken then.
    """

    def __init__(self, context: WorkerContext, patience_s: float) -> None:
        self._context = context
        self._check_s = min(DEAF_CHECK_S, patience_s / 2)
        self._checked = time.monotonic()
        self._waiting_since: float | None = None

    def heard_bell(self) -> None:
        """Not deaf."""
        self._waiting_since = None

    def since_s(self, models: tuple[str, ...]) -> float:
        """Seconds of deafness so far; asks the queue only every few seconds."""
        now = time.monotonic()
        if now - self._checked >= self._check_s:
            self._checked = now
            idle = not self._context.hands.bells()
            if not (idle and any(self._frames_wait(model) for model in models)):
                self._waiting_since = None
            elif self._waiting_since is None:
                self._waiting_since = now
        return now - self._waiting_since if self._waiting_since is not None else 0.0

    def _frames_wait(self, model: str) -> bool:
        depths = self._context.queue.depth(model)
        return any(depth.waiting and depth.oldest_age_s > self._check_s for depth in depths)
