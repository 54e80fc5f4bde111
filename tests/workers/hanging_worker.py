"""`celery -A tests.workers.hanging_worker worker`: real but for a detector that never comes back."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.settings import Settings, load_settings
from core.types import Detections
from models.detector import Detector
from tests.fakes import TINY_CATEGORIES
from workers.app import create_app
from workers.identity import WorkerIdentity
from workers.service import WorkerService, make_parts


class HangingDetector:
    """A driver that waits for a device that is gone."""

    name = "hanging"
    categories = TINY_CATEGORIES
    sha256 = "0" * 64
    score_threshold = 0.5

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        threading.Event().wait()
        raise AssertionError("unreachable")

    def warm_up(self, batch_size: int) -> None:
        """Works, as it did before the device went."""


def load(model: str) -> Detector:
    return HangingDetector()


def make_service(settings: Settings, identity: WorkerIdentity) -> WorkerService:
    return WorkerService(settings, identity, replace(make_parts(settings), load=load))


app = create_app(load_settings(), make_service)
