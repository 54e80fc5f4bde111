"""What a camera's reader tells others: state changes as one-line events, and its frame rates."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from core.camera_state import CameraActivity, CameraEvent, CameraState, new_state, with_activity
from ingest.timestamps import ClockReport

LOG = logging.getLogger(__name__)
REPORT_EVERY_S = 1.0


class ActivityReporter:
    """Keeps one camera's state and reports it: changes at once, counters once a second.

    A thread beside the reader's may tell of silence; `report` is called from both, one at a time.
    """

    def __init__(self, camera: str, report: Callable[[CameraState], None]) -> None:
        self._state = new_state(camera, CameraActivity.CONNECTING)
        self._report = report
        self._reported_at = time.monotonic()
        self._counted_from = self._reported_at
        self._live_at = self._reported_at
        self._captured = 0
        self._last_frame_at: datetime | None = None
        self._published = self._published_before = 0
        self._lock = threading.RLock()

    @property
    def state(self) -> CameraState:
        return self._state

    @property
    def live_for_s(self) -> float:
        """How long the camera has been connected, silence included; 0 for one that is not."""
        connected = self._state.activity in (CameraActivity.LIVE, CameraActivity.STALLED)
        return time.monotonic() - self._live_at if connected else 0.0

    def opened(self, *, recorded: bool) -> None:
        """Notes what kind of source answered; told with the next report."""
        with self._lock:
            self._state = replace(self._state, recorded=recorded)

    def change(self, activity: CameraActivity, event: str, error: str | None = None) -> None:
        """Logs the event and reports the new activity; `error` says why, for those who ask later."""
        with self._lock:
            if activity is CameraActivity.LIVE:
                self._live_at = time.monotonic()
            self._change(activity, event, error)

    def silent(self, silence_s: float) -> None:
        """Notes that a connected camera has sent nothing for so long; frames make it live again."""
        with self._lock:
            if self._state.activity is CameraActivity.LIVE:
                reason = f"nothing came for {silence_s:.1f} s"
                self._change(CameraActivity.STALLED, f"stalled: {reason}", reason)

    def _change(self, activity: CameraActivity, event: str, error: str | None) -> None:
        level = logging.INFO if error is None else logging.WARNING
        LOG.log(level, "camera %s: %s", self._state.camera, event)
        reconnects = self._state.reconnects + (
            activity is CameraActivity.CONNECTING and self._state.activity is not CameraActivity.CONNECTING
        )
        self._state = replace(
            with_activity(self._state, activity, error),
            reconnects=reconnects,
            last_frame_at=self._last_frame_at,
        )
        self._counted_from, self._captured, self._published_before = time.monotonic(), 0, self._published
        self._report(self._state)

    def frame_captured(self, captured_at: datetime, published: int, clock: ClockReport) -> None:
        """Counts one frame; `published` are those queued so far, `clock` is what its source's times tell."""
        with self._lock:
            # Not by its first frame: when a wait times out, FFmpeg hands out one that it had kept back.
            if self._state.activity is CameraActivity.STALLED and self._captured:
                self._change(CameraActivity.LIVE, "live again", None)
            self._captured += 1
            self._published = published
            self._last_frame_at = (
                captured_at  # into the state once a second: its copy costs more than all else
            )
            if time.monotonic() - self._reported_at >= REPORT_EVERY_S:
                self._report_rates(published, clock)

    def frame_corrupt(self) -> None:
        """Counts one frame that could not be decoded."""
        with self._lock:
            self._state = replace(self._state, corrupt=self._state.corrupt + 1)

    def _report_rates(self, published: int, clock: ClockReport) -> None:
        now = time.monotonic()
        elapsed_s = max(now - self._counted_from, 1e-3)
        self._state = replace(
            self._state,
            fps_in=round(self._captured / elapsed_s, 2),
            fps_out=round((published - self._published_before) / elapsed_s, 2),
            last_frame_at=self._last_frame_at,
            reported_at=datetime.now(UTC),
            clock_ahead_s=clock.ahead_s,
            drift_ppm=clock.drift_ppm,
        )
        self._reported_at = self._counted_from = now
        self._captured, self._published_before = 0, published
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

    def note_gap(self, last: CameraState) -> None:
        """Tells that whoever reported this state has said nothing since."""
        reason, ingest = "its ingest process fell silent", last.ingest or self._ingest
        self._tell(CameraEvent(last.camera, last.reported_at, CameraActivity.BACKING_OFF, reason, ingest))
