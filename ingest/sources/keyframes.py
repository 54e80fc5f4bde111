"""Decoding keyframes alone, where that is enough: a keyframe needs no other frame to be decoded.

At 1 fps from 1080p at 25 fps with a keyframe per second this takes a fifth of the CPU time.
"""

from collections import deque

_SLACK = 1.1
"""Keyframes "once a second" may come 1.1 s apart."""
_REGULAR = 3
"""So many intervals in a row must be short enough."""
_UNKNOWN_INTERVAL_S = 30.0


class KeyframeChoice:
    """Decides for each group of pictures of a live stream whether its keyframe is enough.

    Cameras choose their keyframe interval, and some stretch it while nothing moves: so it is watched all the
    time. A keyframe that stays out leaves a gap of one group, as a frame between needs all those before it.
    """

    def __init__(self, fps: float | None = None, keyframes_only: bool | None = None) -> None:
        self._forced = keyframes_only
        self._longest_s = 0.0 if fps is None else _SLACK / fps
        self._intervals_s: deque[float] = deque(maxlen=_REGULAR)
        self._keyframe_at_s: float | None = None
        self.active = keyframes_only is True
        """Whether only keyframes are decoded just now."""

    def follow(self, moment_s: float) -> None:
        """Notes that a keyframe with that stream time came."""
        if self._keyframe_at_s is not None and moment_s > self._keyframe_at_s:
            self._intervals_s.append(moment_s - self._keyframe_at_s)
        self._keyframe_at_s = moment_s
        if self._forced is None:
            regular = len(self._intervals_s) == _REGULAR
            self.active = regular and max(self._intervals_s) <= self._longest_s

    @property
    def interval_s(self) -> float | None:
        """From the last keyframe but one to the last; None before two came."""
        return self._intervals_s[-1] if self._intervals_s else None

    @property
    def patience_s(self) -> float:
        """How much longer than usual the next decoded picture may take."""
        if not self.active:
            return 0.0
        return 2 * self._intervals_s[-1] if self._intervals_s else _UNKNOWN_INTERVAL_S
