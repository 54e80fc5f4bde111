"""kombu's Redis transport, without the one fault that ends a worker when its broker goes away.

A worker that holds an unacknowledged bell when Redis is killed still acknowledges or restores it on a channel
that kombu 5.7 has closed meanwhile. `Channel._connparams` then fails with an AttributeError, which Celery
takes for unrecoverable. Here it is the connection error that it is, after which Celery connects anew. The
bell comes back by its visibility time-out; the frame queue rings again long before.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):
    """Says that its connection is gone instead of tripping over it."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        connection = self.connection
        if connection is None or connection.client is None:
            raise RedisConnectionError("the broker's connection was closed")
        found: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return found


class Transport(redis.Transport):
    """kombu's, with the channel above."""

    Channel = Channel


def use_patient_transport() -> None:
    """Makes redis:// and rediss:// of this process mean the transport above."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
