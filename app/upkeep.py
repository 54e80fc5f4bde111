"""What is kept needs care now and then: old rows and pictures go, partitions are made, counts folded."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from app.retention import parse_retention
from core.errors import DatabaseUnavailableError, EvidenceUnavailableError
from core.settings import Settings
from storage.database import Database
from storage.evidence import prune_evidence
from storage.evidence_files import EvidenceFiles
from storage.retention import prepare_days, prune
from storage.retention_policy import RetentionPolicy

EVERY_S = 3600.0
Round = Callable[[], None]
"""Does one part of it; any number of hosts may do the same at once."""

logger = logging.getLogger(__name__)


def upkeep_rounds(settings: Settings, database: Database, files: EvidenceFiles) -> list[Round]:
    """What the settings ask for. Raises SettingsError for a retention that cannot be read."""
    rounds = [partial(keep_history, database, parse_retention(settings.retention))]
    if settings.evidence_days:
        rounds.append(partial(keep_pictures, database, files, timedelta(days=settings.evidence_days)))
    return list(rounds)


def keep_history(database: Database, policy: RetentionPolicy) -> None:
    """Makes days ahead and removes what is older than the policy. Raises DatabaseUnavailableError."""
    now = datetime.now(UTC)
    prepare_days(database, now)
    report = prune(database, policy, now)
    if report.detections or report.frames or report.days_dropped:
        logger.info(
            "retention removed %d detections and %d frames, and dropped %d days",
            *(report.detections, report.frames, len(report.days_dropped)),
        )


def keep_pictures(database: Database, files: EvidenceFiles, keep: timedelta) -> None:
    """Removes older pictures. Raises DatabaseUnavailableError and EvidenceUnavailableError."""
    removed = prune_evidence(database, files, datetime.now(UTC) - keep)
    if removed.pictures or removed.stray_files:
        logger.info("retention removed %d pictures and %d stray files", removed.pictures, removed.stray_files)


class Upkeep:
    """A thread that does all rounds every hour, first when it starts; what fails is done at the next one."""

    def __init__(self, rounds: Sequence[Round], every_s: float = EVERY_S) -> None:
        self._rounds = rounds
        self._every_s = every_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread after what it does just now, which may go on a little beyond."""
        self._closed.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            for do in self._rounds:
                try:
                    do()
                except (DatabaseUnavailableError, EvidenceUnavailableError) as error:
                    logger.warning("retention waits for the next hour: %s", error)
                except Exception:  # the thread must outlive whatever one round meets
                    logger.exception("retention waits for the next hour")
            if self._closed.wait(self._every_s):
                return
