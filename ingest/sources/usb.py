"""USB cameras (Video4Linux 2), with OpenCV."""

import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from core.errors import SourceError, SourceLostError
from core.types import from_microseconds
from ingest.picture import shrink
from ingest.sources.source import FrameSource, Picture, SourceFormat, SourceFrame, SourceOptions
from ingest.timestamps import LiveTimeline

_URL = re.compile(r"(?:usb://|/dev/video)(\d{1,3})", re.IGNORECASE)


class UsbCamera(FrameSource):
    """A local camera; each frame was captured when it arrived."""

    recorded = False

    def __init__(self, url: str, options: SourceOptions) -> None:
        match = _URL.fullmatch(url)
        if match is None:
            raise SourceError(f"expected usb://NUMBER or /dev/videoNUMBER, got {options.shown_as}")
        self._device = Path(f"/dev/video{int(match[1])}")
        self._options = options
        if not self._device.exists():
            raise SourceLostError(f"{self._device}: no such camera is plugged in")
        # OpenCV's only way to say how long it waits for a frame, 10 s otherwise; read as a capture is made.
        os.putenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(options.stall_timeout_s)))
        self._capture = cv2.VideoCapture(str(self._device), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceLostError(f"{self._device}: cannot open the camera; is another program using it?")

    @property
    def format(self) -> SourceFormat:
        width, height, fps = (
            self._capture.get(what)
            for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        )
        return SourceFormat("v4l2", (int(width), int(height)), fps or None)

    def __iter__(self) -> Iterator[SourceFrame]:
        timeline = LiveTimeline()
        while True:
            asked_at = time.monotonic()
            if not self._capture.grab():  # waits for as long as was put above
                waited_s = time.monotonic() - asked_at
                raise SourceLostError(f"{self._device}: no frame after {waited_s:.1f} s")
            moment_us = timeline.capture_time_us(None, self._options.clock.now_us())
            # Conversion must happen before the next grab; only a frame that sampling takes is asked for it.
            yield SourceFrame(from_microseconds(moment_us), self._retrieve)

    def _retrieve(self) -> Picture:
        retrieved, image = self._capture.retrieve()
        if not retrieved:
            raise SourceLostError(f"{self._device}: the camera was unplugged")
        size = (image.shape[1], image.shape[0])
        return Picture(shrink(np.asarray(image, np.uint8), self._options.max_side), size)

    def close(self) -> None:
        self._capture.release()
