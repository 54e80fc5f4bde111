"""The Celery application: `celery -A workers.app worker`, `celery -A workers.app inspect ping`, Flower.

Importing it reads the settings and nothing more; torch and the weights come when a worker starts.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from celery import Celery, signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.utils.imports import cwd_in_path

from core.errors import SettingsError, UsageError
from core.process_memory import keep_freed_memory
from core.settings import Settings, load_settings
from workers.bell import bell_queue, model_of_queue, transport_options
from workers.broker import use_patient_transport
from workers.identity import Service, WorkerIdentity
from workers.tasks import answer_bells_with

USAGE_EXIT_CODE = 2

logger = logging.getLogger(__name__)


MakeService = Callable[[Settings, WorkerIdentity], Service]


def _make_service(settings: Settings, identity: WorkerIdentity) -> Service:
    # Late, so that `inspect ping` and Flower start without torch. Celery has the working directory on
    # sys.path only while it imports this module, hence the context.
    with cwd_in_path():
        from workers.service import WorkerService
    return WorkerService.from_settings(settings, identity)


def create_app(settings: Settings, make_service: MakeService = _make_service) -> Celery:
    """A Celery app whose workers run the service that `make_service` builds when they start."""
    use_patient_transport()
    app = Celery("framewatch", broker=settings.redis_url, include=["workers.tasks"], set_as_current=False)
    app.conf.update(
        broker_transport_options=transport_options(settings.namespace),
        broker_connection_retry_on_startup=True,
        # The service ends a worker that has lost its broker, after broker_lost_exit_s.
        broker_connection_max_retries=None,
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=bell_queue(settings.model_name),
        # Late, with a prefetch of 1: a worker takes no bell that it has no free slot for.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # Threads: CUDA does not survive a fork, and the slots share one copy of the model.
        worker_pool="threads",
        worker_concurrency=settings.worker_concurrency,
        worker_send_task_events=True,
        task_track_started=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    _Hooks(app, settings, make_service).connect()
    return app


@dataclass
class _Hooks:
    """Ties the life of the service to Celery's signals, for the workers of one app."""

    app: Celery
    settings: Settings
    make_service: MakeService
    service: Service | None = None

    def connect(self) -> None:
        """Celery's signals reach every app of a process, so each receiver looks whose they are."""
        signals.worker_init.connect(self.on_init, weak=False)
        signals.worker_ready.connect(self.on_ready, weak=False)
        signals.worker_shutting_down.connect(self.on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self.on_shutdown, weak=False)
        signals.after_setup_logger.connect(_quieten_bells, weak=False)

    def on_init(self, sender: Any, **_: Any) -> None:
        """Loads the detector, before there is any pool; a wrong setting is one line and exit code 2."""
        if sender.app is not self.app:
            return
        keep_freed_memory()  # before any thread, for threads that are here already have memory of their own
        try:
            _refuse_processes(sender.pool_cls)
            models = _models_of_queues(self.app.amqp.queues.consume_from)
            identity = WorkerIdentity.of_this_process(int(sender.concurrency), models)
            self.service = service = self.make_service(self.settings, identity)
        except UsageError as error:
            exit_for_wrong_use(error)
        except Exception:  # Celery would log it and run on with a worker that detects nothing
            logger.exception("the worker cannot start")
            raise SystemExit(1) from None
        answer_bells_with(service.answer)

    def on_ready(self, sender: Any, **_: Any) -> None:
        if self.service and sender.app is self.app:
            self.service.open()

    def on_shutting_down(self, **_: Any) -> None:
        if self.service:
            self.service.stop()

    def on_shutdown(self, sender: Any, **_: Any) -> None:
        if self.service and sender.app is self.app:
            answer_bells_with(None)
            self.service.close()
            self.service = None


def _quieten_bells(**_: Any) -> None:
    """Celery logs two lines per task, here one or two bells per second and slot."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _models_of_queues(queues: Iterable[str]) -> list[str]:
    """Models of the queues that `--queues` chose, or of the one of the settings."""
    models = [model for queue in queues if (model := model_of_queue(queue)) is not None]
    if not models:
        raise SettingsError(
            f"celery worker: expected --queues such as {bell_queue('MODEL')}, got {', '.join(queues)}"
        )
    return models


def _refuse_processes(pool: type) -> None:
    if isinstance(pool, type) and issubclass(pool, PreforkPool):
        raise SettingsError(
            "celery worker: expected --pool threads (the default of this app) or solo, got prefork: "
            "a model on a GPU does not survive a fork"
        )


def exit_for_wrong_use(error: UsageError) -> NoReturn:
    """One line on stderr and exit code 2, where Celery would print a traceback."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(USAGE_EXIT_CODE)


def run_worker(settings: Settings, arguments: Sequence[str] = ()) -> int:
    """Runs one worker until SIGTERM or SIGINT; its exit code. Raises SystemExit for wrong use.

    `arguments` are further ones of `celery worker`. Leaves out gossip and mingle, which the frame queue
    has no use for and which delay the start by a second.
    """
    exit_codes: list[int | None] = []  # Celery's `worker_main` swallows it

    def note_exit_code(sender: Any, **_: Any) -> None:
        exit_codes.append(sender.exitcode)

    signals.worker_shutdown.connect(note_exit_code)
    create_app(settings).worker_main(
        ["worker", f"--loglevel={settings.log_level}", "--without-gossip", "--without-mingle", *arguments]
    )
    return next((code for code in exit_codes if code), 0)


try:
    app = create_app(load_settings())
except (
    SettingsError
) as wrong_setting:  # `celery -A` and Flower import this module and would print a traceback
    exit_for_wrong_use(wrong_setting)
