"""What `run`, `up` and `demo` share: Redis, the database and workers on this machine, as far as needed."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import redis

from app.database_access import opened_database
from app.options import is_given
from app.queue_access import make_queue, opened_redis, with_redis_url
from app.worker_pool import WorkerPool
from core.errors import SettingsError
from core.frame_queue import FrameQueue
from core.redis_server import EmbeddedRedis
from core.settings import Settings
from storage.database import Database


@dataclass(frozen=True, slots=True)
class LocalStack:
    """Everything that a pipeline on this machine runs on."""

    settings: Settings
    """With the Redis that is used."""
    redis: redis.Redis
    queue: FrameQueue
    database: Database
    workers: WorkerPool
    server: EmbeddedRedis | None = None
    """The Redis, where it is one of our own."""


@contextlib.contextmanager
def local_stack(
    settings: Settings, workers: int, models: Sequence[str], keep_dir: Path | None, *, embed: bool = True
) -> Iterator[LocalStack]:
    """Starts an embedded Redis unless one was given, makes the tables, and prepares (not starts) the workers.

    Without `embed` it takes the Redis where other workers serve, as `app.queue_access.redis_url` finds it.
    `keep_dir` keeps the embedded Redis' data over a restart; None forgets it. Raises UsageError in one line
    for what cannot be reached. Stops everything that it started.
    """
    prepare_folder(settings.data_dir)
    with contextlib.ExitStack() as stack:
        server = None
        if not embed:
            settings = with_redis_url(settings)
        elif not is_given(settings, "redis_url"):
            server = stack.enter_context(EmbeddedRedis(keep_dir, appendonly=keep_dir is not None))
            settings = settings.model_copy(update={"redis_url": server.url})
        client = stack.enter_context(opened_redis(settings))
        database = stack.enter_context(opened_database(settings, upgrade=True))
        pool = WorkerPool(workers, models, settings, settings.data_dir / "logs")
        stack.callback(pool.stop)
        yield LocalStack(settings, client, make_queue(client, settings), database, pool, server)


def prepare_folder(data_dir: Path) -> None:
    """Makes the data folder. Raises SettingsError when that cannot be."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--data-dir: expected a folder that can be made or written to, got {data_dir}: {error.strerror}"
        ) from error


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second SIGINT raises KeyboardInterrupt."""
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
