"""Everything on this machine until it is stopped: Redis, cameras, workers."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.text import Text

from app.cameras_file import apply_plan, describe_changes, plan_changes, read_cameras
from app.ingest_service import flush_at_the_end, shared_supervisor
from app.local_stack import LocalStack, local_stack, prepare_folder, stop_on_signals
from app.model_catalogue import require_model
from app.options import is_given
from app.run_account import sum_ledgers
from app.running import announce_redis, sole_running
from app.status import Status, look, render_status
from app.tables import stdout
from core.errors import DatabaseUnavailableError, QueueUnavailableError, UsageError
from core.redis_client import redis_errors
from core.settings import Settings
from core.types import Camera
from ingest.supervisor import Supervisor
from storage.cameras import list_cameras
from storage.database import Database

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 0.1
RELOAD_EVERY_S = 0.5
RESTART_EVERY_S = 5.0
"""Between two tries to start an embedded Redis that ended, or workers that refuse what they served."""
SHOW_EVERY_S = 1.0
PLAIN_EVERY_S = 10.0


def run_until_stopped(settings: Settings, cameras_file: Path | None, workers: int) -> None:
    """Runs until SIGINT or SIGTERM. Raises UsageError in one line for what cannot be started.

    Cameras of the file are added or changed first; none is removed.
    """
    wanted = read_cameras(cameras_file) if cameras_file is not None else []
    require_model(settings.model_name)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        prepare_folder(settings.data_dir)
        stack.enter_context(sole_running(settings.data_dir))
        pipeline = stack.enter_context(local_stack(settings, workers, [], settings.data_dir / "redis"))
        if not is_given(settings, "redis_url"):
            announce_redis(settings.data_dir, pipeline.settings.redis_url)
        apply_cameras(pipeline.database, wanted)
        supervisor = stack.enter_context(
            shared_supervisor(pipeline.settings, pipeline.queue, pipeline.database)
        )
        LocalFleet(pipeline, supervisor).run(stop)


def apply_cameras(database: Database, wanted: Sequence[Camera]) -> None:
    """Adds and changes cameras, and says so."""
    if wanted:
        plan = plan_changes(list_cameras(database), wanted, prune=False)
        for line in describe_changes(plan):
            LOG.info("%s", line)
        apply_plan(database, plan)


_Stamp = tuple[int, int] | None
"""Time and size of a weights file; None where there is none."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether a model can be served, as its file was then."""

    stamp: _Stamp
    good: bool


def _stamp(model: str) -> _Stamp:
    try:
        found = Path(model).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


class LocalFleet:
    """Cameras and workers of one machine, looked after in one loop."""

    def __init__(self, stack: LocalStack, supervisor: Supervisor) -> None:
        self._stack, self._supervisor = stack, supervisor
        self._reloaded_at, self._shown_at = float("-inf"), time.monotonic()
        self._restart_redis_at = float("-inf")
        self._restart_workers_at = float("-inf")
        self._served: list[str] = []
        self._known_good: set[str] = set()
        """Models with which a worker of this fleet reported for duty."""
        self._verdicts: dict[str, _Verdict] = {}
        self._away: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then cameras first, so that the workers' last batches are the last frames."""
        console = stdout()
        live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        with ExitStack() as shown:
            if live is not None:
                shown.enter_context(live)
            try:
                while not stop.is_set():
                    self._turn(live)
                    stop.wait(LOOK_EVERY_S)
            finally:
                self._supervisor.stop()
                self._stack.workers.stop()
                flush_at_the_end(self._stack.queue, self._stack.database)

    def _turn(self, live: Live | None) -> None:
        now = time.monotonic()
        try:
            if now - self._reloaded_at >= RELOAD_EVERY_S:
                self._reloaded_at = now
                self._reload()
                self._require_redis()
                self._look_after_workers()
                self._away = None
            self._supervisor.look()
            if now - self._shown_at >= (SHOW_EVERY_S if live is not None else PLAIN_EVERY_S):
                self._shown_at = now
                self._show(live)
        except (QueueUnavailableError, DatabaseUnavailableError) as error:
            if self._away is None:
                LOG.warning("%s; waiting for it", error)
            self._away = str(error)

    def _require_redis(self) -> None:
        """Raises QueueUnavailableError while Redis is away; an embedded one that ended is started again."""
        server = self._stack.server
        if server is not None and server.pid is None and time.monotonic() >= self._restart_redis_at:
            self._restart_redis_at = time.monotonic() + RESTART_EVERY_S
            LOG.warning("the embedded Redis has ended; starting it again on its data")
            server.start()
        with redis_errors():
            self._stack.redis.ping()

    def _look_after_workers(self) -> None:
        """Only while Redis and the database answer: a worker that starts without them ends at once."""
        if time.monotonic() < self._restart_workers_at:
            return
        self._stack.workers.serve(self._served)
        try:
            for event in self._stack.workers.check():
                LOG.warning("%s", event)
        except UsageError as error:
            self._go_on_without(error)
        if not self._known_good.issuperset(self._served):
            own = set(self._stack.workers.process_ids())
            beats = self._stack.queue.workers()
            self._known_good.update(*(beat.models for beat in beats if beat.pid in own))

    def _go_on_without(self, error: UsageError) -> None:
        """Leaves out the models that a worker refused: the one that the error names, else all that are new.

        Raises the error when that is the default one, and no worker ever served it.
        """
        workers, default = self._stack.workers, self._stack.settings.model_name
        new = [model for model in workers.models if model not in self._known_good]
        named = [model for model in workers.models if str(error).startswith(f"{model}:")]
        refused = [model for model in named or new if model != default]
        if not refused and default in new:
            raise error
        workers.stop()
        for model in refused:
            self._refuse(model, _stamp(model), error)
        if not refused:
            LOG.error("%s; starting the workers again in %g s", error, RESTART_EVERY_S)
            self._restart_workers_at = time.monotonic() + RESTART_EVERY_S

    def _reload(self) -> None:
        """Follows the database: its cameras, and the models that they name."""
        cameras = list_cameras(self._stack.database, enabled_only=True)
        default = self._stack.settings.model_name
        models = sorted({default, *(camera.model for camera in cameras if camera.model)})
        self._served = [model for model in models if self._can_be_served(model)]
        self._verdicts = {model: self._verdicts[model] for model in models}
        readable = [camera for camera in cameras if (camera.model or default) in self._served]
        self._supervisor.set_cameras(readable)

    def _can_be_served(self, model: str) -> bool:
        """Whether neither we nor a worker refuse it; asked anew when its file changes."""
        stamp = _stamp(model)
        if model not in self._verdicts or self._verdicts[model].stamp != stamp:
            self._verdicts[model] = _Verdict(stamp, good=True)
            try:
                require_model(model)
            except UsageError as error:
                self._refuse(model, stamp, error)
        return self._verdicts[model].good

    def _refuse(self, model: str, stamp: _Stamp, error: UsageError) -> None:
        LOG.error("cameras of model %s are not read: %s", model, error)
        self._verdicts[model] = _Verdict(stamp, good=False)

    def _show(self, live: Live | None) -> None:
        stack = self._stack
        status = look(stack.settings, stack.redis, stack.queue, stack.database)
        if live is not None:
            live.update(render_status(status, width=live.console.width), refresh=True)
        else:
            stdout().print(Text(describe(status)))


def describe(status: Status) -> str:
    """One line about a fleet, for logs."""
    live = sum(status.describe_state(name) == "live" for name in status.camera_names())
    total = sum_ledgers("all", status.ledgers)
    return (
        f"{live} of {len(status.camera_names())} cameras live, {len(status.workers)} workers, "
        f"captured {total.captured}, stored {total.stored}, dropped {total.dropped_total}, "
        f"in flight {total.in_flight}"
    )
