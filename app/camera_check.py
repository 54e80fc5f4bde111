"""Looks at one source for a moment: does it answer, and what does it send?"""

import time
from dataclasses import dataclass
from pathlib import Path

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
    frames: int
    seconds: float

    def __str__(self) -> str:
        width, height = self.size
        rate = "" if self.kind == "recorded" else f", {self.frames / self.seconds:.1f} frames/s received"
        return f"{self.url}: {self.kind}, {self.format}, {width}x{height}{rate}"


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
    url: str, settings: Settings, seconds: float = 0.0, picture: Path | None = None
) -> SourceReport:
    """Opens a source, decodes a frame, and watches a live one for `seconds`.

    Raises SourceError in one line, without passwords, when it cannot be read now.
    """
    options = SourceOptions(open_timeout_s=settings.open_timeout_s, stall_timeout_s=settings.stall_timeout_s)
    try:
        with open_source(url, options) as source:
            return _watch(source, redact_url(url), seconds, picture)
    except (SourceError, SourceLostError) as error:
        raise SourceError(hide_secrets(str(error), url)) from None


def _watch(source: FrameSource, label: str, seconds: float, picture: Path | None) -> SourceReport:
    frames = iter(source)
    first = next(frames, None)
    if first is None:
        raise SourceError(f"{label}: expected pictures, got none")
    if picture is not None:
        _save(first, picture)
    started, count = time.monotonic(), 0
    # One frame proves that a file can be decoded; its rate stands in its header.
    while not source.recorded and time.monotonic() - started < seconds:
        next(frames)  # a live source has no end; a lost one raises
        count += 1
    return SourceReport(
        url=label,
        kind="recorded" if source.recorded else "live",
        format=str(source.format),
        size=first.source_size,
        frames=count,
        seconds=max(time.monotonic() - started, 1e-6),
    )


def _save(frame: SourceFrame, picture: Path) -> None:
    try:
        written = cv2.imwrite(str(picture), frame.image)
    except cv2.error:
        written = False
    if not written:
        raise SettingsError(f"--picture: expected a .jpg or .png file that can be written, got {picture}")
