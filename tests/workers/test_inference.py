"""The faults of a device cannot be caused on a sound one, so these detectors stand in for it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import DeviceLostError, InferenceError
from core.types import Detections
from models.detector import Detector
from tests.workers.rig import make_frame
from workers.decoding import decode_frame
from workers.inference import Inference
from workers.watchdog import Watchdog

Image = NDArray[np.uint8]


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


class FaultyDetector:
    """Answers as the real one unless `fault` raises for a batch; notes the batches' sizes."""

    def __init__(self, detector: Detector, fault: Callable[[Sequence[Image]], None]) -> None:
        self.name, self.categories, self.sha256 = detector.name, detector.categories, detector.sha256
        self.score_threshold = detector.score_threshold
        self.batches: list[int] = []
        self._detector = detector
        self._fault = fault

    def predict(self, images: Sequence[Image]) -> list[Detections]:
        self.batches.append(len(images))
        self._fault(images)
        return self._detector.predict(images)

    def warm_up(self, batch_size: int) -> None:
        self._detector.warm_up(batch_size)


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog(60.0)
    yield watchdog
    watchdog.close()


@pytest.fixture
def images() -> list[Image]:
    return [decode_frame(make_frame(index)) for index in range(8)]


def has_room_for(count: int) -> Callable[[Sequence[Image]], None]:
    def fault(images: Sequence[Image]) -> None:
        if len(images) > count:
            raise OutOfMemoryError("CUDA out of memory")

    return fault


def test_a_batch_that_is_too_large_for_the_device_is_halved_and_so_are_the_next_ones(
    tiny_detector: Detector, watchdog: Watchdog, images: list[Image]
) -> None:
    detector = FaultyDetector(tiny_detector, has_room_for(2))
    inference = Inference(detector, watchdog, batch_size=8)
    outcomes = inference.run(images)
    assert [len(one) for one in outcomes if isinstance(one, Detections)] == [
        len(one) for one in tiny_detector.predict(images)
    ]
    assert inference.most_frames == 2
    assert detector.batches == [8, 4, 2, 2, 4, 2, 2]


def test_out_of_memory_is_recognised_behind_the_error_that_it_caused(
    tiny_detector: Detector, watchdog: Watchdog, images: list[Image]
) -> None:
    def fault(images: Sequence[Image]) -> None:
        try:
            has_room_for(4)(images)
        except OutOfMemoryError as error:
            raise InferenceError("the batch failed") from error

    inference = Inference(FaultyDetector(tiny_detector, fault), watchdog, batch_size=8)
    inference.run(images)
    assert inference.most_frames == 4


def test_one_picture_that_fails_does_not_take_its_batch_with_it(
    tiny_detector: Detector, watchdog: Watchdog, images: list[Image]
) -> None:
    poison = images[5]

    def fault(batch: Sequence[Image]) -> None:
        if any(image is poison for image in batch):
            raise RuntimeError("illegal value in this picture")

    inference = Inference(FaultyDetector(tiny_detector, fault), watchdog, batch_size=8)
    outcomes = inference.run(images)
    assert [index for index, one in enumerate(outcomes) if isinstance(one, InferenceError)] == [5]
    assert str(outcomes[5]) == "RuntimeError: illegal value in this picture"
    assert inference.most_frames == 8


def test_a_device_that_fails_on_everything_is_lost_and_no_frame_is_to_blame(
    tiny_detector: Detector, watchdog: Watchdog, images: list[Image]
) -> None:
    def fault(batch: Sequence[Image]) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    inference = Inference(FaultyDetector(tiny_detector, fault), watchdog, batch_size=8)
    with pytest.raises(DeviceLostError, match="unspecified launch failure"):
        inference.run(images)
