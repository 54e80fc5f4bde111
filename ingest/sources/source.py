"""What every kind of source has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import CorruptFrameError
from core.types import Size, Transport
from ingest.sources.keyframes import KeyframeChoice
from ingest.timestamps import ClockReport, SteadyClock


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to open a source."""

    open_timeout_s: float = 10.0
    """How long each of connecting and finding the picture format may take."""
    stall_timeout_s: float = 5.0
    """Silence after which a live source counts as lost."""
    max_side: int | None = None
    """Longer side of the pictures in pixels; None keeps the source's size."""
    fps: float | None = None
    """How many pictures per second the reader wants; None: every one."""
    keyframes_only: bool | None = None
    """Decode keyframes alone; None: when they come at least as often as `fps` asks for."""
    transport: Transport = Transport.TCP
    """Of RTSP."""
    hwaccel: str | None = None
    """Decode on the graphics card, by FFmpeg's name of the way; None: on the CPU."""
    loop: bool = False
    """Play a recording again and again, as a live camera."""
    shown_as: str = "source"
    """What messages call it: the URL without its secrets."""
    clock: SteadyClock = field(default_factory=SteadyClock)
    """Shared by all openings of a camera, so that its times never go back."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture."""

    image: NDArray[np.uint8]
    """(H, W, 3) BGR, shrunk to the options' `max_side`."""
    source_size: Size
    """Width and height before shrinking."""


class SourceFrame:
    """One captured frame; what it costs to make its picture is paid when `image` is first asked for."""

    def __init__(self, captured_at: datetime, make_picture: Callable[[], Picture]) -> None:
        self.captured_at = captured_at
        self.is_left_out = False
        """Whether its source left it out undecoded, as more come than are wanted: it has no picture."""
        self.is_damaged = False
        """Whether it came as something that no decoder takes: it has no picture."""
        self._make_picture = make_picture

    @classmethod
    def left_out(cls, captured_at: datetime) -> "SourceFrame":
        """A frame that came and was not decoded."""
        frame = cls(captured_at, _not_decoded)
        frame.is_left_out = True
        return frame

    @classmethod
    def damaged(cls, captured_at: datetime) -> "SourceFrame":
        """A frame that came and could not be decoded."""
        frame = cls(captured_at, _undecodable)
        frame.is_damaged = True
        return frame

    @cached_property
    def _picture(self) -> Picture:
        return self._make_picture()

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) BGR, shrunk to `max_side`. Raises CorruptFrameError."""
        return self._picture.image

    @property
    def source_size(self) -> Size:
        """Width and height of the source's picture in pixels. Raises CorruptFrameError."""
        return self._picture.source_size


def _not_decoded() -> NoReturn:
    raise CorruptFrameError("expected a decoded frame, got one that was left out")


def _undecodable() -> NoReturn:
    raise CorruptFrameError("expected a decodable video packet, got a damaged one")


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """What a source says about itself; None where it does not say."""

    codec: str
    size: Size | None = None
    fps: float | None = None
    frames: int | None = None
    """About how many a recording has, as its container says: good for a progress bar."""

    def __str__(self) -> str:
        size = f" {self.size[0]}x{self.size[1]}" if self.size else ""
        return f"{self.codec}{size}" + (f" {self.fps:g} fps" if self.fps else "")


class FrameSource(ABC):
    """An opened source: iterate it once, then close it.

    Iterating a live source ends only by SourceLostError; a recorded one ends after its last frame, or with
    SourceError when the rest of it cannot be read.
    """

    recorded: bool
    """Whether it keeps its own timeline and can wait for its reader."""
    stall_timeout_s = 0.0
    """Silence after which it counts as lost; 0: what its options say."""

    @property
    @abstractmethod
    def format(self) -> SourceFormat:
        """Codec, size and frame rate."""

    @property
    def clock(self) -> ClockReport:
        """What its times tell about its clock so far."""
        return ClockReport()

    @property
    def keyframes(self) -> KeyframeChoice | None:
        """What is known of its keyframes so far; None where every picture stands for itself."""
        return None

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """The frames in the order of their strictly increasing times."""

    @abstractmethod
    def close(self) -> None:
        """Gives back connections, files and devices; closing twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
