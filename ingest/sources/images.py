"""Folders of pictures, and single ones."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import CorruptFrameError, SourceError
from core.types import from_microseconds
from ingest.picture import shrink
from ingest.sources.source import FrameSource, Picture, SourceFormat, SourceFrame, SourceOptions

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_STEP_US = 1_000_000


class PictureFolder(FrameSource):
    """The pictures of a folder by name; what is not there when it is opened (a dangling link) is left out.

    Each is timed by its modification time when these increase from name to name; otherwise (copied folders)
    the pictures follow the oldest one second apart.
    """

    recorded = True

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._max_side = options.max_side
        try:
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise SourceError(f"{path}: expected a readable folder, got: {error.strerror}") from error
        self._files = _modification_times_us(found)
        if not self._files:
            raise SourceError(f"{path}: expected a folder of pictures ({' '.join(SUFFIXES)}), got none in it")

    @property
    def format(self) -> SourceFormat:
        return SourceFormat(f"{len(self._files)} pictures", frames=len(self._files))

    def __iter__(self) -> Iterator[SourceFrame]:
        moments_us = _capture_times_us(list(self._files.values()))
        for file, moment_us in zip(self._files, moments_us, strict=True):
            yield SourceFrame(from_microseconds(moment_us), partial(read_picture, file, self._max_side))

    def close(self) -> None:
        self._files = {}


class PictureFile(PictureFolder):
    """One picture, timed by its modification time."""

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._max_side = options.max_side
        self._files = _modification_times_us([path])
        if not self._files:
            raise SourceError(f"{path}: expected a picture, got none: it has just gone")
        try:
            self._size = read_picture(path, self._max_side).source_size
        except CorruptFrameError as error:
            raise SourceError(str(error)) from None

    @property
    def format(self) -> SourceFormat:
        return SourceFormat("picture", self._size, frames=1)


def read_picture(file: Path, max_side: int | None) -> Picture:
    """A picture file as BGR, upright by its EXIF orientation. Raises CorruptFrameError."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise CorruptFrameError(f"{file}: expected a readable picture, got: {error.strerror}") from error
    return decode_picture(data, max_side, str(file))


def decode_picture(data: NDArray[np.uint8], max_side: int | None, name: str) -> Picture:
    """An encoded picture (bytes as uint8) as BGR. Raises CorruptFrameError."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        image = None
    if image is None:
        raise CorruptFrameError(f"{name}: expected a picture, got {len(data)} bytes that are none")
    return Picture(shrink(np.asarray(image, np.uint8), max_side), (image.shape[1], image.shape[0]))


def _modification_times_us(files: Iterable[Path]) -> dict[Path, int]:
    """Of the files that are there, in their order."""
    times_us: dict[Path, int] = {}
    for file in files:
        with suppress(OSError):
            times_us[file] = file.stat().st_mtime_ns // 1000
    return times_us


def _capture_times_us(times_us: Sequence[int]) -> Sequence[int]:
    if all(earlier < later for earlier, later in pairwise(times_us)):
        return times_us
    return [min(times_us) + number * _STEP_US for number in range(len(times_us))]
