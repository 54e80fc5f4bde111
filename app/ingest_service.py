"""The ingest service: the cameras of the database, followed while they change."""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import CollectorRegistry

from app.camera_journal import CameraJournal
from app.database_access import opened_database
from app.ledger_copy import LedgerCopy
from app.local_stack import stop_on_signals
from app.metrics import CameraCollector, LedgerCollector, make_registry, serving_metrics
from app.queue_access import opened_queue, with_redis_url
from core.camera_leases import CameraLeases
from core.errors import FramewatchError
from core.frame_queue import FrameQueue
from core.redis_client import make_redis
from core.settings import Settings
from core.types import Ledger
from ingest.lease_keeper import LeaseKeeper
from ingest.messages import IngestOptions
from ingest.supervisor import Supervisor
from storage.cameras import list_cameras
from storage.database import Database
from workers.bell import ring
from workers.ledger_flush import flush_ledger

LOG = logging.getLogger(__name__)


def ingest_until_stopped(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then stops every camera in order.

    Raises UsageError when Redis or the database do not answer at the start; later outages are waited for.
    """
    settings = with_redis_url(settings)
    with opened_queue(settings) as queue, opened_database(settings) as database, stop_on_signals() as stop:
        with (
            shared_supervisor(settings, queue, database) as supervisor,
            serving_metrics(ingest_metrics(supervisor, queue), settings.metrics_port, settings.metrics_host),
        ):
            LOG.info("watching the cameras of %s", database.label)
            supervisor.run(partial(list_cameras, database, enabled_only=True), stop)
        flush_at_the_end(queue, database)


@contextlib.contextmanager
def shared_supervisor(settings: Settings, queue: FrameQueue, database: Database) -> Iterator[Supervisor]:
    """A supervisor that shares the cameras with every other one of the fleet.

    It copies the frame ledger to SQL, writes there what happens to its cameras, and clears away what Redis
    keeps of removed ones. Stop it within the block.
    """
    with (
        contextlib.closing(CameraJournal(database)) as journal,
        contextlib.closing(LedgerCopy(queue, database, settings.ledger_flush_s)),
    ):
        keeper = LeaseKeeper(
            CameraLeases(
                make_redis(settings.redis_url), settings.namespace, process_name(), settings.camera_lease_s
            )
        )
        yield Supervisor(
            IngestOptions.from_settings(settings, settings.model_name),
            _bell(settings),
            leases=keeper,
            on_event=journal.note,
        )


def ingest_metrics(supervisor: Supervisor, queue: FrameQueue) -> CollectorRegistry:
    """What belongs to the cameras that this process reads; other processes tell of theirs."""

    def own_ledgers() -> list[Ledger]:
        own = {state.camera for state in supervisor.states()}
        return [ledger for ledger in queue.ledgers() if ledger.camera in own]

    return make_registry(CameraCollector(supervisor.states), LedgerCollector(own_ledgers))


def process_name() -> str:
    """A name for this ingest process that no other has, also after a restart under the same process id."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


def make_supervisor(settings: Settings, *, must_answer: bool = False) -> Supervisor:
    """A supervisor for cameras that no other process reads, without cameras yet."""
    options = IngestOptions.from_settings(settings, settings.model_name, must_answer=must_answer)
    return Supervisor(options, _bell(settings))


def _bell(settings: Settings) -> Callable[[str], None]:
    return partial(ring, redis_url=settings.redis_url, namespace=settings.namespace)


def flush_at_the_end(queue: FrameQueue, database: Database) -> None:
    """One try; what is not copied stays on Redis for the next process."""
    try:
        flush_ledger(queue, database)
    except FramewatchError as error:
        LOG.warning("the frame ledger stays on Redis: %s", error)
