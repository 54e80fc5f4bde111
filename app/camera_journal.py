"""Writes what happens to cameras into SQL: the table `camera_events`."""

import logging
import threading
from collections import deque

from core.camera_state import CameraEvent
from core.errors import DatabaseUnavailableError
from storage.camera_events import write_camera_events
from storage.database import Database

LOG = logging.getLogger(__name__)
WRITE_EVERY_S = 0.5
RETRY_EVERY_S = 5.0
MOST_KEPT = 10_000
"""While SQL is away; a camera that flaps every second for an hour is 3600 x 3 events."""
BATCH = 500


class CameraJournal:
    """A thread that stores events. `note` never blocks; while SQL is away the newest events are kept."""

    def __init__(self, database: Database, most_kept: int = MOST_KEPT) -> None:
        self._database = database
        self._kept: deque[CameraEvent] = deque()
        self._most_kept = most_kept
        self._away = self._full = False
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera-journal", daemon=True)
        self._thread.start()

    def note(self, event: CameraEvent) -> None:
        """Takes one event, to be stored soon."""
        with self._lock:
            self._kept.append(event)
            self._make_room()

    def close(self) -> None:
        """Ends the thread after a last try to store what is left."""
        self._closed.set()
        self._thread.join()
        self._write()
        if self._kept:
            LOG.warning("%d camera events are lost, as SQL is away", len(self._kept))

    def _run(self) -> None:
        while not self._closed.wait(RETRY_EVERY_S if self._away else WRITE_EVERY_S):
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one write meets
                LOG.error("camera events: unexpected %s: %s", type(error).__name__, error)

    def _write(self) -> None:
        """Stores all that is kept, in batches; stops at the first that SQL does not take."""
        while batch := self._take():
            try:
                write_camera_events(self._database, batch)
            except DatabaseUnavailableError as error:
                self._give_back(batch)
                if not self._away:
                    LOG.warning("camera events wait: %s", error)
                self._away = True
                return
            self._away = self._full = False

    def _take(self) -> list[CameraEvent]:
        with self._lock:
            return [self._kept.popleft() for _ in range(min(BATCH, len(self._kept)))]

    def _give_back(self, batch: list[CameraEvent]) -> None:
        with self._lock:
            self._kept.extendleft(reversed(batch))
            self._make_room()

    def _make_room(self) -> None:
        while len(self._kept) > self._most_kept:
            self._kept.popleft()
            if not self._full:
                LOG.warning("SQL is away for so long that the oldest camera events are dropped")
            self._full = True
