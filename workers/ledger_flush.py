"""Copies the frame ledger from Redis to SQL; one process of a fleet at a time."""

import logging
import threading
from collections.abc import Callable

import redis

from core.errors import DatabaseUnavailableError, QueueUnavailableError
from core.frame_queue import FrameQueue
from core.redis_client import redis_errors
from storage.database import Database
from storage.ledger import write_ledger_minutes

logger = logging.getLogger(__name__)


def flush_ledger(queue: FrameQueue, database: Database) -> int:
    """Writes the ledger's minutes to SQL and forgets, on Redis, the past ones; returns how many it wrote.

    Doing it twice, or in two processes at once, changes nothing. Raises QueueUnavailableError or
    DatabaseUnavailableError; nothing is lost then.
    """
    minutes = queue.ledger_minutes()
    if minutes:
        write_ledger_minutes(database, minutes)
        queue.forget_ledger_minutes(before=max(minute.minute for minute in minutes))
    return len(minutes)


class OncePerFleet:
    """A key on Redis that one process of a fleet takes for a while."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key

    def take(self, duration_s: float) -> bool:
        """True for one caller per duration. Raises QueueUnavailableError."""
        with redis_errors():
            return bool(self._client.set(self._key, "1", nx=True, px=max(1, round(duration_s * 1000))))


class LedgerFlusher:
    """A thread that flushes every `interval_s`, in one process of those that share a namespace."""

    def __init__(self, queue: FrameQueue, database: Database, turn: OncePerFleet, interval_s: float) -> None:
        self._queue = queue
        self._database = database
        self._turn = turn
        self._interval_s = interval_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-flush", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, after a last flush in this process so that a lone worker leaves nothing behind."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._try(lambda: flush_ledger(self._queue, self._database))

    def _run(self) -> None:
        while not self._closed.wait(self._interval_s / 4):
            self._try(self._flush_when_due)

    def _flush_when_due(self) -> None:
        if self._turn.take(self._interval_s * 0.9):
            flush_ledger(self._queue, self._database)

    def _try(self, flush: Callable[[], object]) -> None:
        try:
            flush()
        except (QueueUnavailableError, DatabaseUnavailableError) as error:
            logger.warning("the frame ledger stays on Redis until the next try: %s", error)
        except Exception:  # the thread must outlive whatever one flush meets
            logger.exception("the frame ledger stays on Redis until the next try")
