"""What a run did: the frame ledger and the detections of its cameras, from its own start on."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.source_list import RunSource
from app.tables import Column
from core.errors import CameraNotFoundError, DatabaseUnavailableError, QueryError
from core.frame_queue import FrameQueue
from core.types import DropReason, Ledger
from storage.database import Database
from storage.filters import DetectionFilter
from storage.queries import count_detections

_REST = timedelta(microseconds=1)
_COUNTING_SHARE = 0.02
"""Of the time, at most, that counting detections may take while a run goes on."""


@dataclass(frozen=True, slots=True)
class CameraAccount:
    """One camera of a run."""

    ledger: Ledger
    detections: int = 0
    error: str | None = None
    """Why its source could not be read, or not to its end."""

    def as_json(self) -> dict[str, Any]:
        """One flat object: the ledger's columns and what else the summary shows."""
        return {**self.ledger.as_json(), "detections": self.detections, "error": self.error}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The end of a run."""

    cameras: tuple[CameraAccount, ...]
    seconds: float
    """From the start of the workers and the cameras to the last stored frame."""
    start_up_s: float
    """Of these, until the first worker had loaded its model."""
    database_url: str
    """Without its password."""
    errors: tuple[str, ...] = ()
    """One line per source that could not be read, wholly or in part."""
    interrupted: bool = False

    @property
    def total(self) -> Ledger:
        """All cameras together."""
        return sum_ledgers("all", [camera.ledger for camera in self.cameras])

    @property
    def balanced(self) -> bool:
        """Whether every captured frame is stored or dropped for a counted reason, and none is on its way."""
        return all(camera.ledger.balance == 0 and camera.ledger.in_flight == 0 for camera in self.cameras)

    @property
    def detections(self) -> int:
        return sum(camera.detections for camera in self.cameras)

    def speed(self, ledger: Ledger) -> float:
        """Stored frames per second, once a worker was ready."""
        return ledger.stored / max(self.seconds - self.start_up_s, 1e-3)

    def as_json(self) -> dict[str, Any]:
        """One object for machines."""
        return {
            "cameras": [
                {**camera.as_json(), "frames_per_second": round(self.speed(camera.ledger), 2)}
                for camera in self.cameras
            ],
            "frames_captured": self.total.captured,
            "frames_stored": self.total.stored,
            "detections": self.detections,
            "seconds": round(self.seconds, 3),
            "start_up_seconds": round(self.start_up_s, 3),
            "frames_per_second": round(self.speed(self.total), 2),
            "balanced": self.balanced,
            "errors": list(self.errors),
            "interrupted": self.interrupted,
            "database_url": self.database_url,
        }

    def table(self) -> tuple[list[Column], list[list[Any]]]:
        """Columns and rows for people; drop reasons that never happened are left out."""
        reasons = [reason for reason in DropReason if self.total.dropped.get(reason)]
        names = ["captured", "stored", *(reason.value for reason in reasons), "in flight", "detections"]
        columns = [
            Column("camera"),
            *(Column(name, numeric=True) for name in names),
            Column("frames/s", digits=1),
        ]
        accounts = [*self.cameras]
        if len(accounts) > 1:
            accounts.append(CameraAccount(self.total, self.detections))
        return columns, [self._row(account, reasons) for account in accounts]

    def _row(self, account: CameraAccount, reasons: Sequence[DropReason]) -> list[Any]:
        ledger = account.ledger
        dropped = [ledger.dropped.get(reason, 0) for reason in reasons]
        counts = [ledger.captured, ledger.stored, *dropped, ledger.in_flight, account.detections]
        return [ledger.camera, *counts, self.speed(ledger)]


def sum_ledgers(name: str, ledgers: Sequence[Ledger]) -> Ledger:
    """Several accounts as one."""
    return Ledger(
        name,
        captured=sum(ledger.captured for ledger in ledgers),
        stored=sum(ledger.stored for ledger in ledgers),
        in_flight=sum(ledger.in_flight for ledger in ledgers),
        dropped={reason: sum(ledger.dropped.get(reason, 0) for ledger in ledgers) for reason in DropReason},
    )


def since_start(now: Ledger, start: Ledger) -> Ledger:
    """What happened to a camera after `start`; frames that were on their way then count as captured."""
    return Ledger(
        now.camera,
        captured=now.captured - start.captured + start.in_flight,
        stored=now.stored - start.stored,
        in_flight=now.in_flight,
        dropped={reason: now.dropped.get(reason, 0) - start.dropped.get(reason, 0) for reason in DropReason},
    )


class RunAccounts:
    """Reads what a run has done so far."""

    def __init__(self, sources: Sequence[RunSource], queue: FrameQueue, database: Database) -> None:
        self._sources = {source.camera.name: source for source in sources}
        self._queue = queue
        self._database = database
        self._start = {name: queue.ledger(name) for name in self._sources}
        self._detections = dict.fromkeys(self._sources, 0)
        self._count_again_at = 0.0

    def ledgers(self) -> list[Ledger]:
        """Every camera's account since the start. Raises QueueUnavailableError."""
        return [since_start(self._queue.ledger(name), start) for name, start in self._start.items()]

    def detections(self) -> int:
        """Rows so far, counted anew as often as that is cheap; the last count while SQL is away."""
        if time.monotonic() >= self._count_again_at:
            started = time.monotonic()
            for name in self._sources:
                try:
                    self._detections[name] = self.count_rows(name, None)
                except DatabaseUnavailableError:
                    break
            took_s = time.monotonic() - started
            self._count_again_at = started + max(1.0, took_s / _COUNTING_SHARE)
        return sum(self._detections.values())

    def count_rows(self, camera: str, until: datetime | None) -> int:
        """Detections in SQL of a camera's frames from the first of this run up to and with `until`."""
        wanted = DetectionFilter(
            cameras=(camera,),
            since=self._sources[camera].first_captured_at,
            until=None if until is None else until + _REST,
        )
        try:
            return sum(row.count for row in count_detections(self._database, ("camera",), None, wanted))
        except (
            CameraNotFoundError,
            QueryError,
        ):  # nothing of it is stored yet, or `until` lies before the first
            return 0
