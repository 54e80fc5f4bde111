"""Cameras that were removed while this process watched: their counters leave Redis after their last frame."""

import logging

from core.frame_queue import FrameQueue
from storage.cameras import list_cameras
from storage.database import Database

LOG = logging.getLogger(__name__)


class RemovedCameras:
    """Compares the configured cameras from look to look; disabled ones stay configured."""

    def __init__(self, queue: FrameQueue, database: Database) -> None:
        self._queue, self._database = queue, database
        self._configured = self._names()
        self._removed: set[str] = set()

    def look(self) -> None:
        """Forgets what earlier looks saw removed and whose frames have all been served.

        Whoever read such a camera had the time between two looks to stop. Its account is in SQL (the ledger's
        minutes). Raises QueueUnavailableError and DatabaseUnavailableError; the next look tries again.
        """
        now = self._names()
        forgotten = self._queue.forget_cameras(self._removed - now)
        for name in sorted(forgotten):
            LOG.info("camera %s: removed, and its last frame is accounted for", name)
        self._removed = ((self._removed - forgotten) | self._configured) - now
        self._configured = now

    def _names(self) -> set[str]:
        return {camera.name for camera in list_cameras(self._database)}
