"""USB cameras: only their error paths, as test machines have no video device (nor v4l2loopback)."""

import pytest

from core.errors import SourceError, SourceLostError
from ingest.sources import open_source


@pytest.mark.parametrize("url", ["usb://", "usb://front", "usb://-1", "usb://0/1"])
def test_a_bad_number_says_what_is_expected(url: str) -> None:
    with pytest.raises(SourceError, match=f"expected usb://NUMBER or /dev/videoNUMBER, got {url}"):
        open_source(url)


@pytest.mark.parametrize("url", ["usb://99", "/dev/video99"])
def test_a_camera_that_is_not_plugged_in_may_come_later(url: str) -> None:
    with pytest.raises(SourceLostError, match="/dev/video99: no such camera is plugged in"):
        open_source(url)
