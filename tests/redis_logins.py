"""A Redis that asks for a password that nobody was told, as while passwords are changed."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.redis_client import make_redis
from core.redis_server import EmbeddedRedis

PASSWORD = "changed"


@contextmanager
def login_refused(server: EmbeddedRedis) -> Iterator[None]:
    """Every connection is closed, and those that follow are refused until the context ends."""
    with make_redis(server.url) as client:
        client.config_set("requirepass", PASSWORD)
    with make_redis(server.url.replace("redis://", f"redis://:{PASSWORD}@")) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            admin.config_set("requirepass", "")
