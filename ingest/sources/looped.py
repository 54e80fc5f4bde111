"""Recordings played for ever at their own speed: a live camera without a camera."""

import logging
import time
from collections.abc import Callable, Iterator

from core.errors import SourceError
from core.types import from_microseconds
from ingest.sources.source import FrameSource, SourceFormat, SourceFrame, SourceOptions

LOG = logging.getLogger(__name__)
_LONGEST_GAP_S = 2.0
"""Between two frames; pictures of a folder may be days apart."""
_LONE_FRAME_GAP_S = 1.0
"""Between two rounds of a recording with a single frame, which has no speed."""


class LoopedRecording(FrameSource):
    """Frames of a recording at its own speed, timed when they are played; after the last, the first."""

    recorded = False

    def __init__(self, open_recording: Callable[[], FrameSource], options: SourceOptions) -> None:
        """Opens the recording once, to know that it can be. Raises SourceError."""
        self._open_recording, self._options = open_recording, options
        self._recording = open_recording()
        self._told = False

    @property
    def format(self) -> SourceFormat:
        return self._recording.format

    def __iter__(self) -> Iterator[SourceFrame]:
        due_at, gap_s = time.monotonic(), 0.0
        while True:
            last, count = None, 0
            for count, frame in enumerate(self._one_round(), 1):  # noqa: B007
                if last is not None:  # else a new round begins: in step
                    gap_s = min(_LONGEST_GAP_S, (frame.captured_at - last).total_seconds())
                last = frame.captured_at
                due_at = max(due_at + gap_s, time.monotonic() - _LONGEST_GAP_S)
                time.sleep(max(0.0, due_at - time.monotonic()))
                frame.captured_at = from_microseconds(self._options.clock.now_us())
                yield frame
            if count == 1:
                gap_s = _LONE_FRAME_GAP_S
            self._recording.close()
            self._recording = self._open_recording()

    def _one_round(self) -> Iterator[SourceFrame]:
        """One that was cut off is played as far as it goes. Raises SourceError for one without frames."""
        count = 0
        try:
            for count, frame in enumerate(self._recording, 1):  # noqa: B007
                yield frame
        except SourceError as error:
            if not count:
                raise
            if not self._told:
                LOG.warning("%s", error)
            self._told = True
        if not count:
            raise SourceError(
                f"{self._options.shown_as}: expected a recording to play, got one without frames"
            )

    def close(self) -> None:
        self._recording.close()
