"""Stored frames of watched cameras go to whoever looks; while nobody does, that costs a look at a clock."""

import logging
import time
from collections.abc import Sequence

from core.errors import QueueUnavailableError
from core.live_view import LiveBox, LiveFrame, LiveView
from workers.storing import Done

LOOK_EVERY_S = 1.0
"""A viewer who comes waits at most so long for the first frame."""
REMEMBERED_FOR_S = 600.0
"""A camera is asked about for so long after its last frame; slow ones send one in several looks."""

logger = logging.getLogger(__name__)


class LiveFeed:
    """Publishes what a worker stored; its slots share it.

    It asks Redis at most once in LOOK_EVERY_S which of the cameras that it met lately are watched. Slots that
    ask at the same moment ask twice, which does no harm. No fault of it reaches the worker: a picture that
    nobody gets to see is no loss.
    """

    def __init__(self, view: LiveView, look_every_s: float = LOOK_EVERY_S) -> None:
        self._view = view
        self._look_every_s = look_every_s
        self._look_at = 0.0
        self._met_at: dict[str, float] = {}
        self._watched: frozenset[str] = frozenset()

    def publish(self, batch: Sequence[Done]) -> None:
        """Hands the frames of watched cameras on, right after they were stored."""
        now = time.monotonic()
        self._met_at.update((done.result.camera, now) for done in batch)
        try:
            if now >= self._look_at:
                self._look(now)
            if self._watched:
                self._view.publish([_frame(done) for done in batch if done.result.camera in self._watched])
        except QueueUnavailableError as error:
            self._watched = frozenset()
            logger.debug("%d frames were not shown live: %s", len(batch), error)

    def _look(self, now: float) -> None:
        self._look_at = now + self._look_every_s
        met = dict(self._met_at)  # another slot may meet a camera meanwhile
        for camera in [camera for camera, at in met.items() if at < now - REMEMBERED_FOR_S]:
            del met[camera]
            self._met_at.pop(camera, None)
        marks = self._view.watched(sorted(met))
        self._watched = frozenset(camera for camera, watched in marks.items() if watched)


def _frame(done: Done) -> LiveFrame:
    result, found = done.result, done.result.detections
    boxes = tuple(
        LiveBox(found.categories[label], score, x1, y1, x2 - x1, y2 - y1)
        for (x1, y1, x2, y2), label, score in zip(
            found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        )
    )
    jpeg = done.claimed.frame.jpeg
    return LiveFrame(
        result.camera, result.index, result.captured_at, result.source_size, jpeg, boxes, result.model
    )
