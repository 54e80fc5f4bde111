"""USB cameras: only their error paths, as test machines have no video device (nor v4l2loopback)."""

import ctypes
from pathlib import Path

import cv2
import pytest

from core.errors import SourceError, SourceLostError
from ingest.sources import open_source
from ingest.sources.source import SourceOptions


@pytest.mark.parametrize("url", ["usb://", "usb://front", "usb://-1", "usb://0/1"])
def test_a_bad_number_says_what_is_expected(url: str) -> None:
    with pytest.raises(SourceError, match=f"expected usb://NUMBER or /dev/videoNUMBER, got {url}"):
        open_source(url)


@pytest.mark.parametrize("url", ["usb://99", "/dev/video99"])
def test_a_camera_that_is_not_plugged_in_may_come_later(url: str) -> None:
    with pytest.raises(SourceLostError, match="/dev/video99: no such camera is plugged in"):
        open_source(url)


class BusyDevice:
    """Notes what OpenCV's C++ would read as it opens a device, and opens none."""

    waits_s: bytes | None = None

    def __init__(self, device: str, kind: int) -> None:
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_char_p
        BusyDevice.waits_s = getenv(b"OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT")

    def isOpened(self) -> bool:  # noqa: N802
        return False

    def release(self) -> None:
        pass


def test_opencv_is_told_how_long_to_wait_for_a_frame(monkeypatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(cv2, "VideoCapture", BusyDevice)
    with pytest.raises(SourceLostError, match="is another program using it"):
        open_source("usb://0", SourceOptions(stall_timeout_s=4.2))
    assert BusyDevice.waits_s == b"5"
