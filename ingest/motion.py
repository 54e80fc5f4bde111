"""A cheap gate that leaves out frames in which nothing moves."""

from datetime import datetime, timedelta

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE_PX = 160
_LEAST_LEVELS, _MOST_LEVELS = 12, 40
"""A pixel that differs by more grey levels moved: how many depends on the camera's noise."""
_NOISE = 9
"""Times the median difference: about six standard deviations of the camera's noise."""
_LEAST_SHARE = 0.0005
"""Share of the picture that must move: 8 of 160x90 pixels, a person of 60 pixels in 1080p."""
_FOLLOW = 0.05


class MotionGate:
    """Compares each frame with a slowly following background, on a small grey copy.

    A frame passes at least every `floor_s` seconds, so that still objects are seen as well. Changes of the
    light as a whole are levelled out.
    """

    def __init__(self, floor_s: float = 10.0) -> None:
        self._floor = timedelta(seconds=floor_s)
        self._background: NDArray[np.float32] | None = None
        self._passed_at: datetime | None = None

    def passes(self, image: NDArray[np.uint8], captured_at: datetime) -> bool:
        """Whether to analyse this image (H, W, 3) BGR."""
        moved = self._moved(image)
        due = self._passed_at is None or captured_at - self._passed_at >= self._floor
        if moved or due:
            self._passed_at = captured_at
        return moved or due

    def _moved(self, image: NDArray[np.uint8]) -> bool:
        height, width = image.shape[:2]
        scale = _SIDE_PX / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (3, 3), 0).astype(np.float32)
        if self._background is None or self._background.shape != grey.shape:
            self._background = grey
            return True
        difference = grey - self._background  # (h, w), at most 160x160
        difference -= np.median(difference)
        cv2.accumulateWeighted(grey, self._background, _FOLLOW)
        change = np.abs(difference)
        levels = min(max(_NOISE * float(np.median(change)), _LEAST_LEVELS), _MOST_LEVELS)
        return int(np.count_nonzero(change > levels)) >= _LEAST_SHARE * grey.size
