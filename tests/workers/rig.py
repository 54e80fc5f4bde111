"""Frames, queues and worker settings for the tests of workers."""

from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sqlalchemy import text

from core.frame_queue import CameraQueue, FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.types import Policy, QueuedFrame
from storage.database import Database
from workers.bell import ring

NAMESPACE = "framewatch"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOURCE_SIZE = (320, 240)
SCALE = 0.5


@cache
def picture(seed: int) -> bytes:
    """JPEG of 160x120 pixels with a few coloured rectangles, the same for the same seed."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 160, 3), rng.integers(0, 255, 3), np.uint8)
    for _ in range(6):
        x, y = (int(value) for value in rng.integers(0, 110, 2))
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        cv2.rectangle(image, (x, y), (x + 40, y + 30), colour, thickness=-1)
    return bytes(cv2.imencode(".jpg", image)[1])


def make_frame(index: int, camera: str = "gate", jpeg: bytes | None = None) -> QueuedFrame:
    """Frame `index` of a recording with ten frames per second; the source is twice as large."""
    captured_at = START + index * timedelta(milliseconds=100)
    content = picture(index % 16) if jpeg is None else jpeg
    return QueuedFrame(camera, index, captured_at, content, SOURCE_SIZE, SCALE, recorded=True)


def make_queue(redis_url: str, **limits: Any) -> FrameQueue:
    """A frame queue that rings Celery's bells."""
    bell = partial(ring, redis_url=redis_url, namespace=NAMESPACE)
    return FrameQueue(make_redis(redis_url), QueueLimits(**limits), NAMESPACE, bell)


def waiting_camera(model: str | Path) -> CameraQueue:
    """A recording's way to use the queue: nothing is dropped."""
    return CameraQueue(str(model), Policy.WAIT)


def publish(queue: FrameQueue, model: str | Path, count: int, camera: str = "gate", first: int = 0) -> None:
    """Publishes `count` frames, waiting for room where there is none."""
    for index in range(first, first + count):
        queue.publish(make_frame(index, camera), waiting_camera(model))


def select(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def stored_indices(database: Database, camera: str = "gate") -> list[int]:
    """Indices of the camera's stored frames, in order; one that is stored twice appears twice."""
    statement = (
        "SELECT frame_index FROM frames JOIN cameras ON cameras.id = camera_id"
        f" WHERE cameras.name = '{camera}' ORDER BY frame_index"
    )
    return [index for (index,) in select(database, statement)]
