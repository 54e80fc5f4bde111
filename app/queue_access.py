"""Opens Redis and the frame queue for a command; what does not answer at the start is wrong configuration.

The same server may go away later: then the error says "unavailable", and the caller decides.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

import redis

from app.options import is_given
from app.running import running_redis_url
from core.errors import QueueRefusedError, QueueUnavailableError, SettingsError, UsageError
from core.frame_queue import FrameQueue, QueueLimits
from core.redis_client import make_redis, redis_errors
from core.settings import Settings
from core.urls import redact_url
from workers.bell import ring


def redis_url(settings: Settings) -> str:
    """The Redis to use: the given one, else that of a `framewatch up` on this data folder, or the default."""
    if is_given(settings, "redis_url"):
        return settings.redis_url
    return running_redis_url(settings.data_dir) or settings.redis_url


@contextlib.contextmanager
def opened_redis(settings: Settings) -> Iterator[redis.Redis]:
    """A client of a Redis that answers. Raises UsageError in one line for none, and a refused login."""
    url = redis_url(settings)
    client = make_redis(url)
    try:
        with redis_errors():
            client.ping()
    except QueueRefusedError as error:
        client.close()
        raise SettingsError(
            f"redis_url: expected a name and password that Redis accepts: {error.__cause__}"
        ) from error
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
