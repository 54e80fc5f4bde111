"""A fleet of ingest processes in a test's hands: Redis, a database, and cameras by name."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from core.camera_state import CameraActivity, CameraState, CameraStates
from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis
from core.settings import PREFIX
from core.types import Camera
from storage.cameras import add_camera
from storage.database import open_database
from tests.clips import read_number
from tests.ingest_process import IngestProcess
from tests.waiting import wait_until
from tests.worker_process import worker_environment

NAMESPACE = "fleet"
MODEL = "nobody-detects"
START_TIMEOUT_S = 60.0
"""Services and camera processes load libraries for a second each, on a machine that may be busy."""


@dataclass(frozen=True)
class Numbered:
    """A published frame of a clip of `tests.clips.write_clip`."""

    number: int
    """Of the clip's picture."""
    captured_at: float
    """Seconds since 1970."""


class Fleet:
    """Nobody takes the frames from the queue, so that every published one can be looked at."""

    def __init__(self, folder: Path, redis_url: str, *, model: str = MODEL, **settings: object) -> None:
        self.folder, self.model = folder, model
        self.client = make_redis(redis_url)
        self.queue = FrameQueue(self.client, QueueLimits(), NAMESPACE, lambda _: None)
        self.states = CameraStates(self.client, NAMESPACE)
        url = f"sqlite:///{folder / 'fleet.db'}"
        self.environment = worker_environment(
            redis_url=redis_url,
            database_url=url,
            namespace=NAMESPACE,
            model=model,
            camera_max_frames=100_000,
            **settings,
        )
        self.database = open_database(url)
        self.database.upgrade()

    def close(self) -> None:
        self.database.close()
        self.client.close()

    def add(self, *cameras: Camera) -> None:
        for camera in cameras:
            add_camera(self.database, camera)

    @property
    def settings(self) -> dict[str, str]:
        """The variables that hold framewatch's settings."""
        return {name: value for name, value in self.environment.items() if name.startswith(PREFIX)}

    def ingest(self, name: str, **variables: str) -> IngestProcess:
        return IngestProcess(self.environment | variables, self.folder / f"{name}.log")

    def worker(self, name: str) -> IngestProcess:
        return IngestProcess(self.environment, self.folder / f"{name}.log", service="worker")

    def state(self, camera: str) -> CameraState | None:
        return next((state for state in self.states.load() if state.camera == camera), None)

    def readers(self) -> Mapping[str, str]:
        """Live cameras, each with the ingest process that reads it."""
        return {
            state.camera: state.ingest or ""
            for state in self.states.load()
            if state.activity is CameraActivity.LIVE and not state.is_silent(self.queue.server_time())
        }

    def live_at(self, pid: int, since: datetime) -> int:
        """How many cameras are live at an ingest process, and became so after a moment."""
        live = [state for state in self.states.load() if state.activity is CameraActivity.LIVE]
        return sum(f"-{pid}-" in (state.ingest or "") and state.since > since for state in live)

    def shares(self) -> list[int]:
        """How many live cameras each ingest process reads, fewest first."""
        readers = list(self.readers().values())
        return sorted(readers.count(name) for name in set(readers))

    def wait_for_shares(self, *shares: int) -> None:
        wait_until(lambda: self.shares() == list(shares), START_TIMEOUT_S, f"live cameras {shares}", 0.1)

    def captured(self, camera: str) -> int:
        return self.queue.ledger(camera).captured

    def seconds_until_all_publish(self, cameras: list[str], timeout_s: float) -> dict[str, float]:
        """Seconds from now until each camera's next new frame."""
        started = time.monotonic()
        before = {camera: self.captured(camera) for camera in cameras}
        found: dict[str, float] = {}

        def all_found() -> bool:
            for camera in cameras:
                if camera not in found and self.captured(camera) > before[camera]:
                    found[camera] = time.monotonic() - started
            return len(found) == len(cameras)

        wait_until(all_found, timeout_s, f"frames of all of {cameras}; so far {found}")
        return found

    def published(self, camera: str) -> list[int]:
        """captured_at in microseconds of every frame on the queue, in the order of publishing."""
        entries = self.client.xrange(f"{{{NAMESPACE}}}:frames:{camera}:{self.model}")
        return [int(fields[b"header"].split(b" ")[2]) for _, fields in entries]

    def published_numbers(self, camera: str, source_width_px: int = 320) -> list[Numbered]:
        """Which picture of its clip every frame on the queue shows, in the order of publishing."""
        entries = self.client.xrange(f"{{{NAMESPACE}}}:frames:{camera}:{self.model}")
        found = []
        for _, fields in entries:
            picture = cv2.imdecode(np.frombuffer(fields[b"jpeg"], np.uint8), cv2.IMREAD_COLOR)
            moment_us = int(fields[b"header"].split(b" ")[2])
            found.append(
                Numbered(read_number(np.asarray(picture, np.uint8), source_width_px), moment_us / 1e6)
            )
        return found

    def assert_nothing_was_published_twice(self, cameras: list[str]) -> None:
        for camera in cameras:
            times = self.published(camera)
            assert times, f"no frame of {camera} at all"
            assert len(times) == len(set(times)), f"{camera}: a captured_at twice"
            ledger = self.queue.ledger(camera)
            assert (ledger.balance, ledger.captured) == (0, len(times) + ledger.dropped_total)
