"""One camera from its source to the queue: open, sample, shrink, encode, publish, and open anew when lost."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.camera_state import CameraActivity, CameraState
from core.errors import CorruptFrameError, SourceLostError, SourceRefusedError, UsageError
from core.frame_queue import CameraQueue, FrameQueue
from core.types import Camera, DropReason, Frame
from core.urls import redact_url
from ingest.activity import ActivityReporter
from ingest.backoff import Backoff
from ingest.motion import MotionGate
from ingest.outbox import Outbox
from ingest.picture import Mask, encode_frame
from ingest.sampling import Sampler
from ingest.sources import open_source
from ingest.sources.source import FrameSource, SourceFrame, SourceOptions

LONGEST_REFUSED_WAIT = 16
"""Times `refused_wait_s`."""
HEALTHY_AFTER_S = 10.0
"""A camera that was live for as long starts with short waits again."""
STALLED_AFTER = 0.5
"""Share of the stall time-out after which a silent camera is shown as stalled, before it counts as lost."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What all cameras of one ingest process have in common."""

    model: str
    """Weights name for cameras that name none."""
    jpeg_quality: int = 85
    open_timeout_s: float = 6.0
    stall_timeout_s: float = 5.0
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 7.0
    refused_wait_s: float = 60.0
    must_answer: bool = False
    """Give up when the first connection fails, instead of trying for ever."""


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What became of one camera's reading; captured = published + dropped."""

    camera: str
    captured: int = 0
    published: int = 0
    dropped: Mapping[DropReason, int] = field(default_factory=dict)
    """Frames that ingest left out; the queue may drop more."""
    error: str | None = None
    """Why the reading failed or ended early; None after a good end or a stop."""
    lease_lost: bool = False
    """Another ingest process reads the camera by now."""


class Heart:
    """By when the reader will show life again; read by a watchdog of another thread."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        """time.monotonic() seconds; None while any wait is in order."""
        self.beaten_at = time.monotonic()

    def beat(self, within_s: float | None) -> None:
        """Promises the next beat within so many seconds."""
        self.beaten_at = time.monotonic()
        self.deadline = None if within_s is None else self.beaten_at + within_s


def read_camera(
    camera: Camera,
    queue: FrameQueue,
    options: ReaderOptions,
    stop: threading.Event,
    *,
    report: Callable[[CameraState], None] = lambda _: None,
    heart: Heart | None = None,
) -> CaptureReport:
    """Reads one camera until its recording ends, it can never be read, or `stop` is set.

    Raises nothing that a source can cause: `CaptureReport.error` tells. `report` gets every change of state,
    and the frame rates once a second.
    """
    return CameraReader(camera, queue, options, stop, report=report, heart=heart).run()


class CameraReader:
    """The state of `read_camera`; `outbox` may be flushed from another thread."""

    def __init__(
        self,
        camera: Camera,
        queue: FrameQueue,
        options: ReaderOptions,
        stop: threading.Event,
        *,
        report: Callable[[CameraState], None] = lambda _: None,
        heart: Heart | None = None,
    ) -> None:
        self._camera, self._options, self._stop = camera, options, stop
        use = CameraQueue(camera.model or options.model, camera.policy, camera.max_age_s)
        self.outbox = Outbox(queue, camera.name, use, stop)
        self._activity = ActivityReporter(camera.name, report)
        self._heart = heart or Heart()
        self._source_options = SourceOptions(
            open_timeout_s=options.open_timeout_s,
            stall_timeout_s=options.stall_timeout_s,
            max_side=camera.max_side,
            fps=camera.fps,
            keyframes_only=camera.keyframes_only,
            transport=camera.transport,
            hwaccel=camera.hwaccel,
            loop=camera.loop,
        )
        self._backoff = Backoff(options.reconnect_min_s, options.reconnect_max_s)
        self._refused = Backoff(options.refused_wait_s, LONGEST_REFUSED_WAIT * options.refused_wait_s)
        self._sampler = Sampler(camera.fps)
        self._mask = Mask(camera.masks, camera.areas)
        self._gate = MotionGate(camera.motion_floor_s) if camera.motion else None
        self._stall_timeout_s = options.stall_timeout_s
        self._index = 0
        self._last_captured_at: datetime | None = None

    def run(self) -> CaptureReport:
        error: str | None = None
        try:
            self._read_until_end()
        except (UsageError, SourceLostError) as given_up:
            error = str(given_up)
            self._activity.change(CameraActivity.FAILED, f"failed: {error}", error)
        else:
            if not self.outbox.lease_lost:  # else what the camera does is for the other process to tell
                ended = CameraActivity.STOPPED if self._stop.is_set() else CameraActivity.ENDED
                self._activity.change(ended, f"{ended.value} after {self._index} frames")
        finally:
            self._heart.beat(None)
            self.outbox.close()
        return self.report(error)

    def report(self, error: str | None = None) -> CaptureReport:
        """The account so far."""
        dropped = dict(self.outbox.dropped)
        published = self.outbox.published
        captured, lost = published + sum(dropped.values()), self.outbox.lease_lost
        return CaptureReport(self._camera.name, captured, published, dropped, error, lost)

    def notice_silence(self) -> None:
        """Tells of a camera that sends nothing while its reader waits; for another thread, now and then."""
        silence_s = time.monotonic() - self._heart.beaten_at
        if self._heart.deadline is not None and silence_s > STALLED_AFTER * self._stall_timeout_s:
            self._activity.silent(silence_s)

    def _read_until_end(self) -> None:
        was_open = False
        while not self._stop.is_set():
            asked_at = time.monotonic()
            try:
                with self._connect() as source:
                    was_open = True
                    self._read(source)
                    return
            except SourceLostError as lost:
                if self._options.must_answer and not was_open:
                    raise
                self.outbox.flush()
                self._back_off(lost, time.monotonic() - asked_at)

    def _connect(self) -> FrameSource:
        name = redact_url(self._camera.url)
        self._activity.change(CameraActivity.CONNECTING, f"connecting to {name}")
        # Opening takes up to twice its time-out, and looking up a host's name is not under our control.
        self._heart.beat(2 * self._options.open_timeout_s + 30)
        return open_source(self._camera.url, self._source_options)

    def _back_off(self, lost: SourceLostError, tried_for_s: float) -> None:
        """Waits; what a vain try took counts as part of the wait."""
        refused, live_for_s = isinstance(lost, SourceRefusedError), self._activity.live_for_s
        if live_for_s > 0:
            self._refused.reset()
        if live_for_s > HEALTHY_AFTER_S:
            self._backoff.reset()
        wait_s = (self._refused if refused else self._backoff).next_s()
        if live_for_s == 0 and not refused:
            wait_s = max(self._options.reconnect_min_s / 2, wait_s - tried_for_s)
        activity = CameraActivity.REFUSED if refused else CameraActivity.BACKING_OFF
        self._activity.change(activity, f"lost: {lost}; trying again in {wait_s:.1f} s", str(lost))
        self._heart.beat(None)
        self._stop.wait(wait_s)

    def _read(self, source: FrameSource) -> None:
        self._activity.opened(recorded=source.recorded)
        self._stall_timeout_s = source.stall_timeout_s or self._options.stall_timeout_s
        silence_s = None if source.recorded else 2 * self._stall_timeout_s + 10
        self._heart.beat(silence_s)
        for frame in source:
            if self._stop.is_set():
                return
            self._heart.beat(None)  # Redis may keep us waiting
            if not (frame.is_damaged or frame.is_left_out):
                self._note_live(source)
            self._take(frame, recorded=source.recorded)
            self._activity.frame_captured(frame.captured_at, self.outbox.published, source.clock)
            self._heart.beat(silence_s)

    def _note_live(self, source: FrameSource) -> None:
        """A camera is live when a picture comes, not when it answers."""
        if self._activity.state.activity is CameraActivity.CONNECTING:
            self._activity.change(CameraActivity.LIVE, f"live ({source.format})")

    def _take(self, source_frame: SourceFrame, *, recorded: bool) -> None:
        if source_frame.is_left_out:
            self._index += 1
            self.outbox.count(DropReason.SAMPLED_OUT)
            return
        index, captured_at = self._next_identity(source_frame.captured_at)
        if source_frame.is_damaged:
            self._note_corrupt()
            return
        if not self._sampler.takes(captured_at):
            self.outbox.count(DropReason.SAMPLED_OUT)
            return
        try:
            image, source_size = source_frame.image, source_frame.source_size
        except CorruptFrameError:
            self._note_corrupt()
            return
        self._mask.paint(image)
        if self._gate is not None and not self._gate.passes(image, captured_at):
            self.outbox.count(DropReason.NO_MOTION)
            return
        frame = Frame(self._camera.name, index, captured_at, image, source_size)
        self.outbox.send(
            encode_frame(
                frame,
                self._options.jpeg_quality,
                recorded=recorded,
                classes=self._camera.classes,
                min_score=self._camera.min_score,
                evidence=self._camera.evidence,
            )
        )

    def _note_corrupt(self) -> None:
        self._activity.frame_corrupt()
        self.outbox.count(DropReason.CORRUPT)

    def _next_identity(self, captured_at: datetime) -> tuple[int, datetime]:
        """The frame's index and a time later than the last one's, over all connections."""
        if self._last_captured_at is not None:
            captured_at = max(captured_at, self._last_captured_at + _TICK)
        self._last_captured_at = captured_at
        index, self._index = self._index, self._index + 1
        return index, captured_at
