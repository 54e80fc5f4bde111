"""The progress of a run while it goes on: a live line on a terminal, a plain line now and then elsewhere."""

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.tables import stderr
from app.times import format_age

PLAIN_EVERY_S = 5.0
RATE_WINDOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a run."""

    captured: int
    in_flight: int
    settled: int
    """Stored or dropped: done with."""
    stored: int
    detections: int
    expected: int | None
    """Frames of all sources together; None when one does not say."""
    note: str = ""
    """What is waited for, if anything."""


class Speed:
    """Stored frames per second over the last few seconds."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def update(self, stored: int) -> float:
        """The speed after another look; 0 before the first frame."""
        now = time.monotonic()
        self._points.append((now, stored))
        while len(self._points) > 2 and now - self._points[1][0] > RATE_WINDOW_S:
            self._points.pop(0)
        (then, before), elapsed = self._points[0], now - self._points[0][0]
        return (stored - before) / elapsed if elapsed > 0 and then < now else 0.0


class ProgressDisplay:
    """Shows looks at a run on standard error, so that standard output stays for the result."""

    def __init__(self, quiet: bool = False) -> None:
        self.console: Console = stderr()
        self.quiet = quiet
        self._speed = Speed()
        self._live: Live | None = None
        self._said_at = time.monotonic()
        self._said_note = ""

    def __enter__(self) -> "ProgressDisplay":
        if self.console.is_terminal and not self.quiet:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(text))

    def show(self, progress: Progress) -> None:
        """Another look."""
        speed = self._speed.update(progress.settled)
        if self._live is not None:
            self._live.update(_draw(progress, speed))
        elif not self.quiet:
            self._show_plainly(progress, speed)

    def _show_plainly(self, progress: Progress, speed: float) -> None:
        if progress.note and progress.note != self._said_note:
            self.say(progress.note)
        self._said_note = progress.note
        now = time.monotonic()
        if now - self._said_at >= PLAIN_EVERY_S:
            self._said_at = now
            self.say(describe(progress, speed))


def describe(progress: Progress, speed: float) -> str:
    """One line of text."""
    total = f"/{progress.expected}" if progress.expected is not None else ""
    line = (
        f"captured {progress.captured}{total}, queued {progress.in_flight}, stored {progress.stored}, "
        f"detections {progress.detections}, {speed:.1f} frames/s"
    )
    left_s = time_left_s(progress, speed)
    return line if left_s is None else f"{line}, {format_age(left_s)} left"


def time_left_s(progress: Progress, speed: float) -> float | None:
    """Seconds until all frames are done with; None when that cannot be told."""
    if progress.expected is None or speed <= 0 or progress.settled >= progress.expected:
        return None
    return (progress.expected - progress.settled) / speed


def _draw(progress: Progress, speed: float) -> Table:
    grid = Table.grid(padding=(0, 1))
    for overflow in ("crop", "crop", "ellipsis"):
        grid.add_column(no_wrap=True, overflow=overflow)
    if progress.expected:
        bar = ProgressBar(
            total=progress.expected, completed=min(progress.settled, progress.expected), width=20
        )
    else:
        bar = ProgressBar(total=None, width=20, pulse=True)
    share = f"{progress.settled / progress.expected:4.0%}" if progress.expected else ""
    grid.add_row(bar, Text(share), Text(progress.note or describe(progress, speed)))
    return grid
