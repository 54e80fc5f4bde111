"""Choosing frames by their time stamps, so that any frame rate becomes the one asked for."""

from datetime import datetime

from core.types import to_microseconds

_SMOOTHING = 0.1


class Sampler:
    """Takes `fps` frames per second of stream time, as evenly as the source's frames allow.

    Frames are due every 1/fps from the first one on. A frame that comes up to half a source frame interval
    early counts as due: otherwise the jitter of a live camera would make the steps uneven (at 25 fps for 5:
    0.16, 0.24, 0.2 s instead of 0.2 s throughout). A late frame is made up for by the next one, a gap is not.
    """

    def __init__(self, fps: float | None) -> None:
        self._step_us = None if fps is None else 1e6 / fps
        self._first_us: int | None = None
        self._last_us = 0
        self._due_us = 0.0
        """From the first frame on, as all times here but `first`."""
        self._interval_us: float | None = None

    def takes(self, captured_at: datetime) -> bool:
        """Whether to analyse the frame captured then; ask once per frame, in order of time."""
        if self._step_us is None:
            return True
        if self._first_us is None:
            self._first_us = to_microseconds(captured_at)
        moment_us = to_microseconds(captured_at) - self._first_us
        self._follow_interval(moment_us - self._last_us)
        self._last_us = moment_us
        # Half a step at most: a source slower than `fps` is taken whole in any case.
        early_us = min((self._interval_us or 0.0) / 2, self._step_us / 2)
        if moment_us + early_us < self._due_us:
            return False
        self._due_us += self._step_us
        if self._due_us < moment_us - self._step_us:
            self._due_us = moment_us + self._step_us
        return True

    def _follow_interval(self, interval_us: int) -> None:
        if interval_us <= 0:
            return
        if self._interval_us is None:
            self._interval_us = float(interval_us)
        # Gaps are no frame intervals; they must not widen the tolerance.
        nearby_us = min(interval_us, 2 * self._interval_us)
        self._interval_us += _SMOOTHING * (nearby_us - self._interval_us)
