"""What goes on right now: cameras, queue, workers, and where every frame went."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import redis
from rich.console import Group, RenderableType
from rich.text import Text

from app.database_access import opened_database
from app.run_account import sum_ledgers
from app.tables import Column, build_table
from app.times import format_age
from core.camera_state import CameraState, CameraStates
from core.errors import UsageError
from core.frame_queue import FrameQueue
from core.queue_types import QueueDepth, WorkerBeat
from core.settings import Settings
from core.types import Camera, DropReason, Ledger
from storage.cameras import list_cameras
from storage.database import Database


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a fleet."""

    now: datetime
    """The Redis server's clock."""
    cameras: tuple[Camera, ...]
    """As they are configured; empty when the database does not answer."""
    states: tuple[CameraState, ...]
    depths: tuple[QueueDepth, ...]
    workers: tuple[WorkerBeat, ...]
    ledgers: tuple[Ledger, ...]
    dead: tuple[tuple[str, int], ...]
    """Dead letters per model; models without are left out."""
    problem: str | None = None
    """Why the database does not answer."""

    def as_json(self) -> dict[str, Any]:
        """One object for machines."""
        return {
            "at": self.now.isoformat(),
            "cameras": [self._camera_json(name) for name in self.camera_names()],
            "queue": [
                {
                    "camera": d.camera,
                    "model": d.model,
                    "frames": d.frames,
                    "waiting": d.waiting,
                    "bytes": d.bytes,
                    "oldest_age_s": round(d.oldest_age_s, 3),
                }
                for d in self.depths
            ],
            "workers": [_worker_json(beat, self.now) for beat in self.workers],
            "ledger": [ledger.as_json() for ledger in self.ledgers],
            "dead_letters": [{"model": model, "frames": count} for model, count in self.dead],
            "database_problem": self.problem,
        }

    def camera_names(self) -> list[str]:
        """Configured cameras, and others that are read just now."""
        return sorted({camera.name for camera in self.cameras} | {state.camera for state in self.states})

    def describe_state(self, name: str) -> str:
        """What a camera is doing, in a word or two."""
        state = next((state for state in self.states if state.camera == name), None)
        camera = next((camera for camera in self.cameras if camera.name == name), None)
        if camera is not None and not camera.enabled:
            return "disabled"
        if state is None:
            return "not read"
        return "not read" if state.is_silent(self.now) else state.activity.value.replace("_", " ")

    def state_of(self, name: str) -> CameraState | None:
        """The last state of a camera that ingest still reports."""
        found = next((state for state in self.states if state.camera == name), None)
        return None if found is None or found.is_silent(self.now) else found

    def frame_age_s(self, name: str) -> float | None:
        """Seconds since the last captured frame; None without one, and for recordings' own timelines."""
        state = self.state_of(name)
        return None if state is None else state.frame_age_s(self.now)

    def _camera_json(self, name: str) -> dict[str, Any]:
        state, age_s = self.state_of(name), self.frame_age_s(name)
        return {
            "name": name,
            "state": self.describe_state(name),
            "fps": state.fps_in if state else 0.0,
            "queued_fps": state.fps_out if state else 0.0,
            "last_frame_age_s": None if age_s is None else round(age_s, 3),
            "reconnects": state.reconnects if state else 0,
            "corrupt": state.corrupt if state else 0,
            "clock_ahead_s": state.clock_ahead_s if state else None,
            "drift_ppm": state.drift_ppm if state else None,
            "error": state.error if state else None,
            "ingest": state.ingest if state else None,
        }


def _worker_json(beat: WorkerBeat, now: datetime) -> dict[str, Any]:
    fields = asdict(beat)
    fields["started_at"] = beat.started_at.isoformat()
    fields["last_seen"] = beat.last_seen.isoformat() if beat.last_seen else None
    fields["last_seen_age_s"] = round((now - beat.last_seen).total_seconds(), 3) if beat.last_seen else None
    return fields


def read_status(settings: Settings, client: redis.Redis, queue: FrameQueue) -> Status:
    """One look, with the database opened for it. Raises QueueUnavailableError."""
    try:
        with opened_database(settings) as database:
            return look(settings, client, queue, database)
    except UsageError as error:
        return look(settings, client, queue, None, problem=str(error))


def look(
    settings: Settings,
    client: redis.Redis,
    queue: FrameQueue,
    database: Database | None,
    problem: str | None = None,
) -> Status:
    """One look. Raises QueueUnavailableError and DatabaseUnavailableError."""
    models = queue.models()
    dead = [(model, len(queue.dead_ids(model))) for model in models]
    return Status(
        now=queue.server_time(),
        cameras=tuple(list_cameras(database)) if database is not None else (),
        states=tuple(CameraStates(client, settings.namespace).load()),
        depths=tuple(depth for model in models for depth in queue.depth(model) if depth.frames),
        workers=tuple(queue.workers()),
        ledgers=tuple(queue.ledgers()),
        dead=tuple((model, count) for model, count in dead if count),
        problem=problem,
    )


def render_status(status: Status, *, width: int | None) -> RenderableType:
    """Everything as tables for people."""
    parts: list[RenderableType] = []
    if status.problem:
        parts.append(Text(f"warning: {status.problem}"))
    parts += [_cameras(status, width), Text()]
    parts += [_queue(status.depths, width), Text()] if status.depths else [Text("Queue: empty"), Text()]
    parts += (
        [_workers(status, width)]
        if status.workers
        else [Text("Workers: none; start one with `framewatch worker`")]
    )
    parts += [Text(), _ledger(status.ledgers, width)] if status.ledgers else []
    for model, count in status.dead:
        parts.append(Text(f"\n{count} dead letters of {model}: `framewatch dead list` shows why"))
    return Group(*parts)


def _cameras(status: Status, width: int | None) -> RenderableType:
    names = status.camera_names()
    if not names:
        return Text("Cameras: none; add one with `framewatch camera add NAME URL`")
    columns = [
        Column("camera"),
        Column("state"),
        Column("fps", digits=1),
        Column("queued fps", digits=1, optional=True),
        Column("last frame", numeric=True),
        Column("reconnects", numeric=True, optional=True),
        Column("corrupt", numeric=True, optional=True),
        Column("error", flexible=True),
    ]
    rows = []
    for name in names:
        state = status.state_of(name)
        rates = (state.fps_in, state.fps_out) if state else (None, None)
        counts = (state.reconnects, state.corrupt) if state else (None, None)
        rows.append(
            (
                name,
                status.describe_state(name),
                *rates,
                format_age(status.frame_age_s(name)),
                *counts,
                (state.error if state else None) or "",
            )
        )
    return build_table(columns, rows, "Cameras", width=width)


def _queue(depths: Sequence[QueueDepth], width: int | None) -> RenderableType:
    columns = [
        Column("camera"),
        Column("model"),
        Column("frames", numeric=True),
        Column("waiting", numeric=True),
        Column("MB", digits=1),
        Column("oldest", numeric=True),
    ]
    rows = [
        (d.camera, d.model, d.frames, d.waiting, d.bytes / 1e6, format_age(d.oldest_age_s)) for d in depths
    ]
    return build_table(columns, rows, "Queue", width=width)


def _workers(status: Status, width: int | None) -> RenderableType:
    columns = [
        Column("worker"),
        Column("models", flexible=True),
        Column("device", optional=True),
        Column("slots", numeric=True, optional=True),
        Column("batch", numeric=True, optional=True),
        Column("frames done", numeric=True),
        Column("up for", numeric=True),
        Column("last seen", numeric=True),
    ]
    rows = [
        (
            beat.worker,
            ", ".join(beat.models) or "any",
            beat.device,
            beat.slots,
            beat.batch_size,
            beat.frames_done,
            format_age((status.now - beat.started_at).total_seconds()),
            format_age((status.now - beat.last_seen).total_seconds() if beat.last_seen else None),
        )
        for beat in status.workers
    ]
    return build_table(columns, rows, "Workers", width=width)


def _ledger(ledgers: Sequence[Ledger], width: int | None) -> RenderableType:
    total = sum_ledgers("all", ledgers)
    reasons = [reason for reason in DropReason if total.dropped.get(reason)]
    names = ["captured", "stored", *(reason.value for reason in reasons), "in flight"]
    shown = [*ledgers, total] if len(ledgers) > 1 else list(ledgers)
    rows = [
        [
            one.camera,
            one.captured,
            one.stored,
            *(one.dropped.get(reason, 0) for reason in reasons),
            one.in_flight,
        ]
        for one in shown
    ]
    return build_table(
        [Column("camera"), *(Column(name, numeric=True) for name in names)], rows, "Frames", width=width
    )
