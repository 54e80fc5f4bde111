"""When a frame was captured: stream time made wall-clock time, strictly increasing per camera.

All times here are whole microseconds since 1970-01-01T00:00Z, so that no rounding accumulates.
"""

import time
from dataclasses import dataclass, replace
from fractions import Fraction

MICROSECONDS = 1_000_000
_DELAY_WINDOW_US = 30 * MICROSECONDS
_MOST_DELAY_US = 5 * MICROSECONDS


def to_media_microseconds(pts: int | None, time_base: Fraction | None) -> int | None:
    """A presentation time stamp in whole microseconds of stream time, rounded exactly; None stays None."""
    if pts is None or time_base is None:
        return None
    whole, rest = divmod(pts * time_base.numerator * MICROSECONDS, time_base.denominator)
    twice = 2 * rest  # integers alone: Fraction takes 40 us, for every frame of every camera
    return whole + (twice > time_base.denominator or (twice == time_base.denominator and whole % 2))


class RecordedTimeline:
    """A file's own timeline: `start_us` plus the stream time since its first frame.

    A time stamp that is missing or does not increase (joined recordings) puts its frame one frame interval
    after the one before, and the rest of the file follows on from there.
    """

    def __init__(self, start_us: int, frame_interval: Fraction) -> None:
        self._start_us = start_us
        self._frame_interval_us = frame_interval * MICROSECONDS
        self._shift_us: int | None = None
        self._elapsed_us: int | None = None

    def capture_time_us(self, media_us: int | None) -> int:
        """Time of the frame at stream time `media_us`; None for a frame without a time stamp."""
        if self._elapsed_us is None:
            self._shift_us = None if media_us is None else -media_us
            self._elapsed_us = 0
            return self._start_us
        next_us = self._elapsed_us + max(1, round(self._frame_interval_us))
        if media_us is None:
            self._elapsed_us = next_us
        elif self._shift_us is None or media_us + self._shift_us <= self._elapsed_us:
            self._shift_us, self._elapsed_us = next_us - media_us, next_us
        else:
            self._elapsed_us = media_us + self._shift_us
        return self._start_us + self._elapsed_us


class SteadyClock:
    """The wall clock, except that it never goes back.

    A machine that boots without a clock battery is set right later, sometimes backwards. Then this clock
    goes on at 0.9 of the speed until the wall clock has caught up.
    """

    def __init__(self) -> None:
        self._last_us = 0
        self._last_tick_us = 0

    def now_us(self) -> int:
        """Microseconds since the epoch, never less than the last answer."""
        wall_us, tick_us = time.time_ns() // 1000, time.monotonic_ns() // 1000
        slow_us = self._last_us + (tick_us - self._last_tick_us) * 9 // 10
        self._last_us, self._last_tick_us = max(wall_us, slow_us), tick_us
        return self._last_us


@dataclass(frozen=True, slots=True)
class ClockReport:
    """What a camera's times tell about its clock; None where it does not tell."""

    ahead_s: float | None = None
    """Its clock less this machine's, by its own reports, less the shortest way of a frame to here."""
    drift_ppm: float | None = None
    """How fast its stream time runs against this machine's clock: 10 gains a second per day and more."""


class LiveTimeline:
    """Maps a live stream's time to the wall clock: by the sender's clock where it tells and can be right.

    A frame cannot arrive before it was captured, so of all (arrival - stream time) in the last half to whole
    minute the smallest is the best guess of the offset: bursts (a camera sends its buffered group of pictures
    first), network jitter and pauses of this process do not shift the times, a drifting camera clock is
    followed, and no frame lies in the future. Stream time that jumps back starts anew at the arrival.

    That guess takes the fastest frame's way for none. A camera that sends its clock's time knows better, as
    long as that clock is right: when its frames seem to arrive before they were captured, or more than five
    seconds after, it is not, and the guess holds.
    """

    def __init__(self) -> None:
        self._last_us = 0
        self._last_arrival_us: int | None = None
        self._media_us: int | None = None
        self._offset_us: int | None = None
        self._earlier_offset_us: int | None = None
        self._window_ends_us = 0
        self._first_window: tuple[int, int] | None = None
        self.report = ClockReport()

    def capture_time_us(self, media_us: int | None, arrival_us: int, sender_us: int | None = None) -> int:
        """Time of the frame at stream time `media_us` that arrived at `arrival_us` by `SteadyClock`.

        `sender_us` is what the camera's clock showed then. A frame without a time stamp was captured when it
        arrived. The answer is always later than the one before: what would jump back goes on at half speed.
        """
        moment_us = arrival_us
        if media_us is not None:
            if self._media_us is not None and media_us < self._media_us:
                self._offset_us = self._earlier_offset_us = self._first_window = None
            self._media_us = media_us
            moment_us = media_us + self._least_offset_us(arrival_us - media_us, arrival_us)
            if sender_us is not None:
                moment_us = self._by_sender_us(moment_us, sender_us)
        if moment_us <= self._last_us:
            waited_us = arrival_us - (self._last_arrival_us or arrival_us)
            moment_us = self._last_us + max(1, waited_us // 2)
        self._last_us, self._last_arrival_us = moment_us, arrival_us
        return moment_us

    def _by_sender_us(self, guess_us: int, sender_us: int) -> int:
        delay_us = guess_us - sender_us
        self.report = replace(self.report, ahead_s=round(-delay_us / MICROSECONDS, 3))
        return sender_us if 0 <= delay_us <= _MOST_DELAY_US else guess_us

    def _least_offset_us(self, offset_us: int, arrival_us: int) -> int:
        if self._offset_us is None or arrival_us >= self._window_ends_us:
            self._note_drift()
            self._earlier_offset_us, self._offset_us = self._offset_us, offset_us
            self._window_ends_us = arrival_us + _DELAY_WINDOW_US
        self._offset_us = min(self._offset_us, offset_us)
        if self._earlier_offset_us is None:
            return self._offset_us
        return min(self._offset_us, self._earlier_offset_us)

    def _note_drift(self) -> None:
        """At the end of a window: compares its least offset with the first window's."""
        if self._offset_us is None:
            return
        if self._first_window is None:
            self._first_window = (self._window_ends_us, self._offset_us)
            return
        ended_us, offset_us = self._first_window
        gained_us = offset_us - self._offset_us
        self.report = replace(
            self.report, drift_ppm=round(gained_us / (self._window_ends_us - ended_us) * 1e6, 1)
        )
