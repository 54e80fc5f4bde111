"""Opens the database and Redis for a command; what does not answer at the start is wrong configuration.

The same servers may go away later: then the errors say "unavailable", and the caller decides.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import redis

from app.running import running_redis_url
from core.errors import DatabaseUnavailableError, QueueUnavailableError, UsageError
from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis, redis_errors
from core.settings import Settings
from core.urls import redact_url
from storage.database import Database, open_database
from workers.bell import ring


def is_given(settings: Settings, name: str) -> bool:
    """Whether a person set this setting, by option, environment or file, so that it is no default."""
    return name in settings.model_fields_set


@contextlib.contextmanager
def opened_database(
    settings: Settings, *, create: bool = False, upgrade: bool = False, check: bool = True
) -> Iterator[Database]:
    """The history database, found to answer and, with `check`, to have this code's tables.

    `create` makes a SQLite file that is not there yet; `upgrade` makes or migrates the tables of any
    database. Raises UsageError in one line when there is nothing to open.
    """
    database = open_database(settings.database_url)
    with contextlib.closing(database):
        try:
            missing = database.dialect == "sqlite" and not Path(database.url.database or "").exists()
            if upgrade or (missing and create):
                database.upgrade()
            elif missing:
                raise UsageError(
                    f"{database.label}: no such database; `framewatch run FILE`, `framewatch up` and "
                    "`framewatch db upgrade` make it, --database-url names another"
                )
            if check:
                database.check()
        except DatabaseUnavailableError as error:
            raise UsageError(f"{error}; start that database, or name another with --database-url") from error
        yield database


def redis_url(settings: Settings) -> str:
    """The Redis to use: the given one, else that of a `framewatch up` on this data folder, or the default."""
    if is_given(settings, "redis_url"):
        return settings.redis_url
    return running_redis_url(settings.data_dir) or settings.redis_url


@contextlib.contextmanager
def opened_redis(settings: Settings) -> Iterator[redis.Redis]:
    """A client of a Redis that answers. Raises UsageError in one line when none does."""
    url = redis_url(settings)
    client = make_redis(url)
    try:
        with redis_errors():
            client.ping()
    except QueueUnavailableError as error:
        client.close()
        raise UsageError(
            f"no Redis answers at {redact_url(url)} ({_reason(error)}); start one, for example with "
            "`framewatch up`, or name yours with --redis-url"
        ) from error
    with contextlib.closing(client):
        yield client


def _reason(error: QueueUnavailableError) -> str:
    return (
        str(error)
        .removeprefix("Redis cannot be reached: ")
        .removeprefix("Redis cannot serve now: ")
        .rstrip(".")
    )


@contextlib.contextmanager
def opened_queue(settings: Settings) -> Iterator[FrameQueue]:
    """The frame queue on a Redis that answers. Raises UsageError in one line when none does."""
    with opened_redis(settings) as client:
        yield make_queue(client, with_redis_url(settings))


def with_redis_url(settings: Settings) -> Settings:
    """The settings with the Redis that `redis_url` chose, as if a person had given it."""
    return settings.model_copy(update={"redis_url": redis_url(settings)})


def make_queue(client: redis.Redis, settings: Settings) -> FrameQueue:
    """The frame queue of these settings on a connected client."""
    bell = partial(ring, redis_url=settings.redis_url, namespace=settings.namespace)
    return FrameQueue(client, QueueLimits.from_settings(settings), settings.namespace, bell)
