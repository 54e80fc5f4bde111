"""The frame ledger on its way to SQL, in a thread: a slow database holds up nothing else."""

import logging
import threading

from app.removed_cameras import RemovedCameras
from core.errors import DatabaseUnavailableError, QueueUnavailableError
from core.frame_queue import FrameQueue
from storage.database import Database
from workers.ledger_flush import flush_ledger

LOG = logging.getLogger(__name__)
RETRY_EVERY_S = 1.0


class LedgerCopy:
    """A thread that copies the frame ledger every `every_s`, and then forgets the ledgers of removed cameras.

    Every ingest process does so, as each saw other cameras removed; copying twice changes nothing.
    """

    def __init__(self, queue: FrameQueue, database: Database, every_s: float) -> None:
        """Looks up the cameras and starts. Raises DatabaseUnavailableError."""
        self._queue, self._database, self._every_s = queue, database, every_s
        self._removed = RemovedCameras(queue, database)
        self._away = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-copy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, unless the database holds it up: then it ends with the process."""
        self._closed.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._closed.wait(min(RETRY_EVERY_S, self._every_s) if self._away else self._every_s):
            try:
                flush_ledger(self._queue, self._database)
                self._removed.look()
                self._away = False
            except (QueueUnavailableError, DatabaseUnavailableError) as error:
                if not self._away:
                    LOG.warning("the frame ledger stays on Redis until the next try: %s", error)
                self._away = True
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one copy meets
                LOG.error("the frame ledger: unexpected %s: %s", type(error).__name__, error)
