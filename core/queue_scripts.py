"""The queue's Lua scripts: loaded from their files, run by name, reloaded after a Redis restart."""

from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from core.redis_client import redis_errors

FOLDER = Path(__file__).with_name("frame_queue_scripts")
SHARED = ("keys", "ledger", "workers", "frames", "claims", "bells")
"""What stands before each script, in this order: Redis knows no modules."""


@cache
def _sources() -> dict[str, str]:
    shared = "\n".join((FOLDER / "shared" / f"{name}.lua").read_text() for name in SHARED)
    return {path.stem: f"{shared}\n{path.read_text()}" for path in FOLDER.glob("*.lua")}


class QueueScripts:
    """Every script of the frame queue, bound to one server and one namespace.

    The prefix of all keys is in braces, so that Redis Cluster keeps them in one slot: a script finds the
    keys of a camera from the ring of ready cameras, and could not name them beforehand.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self.prefix = f"{{{namespace}}}"
        self._scripts: dict[str, Script] = {
            name: client.register_script(source) for name, source in _sources().items()
        }

    def run(self, name: str, *args: str | bytes | int | float) -> Any:
        """The script's answer, bytes undecoded. Raises QueueUnavailableError when Redis is away."""
        with redis_errors():
            return self._scripts[name](keys=[self.prefix], args=args)

    def wait_for(self, kind: str, name: str, timeout_s: float) -> bool:
        """Blocks on a list that a script pushes to; True when it was pushed to, False after `timeout_s`."""
        # Redis 6.2 reads a time-out below 1 ms as 0, which is: for ever.
        with redis_errors():
            return bool(self._client.blpop([f"{self.prefix}:{kind}:{name}"], timeout=max(timeout_s, 0.01)))
