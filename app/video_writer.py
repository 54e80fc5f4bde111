"""Writes pictures as an H.264 video that browsers and phones play."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from core.errors import SettingsError

_TIME_BASE = Fraction(1, 90_000)
"""MPEG's clock: whole ticks at 24, 25, 30, 50 and 60 frames/s (ISO/IEC 13818-1, 2.4.2)."""
_ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""The first one that this build of FFmpeg has; the last plays in fewer places."""
_OPTIONS = {"libx264": {"crf": "23", "preset": "veryfast"}}


class VideoWriter:
    """An MP4 file that takes its name when it is closed whole; pictures keep their times."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._fps = Fraction(fps).limit_denominator(1001)
        try:
            self._container: OutputContainer = av.open(str(self._partial), "w", format="mp4")
        except OSError as error:
            raise SettingsError(
                f"-o {path}: expected a file that can be written, got {error.strerror}"
            ) from None
        self._stream: VideoStream | None = None
        self._last_pts = -1

    def write(self, image: NDArray[np.uint8], at_s: float) -> None:
        """Appends a picture (H, W, 3) BGR that shows from `at_s` seconds after the start on."""
        if self._stream is None:
            self._stream = self._open_stream(image)
        size = (self._stream.codec_context.width, self._stream.codec_context.height)
        if (image.shape[1], image.shape[0]) != size:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        self._last_pts = frame.pts = max(self._last_pts + 1, round(at_s / _TIME_BASE))
        frame.time_base = _TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def _open_stream(self, image: NDArray[np.uint8]) -> VideoStream:
        encoder = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = self._container.add_stream(encoder, self._fps, options=_OPTIONS.get(encoder))
        assert isinstance(stream, VideoStream)
        # Chroma of yuv420p has half the resolution, so both sides must be even.
        stream.width, stream.height = image.shape[1] // 2 * 2, image.shape[0] // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        return stream

    def close(self, *, whole: bool = True) -> None:
        """Ends the file; one that is not whole is removed."""
        if whole and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if whole and self._stream is not None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)
