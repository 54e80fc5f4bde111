"""Where frames come from: one registry by URL scheme.

To add a kind, write its module with a FrameSource and add one SourceKind to `KINDS`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from core.errors import SourceError
from core.urls import has_sound_address, redact_url
from ingest.references import resolve_references
from ingest.sources.files import VideoFile
from ingest.sources.http import open_http
from ingest.sources.images import SUFFIXES, PictureFile, PictureFolder
from ingest.sources.looped import LoopedRecording
from ingest.sources.onvif import open_onvif
from ingest.sources.rtmp import open_rtmp
from ingest.sources.rtsp import open_rtsp
from ingest.sources.source import FrameSource, SourceOptions
from ingest.sources.usb import UsbCamera

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DEVICE = re.compile(r"/dev/video\d+")


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One kind of source."""

    schemes: tuple[str, ...]
    example: str
    open: Callable[[str, SourceOptions], FrameSource]
    """Called with the URL, references resolved; must name the source as `options.shown_as` says."""
    recorded: bool = False
    """Whether it keeps its own timeline and ends."""


def expand_home(path: str) -> Path:
    """The path with a folder in place of `~` or `~NAME`. Raises SourceError where there is no such person."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SourceError(f"{path}: expected the name of a person of this machine after ~") from None


def _open_path(url: str, options: SourceOptions) -> FrameSource:
    path = expand_home(unquote(url[len("file://") :]) if url.lower().startswith("file://") else url)
    try:
        exists = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise SourceError(f"{options.shown_as}: {error.strerror or error}") from None
    if path.is_dir():
        return PictureFolder(path, options)
    if not exists:
        raise SourceError(
            f"{path}: no such file; expected a video, a picture, a folder of pictures, or a URL"
        )
    if not path.is_file():  # opening a pipe or a device could wait for ever
        raise SourceError(f"{path}: expected a file or a folder, got something else")
    if path.suffix.lower() in SUFFIXES:
        return PictureFile(path, options)
    return VideoFile(path, options)


KINDS = (
    SourceKind(("file",), "street.mp4, pictures/ or file:///videos/street.mp4", _open_path, recorded=True),
    SourceKind(("rtsp", "rtsps"), "rtsp://USER:PASSWORD@HOST/PATH", open_rtsp),
    SourceKind(("http", "https"), "http://USER:PASSWORD@HOST/PATH (MJPEG or HLS)", open_http),
    SourceKind(("rtmp", "rtmps"), "rtmp://HOST/APP/STREAM", open_rtmp),
    SourceKind(("onvif",), "onvif://USER:PASSWORD@HOST", open_onvif),
    SourceKind(("usb",), "usb://0 or /dev/video0", UsbCamera),
)


def _by_scheme(kinds: Iterable[SourceKind]) -> Mapping[str, SourceKind]:
    known: dict[str, SourceKind] = {}
    for kind in kinds:
        for scheme in kind.schemes:
            if scheme in known:
                raise ValueError(f"two kinds of source for {scheme}://: {known[scheme]} and {kind}")
            known[scheme] = kind
    return known


_KIND_BY_SCHEME = _by_scheme(KINDS)


def source_kind(url: str) -> SourceKind:
    """The kind that a URL or path belongs to.

    Raises SourceError for an unknown scheme, listing the known ones, and for a host or port that cannot be.
    """
    return _find_kind(url, redact_url(url))


def is_recorded(url: str) -> bool:
    """Whether the source is a recording (it waits for its reader and ends), judged by its URL alone.

    A URL that begins with a `${NAME}` reference counts as live. Raises SourceError for an unknown scheme.
    """
    return not url.startswith("${") and source_kind(url).recorded


def open_source(url: str, options: SourceOptions | None = None) -> FrameSource:
    """Opens a source; close it after use (it is a context manager).

    `${NAME}` references are resolved here; messages show the URL without secrets. Raises SettingsError for a
    reference to a missing variable, SourceError for what can never work as given, SourceLostError for what
    may work later (SourceRefusedError: with another password).
    """
    shown_as, resolved = redact_url(url), resolve_references(url)
    kind, said = _find_kind(resolved, shown_as), replace(options or SourceOptions(), shown_as=shown_as)
    if kind.recorded and said.loop:
        return LoopedRecording(lambda: kind.open(resolved, said), said)
    return kind.open(resolved, said)


def _find_kind(url: str, shown_as: str) -> SourceKind:
    match = _SCHEME.match(url)
    if match is None:
        return _KIND_BY_SCHEME["usb" if _DEVICE.fullmatch(url) else "file"]
    kind = _KIND_BY_SCHEME.get(match[1].lower())
    if kind is None:
        known = ", ".join(f"{scheme}://" for scheme in sorted(_KIND_BY_SCHEME))
        raise SourceError(f"expected a file or one of {known}, got {shown_as}")
    if not kind.recorded and not has_sound_address(url):
        raise SourceError(f"expected {kind.example}, got {shown_as}")
    return kind
