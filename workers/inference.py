"""One batch through the detector, and the blame when that fails: the batch's size, a frame, or the device."""

import logging
from collections.abc import Sequence

import numpy as np

from core.errors import DeviceLostError, InferenceError
from core.types import Detections
from models.detector import Detector
from models.preprocessing import Picture
from workers.watchdog import Watchdog

logger = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's and the host's "out of memory", also where it is the cause of another error."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError) or type(link).__name__ == "OutOfMemoryError":
            return True
        link = link.__cause__ or link.__context__
    return False


class Inference:
    """Runs batches of one detector, for a caller that has the device to itself."""

    def __init__(self, detector: Detector, watchdog: Watchdog, batch_size: int) -> None:
        self.detector = detector
        self._watchdog = watchdog
        self._most_frames = batch_size
        self.has_worked = False
        """Whether the device ever worked in this process: then a frame may be what broke it."""

    def warm_up(self) -> None:
        """Runs the detector on blank pictures of the largest batch."""
        self.detector.warm_up(self._most_frames)
        self.has_worked = True

    @property
    def most_frames(self) -> int:
        """Batch size that the device has memory for, as far as known."""
        return self._most_frames

    def run(self, images: Sequence[Picture]) -> list[Detections | InferenceError]:
        """Detections of each picture in its own pixels, or why this picture fails on a sound device.

        A batch that fails is halved until the failing pictures stand alone. Raises DeviceLostError when the
        device fails on a blank picture as well: it was broken before, or one of the pictures broke it.
        """
        outcomes = self._halve_until_it_works(images)
        if any(isinstance(outcome, InferenceError) for outcome in outcomes):
            self._prove_device(images[0])
        return outcomes

    def _halve_until_it_works(self, images: Sequence[Picture]) -> list[Detections | InferenceError]:
        failure = None
        try:
            return [*self._predict(images)]
        except Exception as error:  # noqa: BLE001  whatever a driver raises, frame by frame tells what failed
            failure = InferenceError(f"{type(error).__name__}: {error}")
            out_of_memory = is_out_of_memory(error)
        # Outside of the except clause: a kept traceback would keep the failed batch's tensors alive.
        if len(images) == 1:
            return [failure]
        half = len(images) // 2
        if out_of_memory:
            self._most_frames = max(1, min(self._most_frames, half))
            logger.warning("the device has no memory for %d frames; going on with %d", len(images), half)
        else:
            logger.warning("a batch of %d frames failed, looking for the frame: %s", len(images), failure)
        return self._halve_until_it_works(images[:half]) + self._halve_until_it_works(images[half:])

    def _predict(self, images: Sequence[Picture]) -> list[Detections]:
        with self._watchdog.watch(f"a batch of {len(images)} frames"):
            found = self.detector.predict(images)
        self.has_worked = True
        return found

    def _prove_device(self, like: Picture) -> None:
        try:
            self._predict([np.zeros(like.shape, np.uint8)])
        except Exception as error:
            raise DeviceLostError(f"the device fails on a blank picture: {error!r}") from error
