"""What the history needs now and then: old rows removed, partitions made ahead, counts folded."""

import logging
import threading
from datetime import UTC, datetime

from core.errors import DatabaseUnavailableError
from storage.database import Database
from storage.retention import PruneReport, prepare_days, prune
from storage.retention_policy import RetentionPolicy

EVERY_S = 3600.0

logger = logging.getLogger(__name__)


def keep_up(database: Database, policy: RetentionPolicy, now: datetime | None = None) -> PruneReport:
    """One round; several hosts may do it at once. Raises DatabaseUnavailableError."""
    now = now or datetime.now(UTC)
    prepare_days(database, now)
    return prune(database, policy, now)


class Upkeep:
    """A thread that keeps the history up every hour, first when it starts."""

    def __init__(self, database: Database, policy: RetentionPolicy, every_s: float = EVERY_S) -> None:
        self._database = database
        self._policy = policy
        self._every_s = every_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread after the round that is going on, which may go on a little beyond."""
        self._closed.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            try:
                report = keep_up(self._database, self._policy)
            except DatabaseUnavailableError as error:
                logger.warning("the history is kept up at the next round: %s", error)
            except Exception:  # the thread must outlive whatever one round meets
                logger.exception("the history is kept up at the next round")
            else:
                if report.detections or report.frames or report.days_dropped:
                    logger.info(
                        "retention removed %d detections and %d frames, and dropped %d days",
                        *(report.detections, report.frames, len(report.days_dropped)),
                    )
            if self._closed.wait(self._every_s):
                return
