"""One `framewatch up` per data folder, found by the commands that are started beside it."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from core.errors import UsageError

_LOCK, _ADDRESS = "up.lock", "up.redis-url"


@contextlib.contextmanager
def sole_running(data_dir: Path) -> Iterator[None]:
    """Holds the data folder for this process. Raises UsageError when another one has it.

    The kernel gives a lock back when its holder dies, however it dies.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"framewatch up runs already on {data_dir}; stop it first, or choose another --data-dir"
            ) from None
        try:
            yield
        finally:
            (data_dir / _ADDRESS).unlink(missing_ok=True)


def announce_redis(data_dir: Path, url: str) -> None:
    """Tells the other commands of this folder where the embedded Redis listens."""
    (data_dir / _ADDRESS).write_text(url)


def running_redis_url(data_dir: Path) -> str | None:
    """Where the embedded Redis of a running `framewatch up` listens; None when there is none."""
    try:
        with (data_dir / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None  # nobody holds it
    except BlockingIOError:
        with contextlib.suppress(OSError):
            return (data_dir / _ADDRESS).read_text().strip() or None
        return None
    except OSError:  # no such folder, or no right to it
        return None
