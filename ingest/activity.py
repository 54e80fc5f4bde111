"""What a camera's reader tells others: state changes as one-line events, and its frame rates."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from core.camera_state import CameraActivity, CameraEvent, CameraState, new_state, with_activity

LOG = logging.getLogger(__name__)
REPORT_EVERY_S = 1.0


class ActivityReporter:
    """Keeps one camera's state and reports it: changes at once, counters once a second."""

    def __init__(self, camera: str, report: Callable[[CameraState], None]) -> None:
        self._state = new_state(camera, CameraActivity.CONNECTING)
        self._report = report
        self._reported_at = time.monotonic()
        self._counted_from = self._reported_at
        self._captured = 0
        self._published_before = 0

    @property
    def state(self) -> CameraState:
        return self._state

    def change(self, activity: CameraActivity, event: str, error: str | None = None) -> None:
        """Logs the event and reports the new activity; `error` says why, for those who ask later."""
        level = logging.INFO if error is None else logging.WARNING
        LOG.log(level, "camera %s: %s", self._state.camera, event)
        reconnects = self._state.reconnects + (
            activity is CameraActivity.CONNECTING and self._state.activity is not CameraActivity.CONNECTING
        )
        self._state = replace(with_activity(self._state, activity, error), reconnects=reconnects)
        self._counted_from, self._captured = time.monotonic(), 0
        self._report(self._state)

    def frame_captured(self, captured_at: datetime, published: int) -> None:
        """Counts one frame; `published` is the reader's count of queued frames so far."""
        if self._captured == 0:
            self._published_before = published
        self._captured += 1
        self._state = replace(self._state, last_frame_at=captured_at)
        if time.monotonic() - self._reported_at >= REPORT_EVERY_S:
            self._report_rates(published)

    def frame_corrupt(self) -> None:
        """Counts one frame that could not be decoded."""
        self._state = replace(self._state, corrupt=self._state.corrupt + 1)

    def _report_rates(self, published: int) -> None:
        now = time.monotonic()
        elapsed_s = max(now - self._counted_from, 1e-3)
        self._state = replace(
            self._state,
            fps_in=round(self._captured / elapsed_s, 2),
            fps_out=round((published - self._published_before) / elapsed_s, 2),
            reported_at=datetime.now(UTC),
        )
        self._reported_at = self._counted_from = now
        self._captured = 0
        self._report(self._state)


class ActivityChanges:
    """Turns the states of an ingest process's cameras into events, one per change; threads may share it."""

    def __init__(self, ingest: str, tell: Callable[[CameraEvent], None]) -> None:
        self._ingest, self._tell = ingest, tell
        self._last: dict[str, tuple[CameraActivity, datetime]] = {}
        self._lock = threading.Lock()

    def note(self, state: CameraState) -> None:
        """Tells of the state's activity unless it was told before."""
        change = (state.activity, state.since)
        with self._lock:
            if self._last.get(state.camera) == change:
                return
            self._last[state.camera] = change
        self._tell(CameraEvent(state.camera, state.since, state.activity, state.error, self._ingest))
