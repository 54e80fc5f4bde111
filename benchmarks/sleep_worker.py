"""A real worker without a detector: `celery -A sleep_worker worker`, for benchmarks/frame_queue.py alone.

Celery, the frame queue and the pipeline are those of the product. The detector sleeps, JPEG decoding and
SQL are left out, and every acknowledged frame's age goes to the file that LATENCIES names.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.frame_queue import ClaimedFrame, FrameQueue
from core.queue_types import QueueLimits
from core.redis_client import make_redis
from core.settings import Settings, load_settings
from core.types import Detections, FrameResult, QueuedFrame, WeightsInfo
from workers.app import create_app
from workers.bell import ring
from workers.identity import WorkerIdentity
from workers.service import Parts, WorkerService

BLANK = np.zeros((8, 8, 3), np.uint8)


class SleepingDetector:
    """Takes 15 ms for a batch and 2 ms for each of its frames, as a GPU might, and finds nothing."""

    name = "sleep"
    categories = ("nothing",)
    sha256 = "0" * 64
    score_threshold = 0.5

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        time.sleep(0.015 + 0.002 * len(images))
        return [Detections.empty(self.categories) for _ in images]

    def warm_up(self, batch_size: int) -> None:
        self.predict([BLANK] * batch_size)


class TimedQueue(FrameQueue):
    """Writes down the age of each acknowledged frame in milliseconds, from just before its publish."""

    latencies = Path(os.environ["LATENCIES"]).open("a", buffering=1)  # noqa: SIM115  open while the worker runs

    def ack(self, model: str, claimed: Sequence[ClaimedFrame]) -> int:
        settled = super().ack(model, claimed)
        now = time.time()
        ages = (f"{(now - one.frame.captured_at.timestamp()) * 1000:.2f}" for one in claimed)
        self.latencies.write(" ".join(ages) + "\n")
        return settled


class NoWriter:
    """Takes results and keeps nothing."""

    def write(self, results: Sequence[FrameResult], weights: WeightsInfo) -> None:
        del results, weights

    def close(self) -> None:
        """Has nothing to close."""


def no_decoding(frames: Sequence[QueuedFrame]) -> list[NDArray[np.uint8] | None]:
    """The same black picture for every frame."""
    return [BLANK] * len(frames)


def make_service(settings: Settings, identity: WorkerIdentity) -> WorkerService:
    bell = partial(ring, redis_url=settings.redis_url, namespace=settings.namespace)
    limits = QueueLimits.from_settings(settings)
    queue = TimedQueue(make_redis(settings.redis_url), limits, settings.namespace, bell)
    return WorkerService(
        settings, identity, Parts(queue, lambda _: SleepingDetector(), no_decoding, NoWriter(), "none")
    )


app = create_app(load_settings(), make_service)
