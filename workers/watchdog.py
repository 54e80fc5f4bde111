"""Ends a worker whose batch hangs: a stuck device or driver answers to nothing else."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""

logger = logging.getLogger(__name__)


def exit_at_once(reason: str) -> None:
    """Ends the process with a line in the log; threads that hang would hold up any other way out."""
    logger.critical("%s", reason)
    logging.shutdown()
    os._exit(HANG_EXIT_CODE)


class Watchdog:
    """Watches sections of code; one that takes longer than `timeout_s` calls `bite` with the reason."""

    def __init__(self, timeout_s: float, bite: Callable[[str], None] = exit_at_once) -> None:
        self._timeout_s = timeout_s
        self._bite = bite
        self._sections: dict[object, tuple[str, float]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """The body must end within the time-out."""
        section = object()
        self._sections[section] = (what, time.monotonic())
        try:
            yield
        finally:
            del self._sections[section]

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._timeout_s / 4)):
            now = time.monotonic()
            for what, since in tuple(self._sections.values()):
                if now - since > self._timeout_s:
                    self._bite(
                        f"{what} has taken {now - since:.0f} s, longer than batch_timeout_s of "
                        f"{self._timeout_s:g} s; this worker exits and its frames are claimed elsewhere"
                    )
