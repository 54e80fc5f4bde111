"""Sources to their end through the whole pipeline, with every frame accounted for."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.ingest_service import make_supervisor
from app.local_stack import LocalStack, local_stack, stop_on_signals
from app.model_catalogue import require_model
from app.run_account import CameraAccount, RunAccounts, RunSummary, sum_ledgers
from app.run_progress import Progress, ProgressDisplay
from app.source_list import RunSource, inspect_sources
from core.errors import DatabaseUnavailableError, FramewatchError, QueueUnavailableError, UsageError
from core.settings import Settings
from core.types import Camera, Ledger
from workers.ledger_flush import flush_ledger

LOOK_EVERY_S = 0.1
DRAIN_AFTER_STOP_S = 15.0
"""After Ctrl-C workers get so long for the frames that wait; a second Ctrl-C ends at once."""
FLUSH_TRIES_S = 30.0
"""Redis or SQL may be restarting at the very end."""
NO_WORKER_HINT_S = 5.0


class StalledRunError(FramewatchError):
    """A run that cannot come to its end."""


class PipelineRun:
    """One run: reads sources, watches workers, and adds up."""

    def __init__(
        self,
        stack: LocalStack,
        sources: Sequence[RunSource],
        display: ProgressDisplay,
        live_seconds: float | None,
    ) -> None:
        self._stack, self._sources, self._display = stack, sources, display
        self._live_seconds = live_seconds
        self._supervisor = make_supervisor(stack.settings, must_answer=True)
        self._accounts = RunAccounts(sources, stack.queue, stack.database)
        counts = [source.frames for source in sources]
        self._expected = sum(count or 0 for count in counts) if all(counts) else None
        self._ledgers: list[Ledger] = self._accounts.ledgers()
        self._started = self._heard_redis = time.monotonic()
        self._start_up_s: float | None = None

    def run(self, stop: threading.Event) -> RunSummary:
        """Runs until all is stored, or `stop`. Raises FramewatchError when it cannot come to its end."""
        self._stack.workers.start()
        self._supervisor.set_cameras([source.camera for source in self._sources])
        try:
            self._read(stop)
        finally:
            self._supervisor.stop()
        self._drain(stop)
        seconds = time.monotonic() - self._started
        self._stack.workers.stop()
        self._flush()
        return self._summarize(seconds, interrupted=stop.is_set())

    def _read(self, stop: threading.Event) -> None:
        while not self._supervisor.all_ended and not stop.is_set():
            if self._live_seconds is not None and self._reading_s() > self._live_seconds:
                return
            self._supervisor.look()
            self._look()
            stop.wait(LOOK_EVERY_S)

    def _drain(self, stop: threading.Event) -> None:
        """Waits until no frame is on its way; after `stop` only for a while."""
        deadline = float("inf")
        swept_at = 0.0
        while not self._look() or any(ledger.in_flight for ledger in self._ledgers):
            if stop.is_set():
                deadline = min(deadline, time.monotonic() + DRAIN_AFTER_STOP_S)
            if time.monotonic() > deadline:
                return
            if time.monotonic() - swept_at > 1.0:
                swept_at = time.monotonic()
                self._sweep()
            time.sleep(LOOK_EVERY_S)

    def _reading_s(self) -> float:
        """Seconds since frames can be stored: a live demo must not end while the workers load their model."""
        return 0.0 if self._start_up_s is None else self._age_s - self._start_up_s

    def _sweep(self) -> None:
        """Gives back frames of dead workers; the supervisor does it while cameras are read."""
        try:
            for model in self._stack.workers.models:
                self._stack.queue.sweep(model)
        except QueueUnavailableError:
            return

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._started

    def _look(self) -> bool:
        """One look at workers and accounts, shown; False when Redis is away just now."""
        for event in self._stack.workers.check():
            self._display.say(event)
        try:
            self._ledgers = self._accounts.ledgers()
            note = self._waiting_for()
        except QueueUnavailableError as error:
            silent_s = time.monotonic() - self._heard_redis
            if silent_s > self._stack.settings.broker_lost_exit_s:
                raise StalledRunError(f"{error}; it has been away for {silent_s:.0f} s") from error
            self._display.show(self._progress("Redis is away; waiting for it"))
            return False
        self._heard_redis = time.monotonic()
        self._display.show(self._progress(note))
        return True

    def _progress(self, note: str) -> Progress:
        total = sum_ledgers("all", self._ledgers)
        return Progress(
            captured=total.captured,
            in_flight=total.in_flight,
            settled=total.stored + total.dropped_total,
            stored=total.stored,
            detections=0 if self._display.quiet else self._accounts.detections(),
            expected=self._expected,
            note=note,
        )

    def _waiting_for(self) -> str:
        """What holds the run up, for people. Raises QueueUnavailableError."""
        if self._start_up_s is not None:
            return ""
        if any(ledger.stored for ledger in self._ledgers) or self._stack.queue.workers():
            self._start_up_s = self._age_s
            return ""
        if self._stack.workers.running:
            return "workers are loading the model"
        if self._age_s < NO_WORKER_HINT_S:
            return ""
        model = self._stack.settings.model_name
        return f"no worker serves {model} yet; start one with `framewatch worker`"

    def _flush(self) -> None:
        deadline = time.monotonic() + FLUSH_TRIES_S
        while True:
            try:
                flush_ledger(self._stack.queue, self._stack.database)
                return
            except (QueueUnavailableError, DatabaseUnavailableError) as error:
                if time.monotonic() > deadline:
                    self._display.say(f"warning: the frame ledger could not be copied to SQL: {error}")
                    return
                time.sleep(0.5)

    def _summarize(self, seconds: float, *, interrupted: bool) -> RunSummary:
        errors = {report.camera: report.error for report in self._supervisor.reports()}
        last = {state.camera: state.last_frame_at for state in self._supervisor.states()}
        accounts = [
            CameraAccount(
                ledger=ledger,
                detections=self._accounts.count_rows(ledger.camera, last.get(ledger.camera)),
                error=errors.get(ledger.camera),
            )
            for ledger in self._ledgers
        ]
        return RunSummary(
            cameras=tuple(accounts),
            seconds=seconds,
            start_up_s=self._start_up_s or 0.0,
            database_url=self._stack.database.label,
            errors=tuple(account.error for account in accounts if account.error is not None),
            interrupted=interrupted,
        )


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as a person asks for it."""

    cameras: Sequence[Camera]
    workers: int = 1
    quiet: bool = False
    """Show no progress."""
    live_seconds: float | None = None
    """Live sources are read for so long; None: until Ctrl-C."""


def run_sources(request: RunRequest, settings: Settings) -> RunSummary:
    """Runs sources to their end; `RunSummary.errors` tells which could not be read, wholly or in part.

    Raises UsageError when no source can be read or nothing can be started, and FramewatchError when the run
    cannot come to its end.
    """
    sources, wrong = inspect_sources(request.cameras)
    if not sources:
        raise UsageError("; ".join(wrong))
    require_model(settings.model_name)
    with (
        stop_on_signals() as stop,
        local_stack(
            settings, request.workers, [settings.model_name], keep_dir=None, embed=request.workers > 0
        ) as stack,
        ProgressDisplay(request.quiet) as display,
    ):
        summary = PipelineRun(stack, sources, display, request.live_seconds).run(stop)
    return replace(summary, errors=(*wrong, *summary.errors))
