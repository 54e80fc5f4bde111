"""Connections to Redis with time-outs, and Redis' errors as ours."""

import contextlib
import re
from collections.abc import Iterator

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from core.errors import QueueRefusedError, QueueUnavailableError, SettingsError

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
"""Longer than any blocking command of ours (1 s) plus a slow script."""
HEALTH_CHECK_S = 15
"""A connection unused for longer is tried with PING first: firewalls drop silent ones."""

# Answers of a server that works but cannot serve just now; Redis 6.2 hides a script's code within a text.
_NOT_NOW = re.compile(
    r"\b(LOADING|READONLY|OOM|MISCONF|BUSY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|UNBLOCKED)\b"
)

_MAY_NOT = re.compile(r"\b(NOPERM|ACL failure)\b")


def make_redis(url: str) -> redis.Redis:
    """A lazily connecting client for `redis://` or `rediss://` URLs; answers are bytes.

    One lost connection is replaced silently, as every script of the queue may run twice; a server that stays
    away surfaces through `redis_errors`. Raises SettingsError for a URL that cannot be one.
    """
    refusal = f"redis_url: expected redis://HOST:PORT/DB or rediss://, got {without_password(url)!r}"
    if url.startswith("unix:"):  # redis-py would fail at the first command: a socket file takes no keep-alive
        raise SettingsError(refusal)
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_keepalive=True,
            health_check_interval=HEALTH_CHECK_S,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
        )
    except ValueError as error:
        raise SettingsError(refusal) from error


def without_password(url: str) -> str:
    """The URL with what stands between `//` and the last `@` blotted out."""
    return re.sub(r"//.*@", "//***@", url)


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Raises QueueUnavailableError in place of redis-py's errors; for a login, its QueueRefusedError.

    While passwords or access lists are changed, a server may refuse for a moment what it took before.
    Other errors of the server are faults of ours and pass as they are.
    """
    try:
        yield
    except (redis.AuthenticationError, NoPermissionError) as error:
        raise QueueRefusedError(f"Redis refuses the login: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise QueueUnavailableError(f"Redis cannot be reached: {error}") from error
    except redis.RedisError as error:
        if _MAY_NOT.search(str(error)):
            raise QueueRefusedError(f"Redis refuses the login: {error}") from error
        if _NOT_NOW.search(str(error)) or isinstance(error, (redis.ReadOnlyError, redis.OutOfMemoryError)):
            raise QueueUnavailableError(f"Redis cannot serve now: {error}") from error
        raise
