"""Where annotated pictures go: one file, a folder, a video, or nowhere."""

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from app.video_writer import VideoWriter
from core.errors import SettingsError
from ingest.sources.images import SUFFIXES


class Sink(AbstractContextManager["Sink"], Protocol):
    """Takes annotated pictures in order."""

    def add(self, name: str, image: NDArray[np.uint8], at_s: float) -> None:
        """One picture (H, W, 3) BGR, its file name, and its time since the start in seconds."""


class NoSink(Sink):
    """Draws nothing anywhere."""

    def add(self, name: str, image: NDArray[np.uint8], at_s: float) -> None:
        del name, image, at_s

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class PictureSink(NoSink):
    """One picture file, or a folder that gets one per picture."""

    def __init__(self, path: Path, *, is_folder: bool) -> None:
        self._path, self._is_folder = path, is_folder
        if is_folder:
            path.mkdir(parents=True, exist_ok=True)
        elif path.suffix.lower() not in SUFFIXES:
            raise SettingsError(
                f"-o {path}: expected a name that ends in {', '.join(SUFFIXES)} for a picture"
            )
        elif not path.absolute().parent.is_dir():
            raise SettingsError(f"-o {path}: expected an existing folder, got {path.parent}; make it first")

    def add(self, name: str, image: NDArray[np.uint8], at_s: float) -> None:
        del at_s
        target = self._path / name if self._is_folder else self._path
        if not cv2.imwrite(str(target), image):
            raise SettingsError(f"-o {target}: expected a file that can be written")


class VideoSink(Sink):
    """One video file."""

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() != ".mp4":
            raise SettingsError(f"-o {path}: expected a name that ends in .mp4 for a video")
        self._writer = VideoWriter(path, fps)

    def add(self, name: str, image: NDArray[np.uint8], at_s: float) -> None:
        del name
        self._writer.write(image, at_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close(whole=error is None)
