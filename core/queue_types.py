"""What the frame queue is told and what it hands out: frozen dataclasses."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from core.settings import Settings
from core.types import Policy, QueuedFrame


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds and time-outs of one fleet's queue."""

    camera_max_frames: int = 128
    """Most frames of one camera and model on Redis, waiting or in a worker's hands."""
    camera_max_bytes: int = 64 * 1024 * 1024
    """The same in bytes of JPEG."""
    queue_max_bytes: int = 512 * 1024 * 1024
    """Most bytes of JPEG of all cameras together; dead letters have bounds of their own."""
    claim_timeout_s: float = 30.0
    """A frame held for longer without `FrameQueue.extend` is given to another worker."""
    max_deliveries: int = 3
    """Tries of one frame before it goes to the dead letters."""
    bell_timeout_s: float = 5.0
    """A bell unanswered or unrenewed for longer counts as lost, and is rung again."""
    worker_timeout_s: float = 15.0
    """A worker silent for longer no longer counts."""
    dead_max_frames: int = 1000
    """Most dead letters of one model; the oldest make room."""
    dead_max_bytes: int = 64 * 1024 * 1024
    """The same in bytes of JPEG."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "QueueLimits":
        """The limits that a person can set; the rest keep their defaults."""
        return cls(
            camera_max_frames=settings.camera_max_frames,
            camera_max_bytes=settings.camera_max_bytes,
            queue_max_bytes=settings.queue_max_bytes,
            claim_timeout_s=settings.claim_timeout_s,
            max_deliveries=settings.max_deliveries,
            bell_timeout_s=settings.bell_timeout_s,
        )


@dataclass(frozen=True, slots=True)
class CameraQueue:
    """How one camera uses the queue."""

    model: str
    policy: Policy = Policy.DROP_OLDEST
    max_age_s: float | None = None
    """Age at which a waiting frame is dropped; None: never. Policy WAIT drops nothing, whatever this says."""


@dataclass(frozen=True, slots=True)
class ClaimedFrame:
    """One frame in a worker's hands; times are the Redis server's clock."""

    frame: QueuedFrame
    entry_id: str
    enqueued_at: datetime
    claimed_at: datetime
    delivery: int
    """1 at the first try."""
    consumer: str
    """Who claimed it; a later holder's claim is not undone by an earlier one."""


@dataclass(frozen=True, slots=True)
class Bell:
    """The right to drain one model, until its lease runs out or it is left."""

    model: str
    consumer: str
    token: str


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """One camera's share of a model's queue at one moment."""

    camera: str
    model: str
    frames: int
    """On Redis: waiting and held."""
    waiting: int
    """Not in any worker's hands."""
    bytes: int
    oldest_age_s: float
    """Seconds since the oldest frame here was enqueued; 0 without frames."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A frame that failed or killed its workers `max_deliveries` times."""

    id: str
    model: str
    frame: QueuedFrame
    error: str
    deliveries: int
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """One worker process as it reports itself every few seconds."""

    worker: str
    """Unique name of the process, e.g. host-pid-start."""
    host: str
    pid: int
    models: tuple[str, ...]
    """Models that it drains; empty: any."""
    device: str
    slots: int
    """Drains that it can run at once."""
    batch_size: int
    started_at: datetime
    frames_done: int = 0
    last_seen: datetime | None = None
    """Set by the queue, on the Redis server's clock."""

    def to_json(self) -> str:
        """One JSON object without `last_seen`; its names are read by the queue's scripts too."""
        fields: dict[str, Any] = asdict(self)
        del fields["last_seen"]
        fields["started_at"] = self.started_at.isoformat()
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: bytes, last_seen: datetime) -> "WorkerBeat":
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["models"] = tuple(fields["models"])
        fields["started_at"] = datetime.fromisoformat(fields["started_at"])
        return cls(**fields, last_seen=last_seen)
