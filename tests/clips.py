"""Synthetic clips: every picture carries its own number, so that a test can tell which frames arrived."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

_BITS = 12
_CELL_PX = 16


def numbered_picture(number: int, size: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """(H, W, 3) BGR: a rectangle that moves with the number, and the number as 12 bright or dark cells."""
    width, height = size
    picture = np.full((height, width, 3), 90, np.uint8)
    left = (number * 7) % (width - 60)
    cv2.rectangle(picture, (left, height // 3), (left + 50, height // 3 + 80), (40, 160, 220), -1)
    for bit in range(_BITS):
        cell = slice(bit * _CELL_PX, (bit + 1) * _CELL_PX)
        picture[:_CELL_PX, cell] = 235 if number >> bit & 1 else 16
    return picture


def read_number(picture: NDArray[np.uint8], source_width_px: int) -> int:
    """The number that `numbered_picture` wrote, also from a smaller copy of the picture."""
    scale = picture.shape[1] / source_width_px
    row = int(_CELL_PX / 2 * scale)
    columns = [int((bit + 0.5) * _CELL_PX * scale) for bit in range(_BITS)]
    return sum((int(picture[row, column].mean()) > 128) << bit for bit, column in enumerate(columns))


def write_clip(
    path: Path,
    frames: int = 50,
    fps: Fraction | int = 25,
    size: tuple[int, int] = (320, 240),
    times_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    metadata: dict[str, str] | None = None,
    keyframe_every: int | None = None,
) -> Path:
    """A clip of numbered pictures; `times_ms` gives each frame its own time (variable frame rate)."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "18", "bf": "0"}
        if keyframe_every is not None:
            stream.codec_context.gop_size = keyframe_every
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, size), format="bgr24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_pictures(folder: Path, count: int = 5, size: tuple[int, int] = (320, 240)) -> Path:
    """A folder of numbered JPEG pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"picture-{number:04}.jpg"), numbered_picture(number, size))
    return folder
