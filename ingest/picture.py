"""Pictures on their way to the queue: their size, masks, and JPEG encoding."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from core.evidence_policy import EvidenceRule
from core.types import Frame, QueuedFrame, Size


def fit_size(source_size: Size, max_side: int | None) -> Size:
    """Width and height of the picture that is shrunk so that its longer side is at most `max_side` pixels.

    Never enlarges; None keeps the size.
    """
    longer = max(source_size)
    if max_side is None or longer <= max_side:
        return source_size
    width, height = (max(1, round(side * max_side / longer)) for side in source_size)
    return width, height


def shrink(image: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """A copy (H, W, 3) that fits `max_side`, by averaging areas; the image itself when it fits already."""
    size = (image.shape[1], image.shape[0])
    fitted = fit_size(size, max_side)
    if fitted == size:
        return image
    return np.asarray(cv2.resize(image, fitted, interpolation=cv2.INTER_AREA), np.uint8)


class Mask:
    """Paints what detection shall leave out black, so that it is never even sent.

    Polygons are relative (x, y) in [0, 1]. What lies in a polygon of `left_out` goes, and where there are
    `areas`, so does what lies in none of them.
    """

    def __init__(
        self,
        left_out: Sequence[Sequence[tuple[float, float]]],
        areas: Sequence[Sequence[tuple[float, float]]] = (),
    ) -> None:
        self._left_out = [np.asarray(polygon, np.float64) for polygon in left_out]  # (P, 2) each
        self._areas = [np.asarray(polygon, np.float64) for polygon in areas]
        self._hidden: NDArray[np.uint8] | None = None
        self._black = np.zeros((0, 0, 3), np.uint8)

    def paint(self, image: NDArray[np.uint8]) -> None:
        """Blackens the image (H, W, 3), in place."""
        if not self._left_out and not self._areas:
            return
        if self._hidden is None or self._hidden.shape != image.shape[:2]:
            self._hidden, self._black = self._draw(image.shape[0], image.shape[1]), np.zeros_like(image)
        cv2.copyTo(self._black, self._hidden, image)

    def _draw(self, height: int, width: int) -> NDArray[np.uint8]:
        """(H, W): 255 where nothing shall be seen."""
        size = np.array((width, height))
        hidden = np.full((height, width), 255 if self._areas else 0, np.uint8)
        for polygons, value in ((self._areas, 0), (self._left_out, 255)):
            for polygon in polygons:  # one at a time: together, what lies in two of them would lie outside
                cv2.fillPoly(hidden, [np.rint(polygon * size).astype(np.int32)], value)
        return hidden


def encode_frame(
    frame: Frame,
    jpeg_quality: int,
    *,
    recorded: bool,
    classes: tuple[str, ...] = (),
    min_score: float | None = None,
    evidence: tuple[EvidenceRule, ...] = (),
) -> QueuedFrame:
    """The frame as a JPEG for the queue; costs 0.6 ms for 640x480."""
    encoded, jpeg = cv2.imencode(".jpg", frame.image, (cv2.IMWRITE_JPEG_QUALITY, jpeg_quality))
    if not encoded:
        raise ValueError(f"camera {frame.camera}: OpenCV could not encode a {frame.image.shape} picture")
    height, width = frame.image.shape[:2]
    return QueuedFrame(
        camera=frame.camera,
        index=frame.index,
        captured_at=frame.captured_at,
        jpeg=jpeg.tobytes(),
        source_size=frame.source_size,
        # The longer side is the one that `fit_size` hits exactly; the other is rounded to whole pixels.
        scale=max(width, height) / max(frame.source_size),
        recorded=recorded,
        classes=classes,
        min_score=min_score,
        evidence=evidence,
    )
