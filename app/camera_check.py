"""Looks at one source for a moment: does it answer, and what does it send?"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import cv2

from app.database_access import opened_database
from core.errors import CameraNotFoundError, SettingsError, SourceError, SourceLostError, UsageError
from core.settings import Settings
from core.types import CAMERA_NAME, Size
from core.urls import redact_url
from ingest.references import hide_secrets
from ingest.sources import open_source
from ingest.sources.source import FrameSource, SourceFrame, SourceOptions
from storage.cameras import get_camera

MOST_FRAMES_OF_A_RECORDING = 300
"""Read to find its keyframes: ten seconds at 30 fps."""
GATHERED_S = 0.5
"""Frames that come together at first had gathered in the connection, and tell no rate."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What a source said and sent."""

    url: str
    """Without passwords."""
    kind: str
    """ "live" or "recorded"."""
    format: str
    """Codec, and what else the source says about itself."""
    size: Size
    """Width and height in pixels of the pictures that came."""
    frames: int
    """Received from a live source while it was watched."""
    seconds: float
    """In which they came, by their own times."""
    codec: str = ""
    fps: float | None = None
    """Frames per second, as the source says."""
    keyframe_interval_s: float | None = None
    """Between the last keyframes; None where fewer than two came, or every picture stands for itself."""
    first_frame_s: float = 0.0
    """From asking for a connection to the first picture."""
    picture: str | None = None
    """File that the first picture was saved to."""

    @property
    def received_fps(self) -> float | None:
        """Frames per second that came from a live source; None for recordings."""
        return None if self.kind == "recorded" else self.frames / self.seconds

    def as_json(self) -> dict[str, Any]:
        """One object for machines."""
        received = self.received_fps
        times = {"keyframe_interval_s": self.keyframe_interval_s, "first_frame_s": self.first_frame_s}
        rounded = {name: None if value is None else round(value, 3) for name, value in times.items()}
        return asdict(self) | rounded | {"received_fps": None if received is None else round(received, 2)}

    def __str__(self) -> str:
        """A line per property, for people."""
        width, height = self.size
        rates = [f"{self.fps:g} as it says"] if self.fps else []
        rates += [f"{received:.1f} received"] if (received := self.received_fps) is not None else []
        lines = {
            "source": f"{self.url} ({self.kind})",
            "codec": self.codec,
            "size": f"{width}x{height}",
            "frames per second": ", ".join(rates) or "unknown",
            "keyframe interval": self._describe_keyframes(),
            "first frame": f"after {self.first_frame_s:.2f} s",
            "picture": self.picture,
        }
        return "\n".join(f"{name + ':':<19}{text}" for name, text in lines.items() if text)

    def _describe_keyframes(self) -> str:
        if self.keyframe_interval_s is not None:
            return f"{self.keyframe_interval_s:.2f} s"
        return "every picture" if "jpeg" in self.codec else "unknown"


@dataclass(frozen=True, slots=True)
class Watch:
    """How long to look."""

    seconds: float = 0.0
    """At a live source."""
    keyframes_within_s: float = 0.0
    """Go on until two keyframes came, for at most so long."""


def find_url(settings: Settings, name_or_url: str) -> str:
    """The URL of a stored camera, or the argument itself when it names none."""
    if not CAMERA_NAME.fullmatch(name_or_url) or Path(name_or_url).exists():
        return name_or_url
    try:
        with opened_database(settings) as database:
            return get_camera(database, name_or_url).url
    except CameraNotFoundError:
        if not Path(name_or_url).suffix:
            raise
    except UsageError:  # no database yet: then it can only be a file
        pass
    return name_or_url


def check_source(
    url: str,
    settings: Settings,
    seconds: float = 0.0,
    picture: Path | None = None,
    keyframes_within_s: float = 0.0,
) -> SourceReport:
    """Opens a source, decodes a frame, and watches a live one for `seconds`, or until two keyframes came.

    The first picture is written to `picture`. Raises SourceError in one line, without passwords, when it
    cannot be read now, and SettingsError for a picture that cannot be written.
    """
    options = SourceOptions(open_timeout_s=settings.open_timeout_s, stall_timeout_s=settings.stall_timeout_s)
    watch = Watch(seconds, max(seconds, keyframes_within_s))
    asked_at = time.monotonic()
    try:
        with open_source(url, options) as source:
            return _look(source, redact_url(url), watch, picture, asked_at)
    except (SourceError, SourceLostError) as error:
        raise SourceError(hide_secrets(str(error), url)) from None


def _look(
    source: FrameSource, label: str, watch: Watch, picture: Path | None, asked_at: float
) -> SourceReport:
    frames = iter(source)
    first = next((frame for frame in frames if not frame.is_damaged), None)
    if first is None:
        raise SourceError(f"{label}: expected pictures, got none")
    size, first_frame_s = first.source_size, time.monotonic() - asked_at
    if picture is not None:
        _save(first, picture)
    rate = _watch_recording(source, frames, watch) if source.recorded else _watch_live(source, frames, watch)
    return SourceReport(
        url=label,
        kind="recorded" if source.recorded else "live",
        format=str(source.format),
        size=size,
        frames=rate.frames,
        seconds=max(rate.seconds, 1e-6),
        codec=source.format.codec,
        fps=source.format.fps,
        keyframe_interval_s=source.keyframes.interval_s if source.keyframes else None,
        first_frame_s=first_frame_s,
        picture=None if picture is None else str(picture),
    )


@dataclass(frozen=True, slots=True)
class _Rate:
    frames: int = 0
    seconds: float = 0.0


def _misses_keyframes(source: FrameSource) -> bool:
    return source.keyframes is not None and source.keyframes.interval_s is None


def _watch_live(source: FrameSource, frames: Iterator[SourceFrame], watch: Watch) -> _Rate:
    """The rate of what came, leaving out what had gathered while the source was opened."""
    moments: list[datetime] = []
    started = time.monotonic()
    while (elapsed_s := time.monotonic() - started) < watch.keyframes_within_s:
        if elapsed_s >= watch.seconds and not _misses_keyframes(source):
            break
        frame = next(frames)  # a live source has no end; a lost one raises
        if elapsed_s >= min(GATHERED_S, watch.seconds / 2):
            moments.append(frame.captured_at)
    return _Rate(len(moments) - 1, (moments[-1] - moments[0]).total_seconds()) if moments else _Rate()


def _watch_recording(source: FrameSource, frames: Iterator[SourceFrame], watch: Watch) -> _Rate:
    """One frame proves that it can be decoded; further ones tell of keyframes alone."""
    if watch.keyframes_within_s:
        for _ in islice(takewhile(lambda _: _misses_keyframes(source), frames), MOST_FRAMES_OF_A_RECORDING):
            pass
    return _Rate()


def _save(frame: SourceFrame, picture: Path) -> None:
    try:
        written = cv2.imwrite(str(picture), frame.image)
    except cv2.error:
        written = False
    if not written:
        raise SettingsError(f"--picture: expected a .jpg or .png file that can be written, got {picture}")
