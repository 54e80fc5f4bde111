"""Sources as `run` and `demo` take them: files, folders and URLs, each of which becomes a camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import SettingsError, SourceError, SourceLostError, UsageError
from core.types import CAMERA_NAME, Camera
from core.urls import redact_url
from ingest.camera_defaults import camera_for
from ingest.references import resolve_references
from ingest.sources import is_recorded, open_source
from ingest.sources.source import SourceOptions


@dataclass(frozen=True, slots=True)
class RunSource:
    """One source of a run."""

    camera: Camera
    first_captured_at: datetime
    """Time of its first frame (recordings), or of the start of the run."""
    frames: int | None
    """About how many frames it has; None for live sources and where a file does not say."""

    @property
    def recorded(self) -> bool:
        return is_recorded(self.camera.url)


def parse_sources(texts: Sequence[str], fps: float | None) -> list[Camera]:
    """A camera for each SOURCE or NAME=SOURCE. Raises SettingsError when two would have one name."""
    cameras: dict[str, Camera] = {}
    for text in texts:
        name, url = split_name(text)
        camera = camera_for(url, name, fps=fps)
        if camera.name in cameras:
            raise SettingsError(
                f"expected a name for each source, got {camera.name!r} twice; "
                f"name one of them, for example {camera.name}-2={redact_url(url)}"
            )
        cameras[camera.name] = camera
    return list(cameras.values())


def split_name(text: str) -> tuple[str | None, str]:
    """`gate=rtsp://...` as name and URL; a file whose own name holds '=' stays whole."""
    name, equals, url = text.partition("=")
    if equals and url and CAMERA_NAME.fullmatch(name) and not Path(text).exists():
        return name, url
    return None, text


def inspect_source(camera: Camera) -> RunSource:
    """Reads the first frame of a recording; live sources are taken as they are.

    Raises UsageError when a file, a variable in a URL, or a kind of URL can never work.
    """
    url = resolve_references(camera.url)
    if not is_recorded(url):
        return RunSource(camera, datetime.now(UTC), None)
    with open_source(url, SourceOptions(max_side=camera.max_side)) as source:
        first = next(iter(source), None)
        if first is None:
            raise SourceError(f"{url}: expected pictures, got none")
        return RunSource(camera, first.captured_at, source.format.frames)


def inspect_sources(cameras: Sequence[Camera]) -> tuple[list[RunSource], list[str]]:
    """The sources that can be read, and why the others cannot."""
    found: list[RunSource] = []
    errors: list[str] = []
    for camera in cameras:
        try:
            found.append(inspect_source(camera))
        except (UsageError, SourceLostError) as error:
            errors.append(str(error))
    return found, errors
