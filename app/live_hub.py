"""Live frames for all viewers of one server: one subscription on Redis, and no thread per viewer."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable

from core.errors import QueueUnavailableError
from core.live_view import LiveFrame, LiveView

LOOK_EVERY_S = 1.0
"""How soon, at the latest, a new viewer's cameras are watched while those of others are quiet."""
RETRY_EVERY_S = 2.0

logger = logging.getLogger(__name__)


class _Viewer:
    """What waits for one viewer: the newest frame of each camera, so that a slow one skips and never lags."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self.cameras = frozenset(cameras)
        self.waiting: dict[str, LiveFrame] = {}
        self.arrived = asyncio.Event()
        self.ended = False
        self._loop = asyncio.get_running_loop()

    def offer(self, frame: LiveFrame) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the server's loop has ended
            self._loop.call_soon_threadsafe(self._take, frame)

    def end(self) -> None:
        """From any thread: no further frames."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.ended = True
        self.arrived.set()

    def _take(self, frame: LiveFrame) -> None:
        self.waiting[frame.camera] = frame
        self.arrived.set()


class LiveHub:
    """Hands the frames of watched cameras to viewers; costs nothing while there are none."""

    def __init__(self, live: Callable[[], LiveView]) -> None:
        self._live = live
        self._viewers: set[_Viewer] = set()
        self._lock = threading.Lock()
        self._pump: threading.Thread | None = None

    async def frames(self, cameras: Iterable[str]) -> AsyncGenerator[LiveFrame, None]:
        """The last frame of each camera, if it is fresh, then those to come, until caller or hub stop.

        While Redis is away none come; they go on when it is back.
        """
        viewer = _Viewer(cameras)
        self._add(viewer)
        try:
            for camera in sorted(viewer.cameras):
                with contextlib.suppress(QueueUnavailableError):
                    latest = await asyncio.to_thread(self._live().latest, camera)
                    if latest is not None:
                        viewer.waiting.setdefault(camera, latest)
                        viewer.arrived.set()
            while not viewer.ended:
                await viewer.arrived.wait()
                viewer.arrived.clear()
                frames, viewer.waiting = viewer.waiting, {}
                for frame in frames.values():
                    yield frame
        finally:
            with self._lock:
                self._viewers.discard(viewer)

    def end_viewers(self) -> None:
        """Ends what `frames` gives to all who look just now; returns at once."""
        with self._lock:
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.end()

    def close(self) -> None:
        """Ends all viewers and the subscription; waits for that, a second or two."""
        self.end_viewers()
        with self._lock:
            self._viewers.clear()
            pump = self._pump
        if pump is not None:
            pump.join(2 * LOOK_EVERY_S + RETRY_EVERY_S)

    def _add(self, viewer: _Viewer) -> None:
        with self._lock:
            self._viewers.add(viewer)
            if self._pump is None:
                self._pump = threading.Thread(target=self._run, name="live-hub", daemon=True)
                self._pump.start()

    def _run(self) -> None:
        while cameras := self._wanted_or_end():
            try:
                with contextlib.closing(self._live().frames(sorted(cameras), LOOK_EVERY_S)) as frames:
                    for frame in frames:
                        self._hand_out(frame)
                        if self._wanted() != cameras:
                            break
            except QueueUnavailableError:
                time.sleep(RETRY_EVERY_S)
            except Exception:  # the thread must outlive whatever one message holds
                logger.exception("live frames are tried again")
                time.sleep(RETRY_EVERY_S)

    def _wanted(self) -> frozenset[str]:
        with self._lock:
            return self._union()

    def _wanted_or_end(self) -> frozenset[str]:
        """The cameras that any viewer wants; with none, this thread is over."""
        with self._lock:
            wanted = self._union()
            if not wanted:
                self._pump = None
            return wanted

    def _union(self) -> frozenset[str]:
        return frozenset[str]().union(*(viewer.cameras for viewer in self._viewers))

    def _hand_out(self, frame: LiveFrame) -> None:
        with self._lock:
            viewers = [viewer for viewer in self._viewers if frame.camera in viewer.cameras]
        for viewer in viewers:
            viewer.offer(frame)
