"""`celery -A tests.workers.faulty_worker worker`: real but for a detector that hangs or kills its process.

FAULT says what it does at the picture of POISON_INDEX; with every other picture it is the real one.
"""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.settings import Settings, load_settings
from core.types import Detections
from models.detector import Detector
from tests.workers.rig import make_frame
from workers.app import create_app
from workers.decoding import decode_frame
from workers.identity import WorkerIdentity
from workers.service import WorkerService, make_parts

POISON_INDEX = 5


class FaultyDetector:
    """A driver with a fault that one picture sets off."""

    def __init__(self, detector: Detector) -> None:
        self.name, self.categories, self.sha256 = detector.name, detector.categories, detector.sha256
        self.score_threshold = detector.score_threshold
        self._detector = detector
        self._poison = decode_frame(make_frame(POISON_INDEX))

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        if any(np.array_equal(image, self._poison) for image in images):
            if os.environ["FAULT"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        return self._detector.predict(images)

    def warm_up(self, batch_size: int) -> None:
        self._detector.warm_up(batch_size)


def make_service(settings: Settings, identity: WorkerIdentity) -> WorkerService:
    parts = make_parts(settings)

    def load(model: str) -> Detector:
        return FaultyDetector(parts.load(model))

    return WorkerService(settings, identity, replace(parts, load=load))


app = create_app(load_settings(), make_service)
