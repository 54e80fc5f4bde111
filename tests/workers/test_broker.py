"""The transport's one difference from kombu's: a closed connection is an error that Celery mends."""

import pytest
from kombu import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from core.settings import load_settings
from workers.app import create_app
from workers.broker import Channel, Transport


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_redis_urls_of_the_app_use_the_transport_and_stay_readable(scheme: str) -> None:
    app = create_app(load_settings(redis_url=f"{scheme}://127.0.0.1:6399/0"))
    with app.connection() as connection:
        assert connection.get_transport_cls() is Transport
        assert connection.as_uri().startswith(f"{scheme}://")


def test_a_channel_whose_connection_is_closed_says_so_with_an_error_that_celery_mends() -> None:
    with Connection("redis://127.0.0.1:6399/0") as connection:
        transport = Transport(connection)
        channel = Channel.__new__(Channel)  # without connecting, as nothing listens there
        channel.connection = transport
        transport.client = None  # as a released connection leaves it
        with pytest.raises(transport.connection_errors, match="was closed"):
            channel._connparams()
        channel.connection = None
        with pytest.raises(RedisConnectionError, match="was closed"):
            channel._connparams()
