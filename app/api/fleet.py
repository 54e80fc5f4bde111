"""What goes on right now, as Redis tells it: cameras, queue, workers, and where every frame went."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter

from app.api.problems import describe_problems
from app.api.services import services_of
from app.status import look

router = APIRouter(tags=["fleet"], responses=describe_problems(503))


@dataclass(frozen=True, slots=True)
class CameraNow:
    """What one camera is doing."""

    name: str
    state: str
    """Such as "live", "backing off", "disabled", or "not read"."""
    fps: float
    queued_fps: float
    last_frame_age_s: float | None
    reconnects: int
    corrupt: int
    """Frames that could not be decoded."""
    error: str | None
    ingest: str | None


@dataclass(frozen=True, slots=True)
class QueueNow:
    """Frames of one camera that wait for, or are in the hands of, workers."""

    camera: str
    model: str
    frames: int
    waiting: int
    bytes: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class WorkerNow:
    """One worker process."""

    worker: str
    host: str
    pid: int
    models: list[str]
    device: str
    slots: int
    batch_size: int
    frames_done: int
    started_at: datetime
    last_seen: datetime | None
    last_seen_age_s: float | None


@dataclass(frozen=True, slots=True)
class CameraLedger:
    """Where the frames of one camera went: captured = stored + dropped, by reason + in flight + balance."""

    camera: str
    captured: int
    stored: int
    sampled_out: int
    no_motion: int
    queue_full: int
    stale: int
    corrupt: int
    failed: int
    in_flight: int
    balance: int
    """Frames that nothing accounts for: 0."""


@dataclass(frozen=True, slots=True)
class DeadNow:
    """Frames that failed their workers too often."""

    model: str
    frames: int


@dataclass(frozen=True, slots=True)
class FleetNow:
    """One look at everything, as `framewatch status --json` has it."""

    at: datetime
    """By Redis' clock."""
    cameras: list[CameraNow]
    queue: list[QueueNow]
    workers: list[WorkerNow]
    ledger: list[CameraLedger]
    dead_letters: list[DeadNow]


_FLEET = TypeAdapter(FleetNow)
_LEDGERS = TypeAdapter(list[CameraLedger])


@router.get("/status")
def status(request: Request) -> FleetNow:
    """Cameras, queue, workers, ledger and dead letters, now."""
    services = services_of(request)
    found: dict[str, Any] = look(
        services.settings, services.redis, services.queue, services.database
    ).as_json()
    return _FLEET.validate_python(found)


@router.get("/ledger")
def ledger(request: Request) -> list[CameraLedger]:
    """What became of every frame of every camera since it was first read."""
    return _LEDGERS.validate_python([one.as_json() for one in services_of(request).queue.ledgers()])
