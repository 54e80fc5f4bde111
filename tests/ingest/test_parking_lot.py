"""A day at a parking lot, cut short: the motion gate before the queue, on a real encoded clip.

Nothing but camera noise, a cloud now and then, and eight rare passages: people near and far, and cars.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.frame_queue import FrameQueue
from core.types import DropReason
from ingest.camera_defaults import camera_for
from ingest.reader import ReaderOptions, read_camera

FPS, SECONDS, SIZE = 5, 200, (480, 270)


@dataclass(frozen=True)
class Passage:
    """Something that crosses the picture from the left to the right."""

    name: str
    starts_s: float
    lasts_s: float
    size: tuple[int, int]
    """Width and height in pixels of 480x270."""
    top: int
    contrast: int
    """Grey levels darker (or lighter) than the asphalt."""

    def left_at(self, second: float) -> int | None:
        """Where its left edge is; None when it is not there."""
        share = (second - self.starts_s) / self.lasts_s
        return round(share * (SIZE[0] - self.size[0])) if 0 <= share < 1 else None


PASSAGES = (
    Passage("a person nearby", 15.3, 5.0, (20, 52), 188, 45),
    Passage("a car", 37.1, 2.0, (90, 45), 180, 60),
    Passage("a person far away, 60 pixels in 1080p", 60.7, 8.0, (6, 15), 90, 45),
    Passage("a bicycle in a hurry", 88.4, 1.2, (30, 34), 165, 50),
    Passage("a person in light clothes", 111.9, 4.0, (20, 52), 172, -45),
    Passage("a car far away", 133.3, 3.0, (22, 10), 82, 40),
    Passage("a person who hardly stands out", 156.2, 4.0, (18, 48), 188, 28),
    Passage("a person who runs", 181.0, 2.5, (20, 52), 188, 45),
)


@pytest.fixture(scope="module")
def parking_lot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lot") / "lot.mp4"
    random = np.random.default_rng(7)
    ground = _ground(random)
    noises = [random.normal(0, 5, (SIZE[1], SIZE[0])).astype(np.float32) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FPS * SECONDS):
            second = number / FPS
            grey = ground * _light(second)
            for passage in PASSAGES:
                _draw(grey, passage, second)
            grey += np.roll(noises[number % len(noises)], number * 37, axis=1)
            frame = av.VideoFrame.from_ndarray(np.clip(grey, 0, 255).astype(np.uint8), format="gray")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _ground(random: np.random.Generator) -> NDArray[np.float32]:
    """Asphalt with marks and parked cars, (270, 480)."""
    coarse = random.normal(110, 10, (SIZE[1] // 8, SIZE[0] // 8)).astype(np.float32)
    ground = np.asarray(cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC), np.float32)
    for left in range(30, 450, 68):
        cv2.line(ground, (left, 120), (left - 15, 165), 200, 2)
        cv2.rectangle(ground, (left + 8, 124), (left + 49, 154), float(random.uniform(30, 190)), -1)
    return ground


def _light(second: float) -> float:
    """A cloud takes a quarter of the light within ten seconds, and gives it back."""
    return 1 - 0.25 * float(np.clip(min(second - 90, 130 - second) / 10, 0, 1))


def _draw(grey: NDArray[np.float32], passage: Passage, second: float) -> None:
    left = passage.left_at(second)
    if left is not None:
        width, height = passage.size
        grey[passage.top : passage.top + height, left : left + width] -= passage.contrast


def test_the_gate_drops_four_of_five_frames_and_misses_no_passage(
    parking_lot: Path, make_queue: Callable[..., FrameQueue]
) -> None:
    queue = make_queue(camera_max_frames=10_000)
    camera = camera_for(str(parking_lot), "lot", motion=True)
    report = read_camera(camera, queue, ReaderOptions("tiny"), threading.Event())
    ledger = queue.ledger("lot")
    assert (report.captured, ledger.captured, ledger.balance) == (FPS * SECONDS, FPS * SECONDS, 0)
    dropped = ledger.dropped[DropReason.NO_MOTION] / ledger.captured
    frames = [one.frame for one in queue.claim("tiny", "test", 10_000, 0.0)]
    seconds = [frame.index / FPS for frame in frames]
    caught = {passage.name: _share_of_frames(passage, seconds) for passage in PASSAGES}
    print(f"dropped {dropped:.1%}; of each passage's frames passed: {caught}")
    assert dropped >= 0.80
    assert min(caught.values()) >= 0.8, "nearly every frame of every passage"
    gaps = [later.captured_at - earlier.captured_at for earlier, later in pairwise(frames)]
    assert max(gaps) <= timedelta(seconds=10.2), "still objects are seen as well"


def _share_of_frames(passage: Passage, passed_s: list[float]) -> float:
    there = [number / FPS for number in range(FPS * SECONDS) if passage.left_at(number / FPS) is not None]
    return sum(second in passed_s for second in there) / len(there)
