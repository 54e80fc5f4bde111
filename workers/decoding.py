"""JPEG bytes of the queue -> pictures, in threads: libjpeg-turbo works without Python's lock."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import CorruptFrameError
from core.types import QueuedFrame
from models.preprocessing import Picture

END_OF_IMAGE = b"\xff\xd9"
"""Last bytes of every whole JPEG (ITU-T T.81, B.1.1.3); some OpenCV versions fill up a cut one with grey."""
SIDE_TOLERANCE_PX = 2
"""`scale` comes from the longer side, so the shorter may be off by its rounding."""

_AS_IT_IS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), BGR."""

logger = logging.getLogger(__name__)

DecodeFrames: TypeAlias = Callable[[Sequence[QueuedFrame]], Sequence[Picture | None]]
"""Pictures (H, W, 3) BGR, on host or device, in the order of the frames; None where a frame is corrupt."""


def decode_frame(frame: QueuedFrame) -> Image:
    """The picture of one frame, (H, W, 3) uint8 BGR.

    Raises CorruptFrameError for bytes that are no whole JPEG, or not of the size that the frame claims: its
    boxes would be mapped to wrong places.
    """
    require_end(frame)
    try:
        image = cv2.imdecode(
            np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise CorruptFrameError(f"{_name(frame)}: {error.err or 'not a JPEG'}") from error
    if image is None:
        raise CorruptFrameError(f"{_name(frame)}: expected a JPEG, got something else")
    require_size(frame, image.shape[1], image.shape[0])
    return np.asarray(image, np.uint8)


def require_end(frame: QueuedFrame) -> None:
    """Raises CorruptFrameError for bytes that do not end as a JPEG does."""
    if not frame.jpeg.endswith(END_OF_IMAGE):
        raise CorruptFrameError(f"{_name(frame)}: expected a whole JPEG, got one cut off")


def require_size(frame: QueuedFrame, width: int, height: int) -> None:
    """Raises CorruptFrameError for a picture that is not of the size, in pixels, that its frame claims."""
    expected = [side * frame.scale for side in frame.source_size]
    if abs(width - expected[0]) > SIDE_TOLERANCE_PX or abs(height - expected[1]) > SIDE_TOLERANCE_PX:
        raise CorruptFrameError(
            f"{_name(frame)}: expected {expected[0]:.0f}x{expected[1]:.0f} pixels, got {width}x{height}"
        )


def _name(frame: QueuedFrame) -> str:
    return f"frame {frame.index} of {frame.camera}"


def decode_or_none(frame: QueuedFrame) -> Image | None:
    """The picture of one frame; None, with a line in the log, where it is corrupt."""
    try:
        return decode_frame(frame)
    except CorruptFrameError as error:
        logger.warning("dropped as corrupt: %s", error)
        return None


class JpegDecoder:
    """Decodes the frames of a batch side by side."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def __call__(self, frames: Sequence[QueuedFrame]) -> list[Image | None]:
        """Pictures in the order of the frames; None, with a line in the log, where a frame is corrupt."""
        if len(frames) == 1:  # the way through the pool costs more than it brings
            return [decode_or_none(frames[0])]
        return list(self._pool.map(decode_or_none, frames))

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)
