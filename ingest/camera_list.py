"""The configured cameras, followed in a thread: a database that is slow to answer holds nothing else up."""

import logging
import threading
from collections.abc import Callable, Sequence

from core.errors import DatabaseUnavailableError
from core.types import Camera

LOG = logging.getLogger(__name__)
RELOAD_EVERY_S = 0.25
"""A change must take effect within 2 s, and starting a camera's process takes a second; a look costs 1 ms."""


class FollowedCameras:
    """Asks `load` again and again, until `close`."""

    def __init__(self, load: Callable[[], Sequence[Camera]]) -> None:
        self._load = load
        self._newest: Sequence[Camera] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera-list", daemon=True)
        self._thread.start()

    def newest(self) -> Sequence[Camera] | None:
        """The last answer; None before the first."""
        return self._newest

    def close(self) -> None:
        """Ends the thread, unless the database holds it up: then it ends with the process."""
        self._closed.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        away = False
        while not self._closed.is_set():
            try:
                self._newest = list(self._load())
                away = False
            except DatabaseUnavailableError as error:
                if not away:
                    LOG.warning("%s; the cameras go on", error)
                away = True
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one look meets
                LOG.error("the list of cameras: unexpected %s: %s", type(error).__name__, error)
            self._closed.wait(RELOAD_EVERY_S)
