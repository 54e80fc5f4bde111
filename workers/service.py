"""One worker process: its detectors, its threads and its drains, from the first bell to the last."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue

from celery.utils.imports import cwd_in_path

from core.errors import (
    DatabaseUnavailableError,
    DeviceLostError,
    QueueUnavailableError,
    UsageError,
)
from core.frame_queue import FrameQueue
from core.live_view import LiveView
from core.queue_types import QueueLimits, WorkerBeat
from core.redis_client import make_redis
from core.settings import Settings
from core.types import WeightsInfo
from models.detector import Detector, load_detector
from models.device import choose_device
from storage.database import Database, open_database
from storage.evidence_files import EvidenceFiles
from storage.writer import Writer
from workers import metrics
from workers.backoff import backoff_delays
from workers.bell import ring
from workers.context import WorkerContext
from workers.decoding import DecodeFrames, JpegDecoder
from workers.device_decoding import DeviceJpegDecoder, can_decode_on
from workers.evidence import EvidenceKeeper
from workers.identity import WorkerIdentity
from workers.inference import Inference
from workers.keeper import Keeper
from workers.ledger_flush import LedgerFlusher, OncePerFleet
from workers.live_feed import LiveFeed
from workers.pipeline import Pipeline, Stages
from workers.storing import AfterStoring, ResultWriter, Store
from workers.watchdog import Watchdog, exit_at_once

REFUSED_AT_ONCE = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker is made of; a measurement may put something else in the place of each."""

    queue: FrameQueue
    load: Callable[[str], Detector]
    """Detector of a weights name or file; raises UsageError."""
    decode: DecodeFrames
    writer: ResultWriter
    device: str
    """Shown by `framewatch status`."""
    database: Database | None = None
    """Where the frame ledger goes; None: it stays on Redis."""
    pictures: EvidenceFiles | None = None
    """Where evidence goes; None: no pictures are kept."""


def make_parts(settings: Settings) -> Parts:
    """The parts of a worker as it runs: real detectors, JPEG, and a database with its schema up to date.

    Waits for the database. Raises UsageError for a URL or a schema that cannot work.
    """

    def load(model: str) -> Detector:
        with cwd_in_path():  # Celery has it only while it loads the app, and some detectors import late
            return load_detector(
                model,
                settings.device,
                settings.precision.value,
                compile=settings.compile,
                score_threshold=settings.score_threshold,
                canvas=settings.canvas_size,
            )

    database = open_database(settings.database_url)
    pictures = EvidenceFiles(settings.evidence_location)
    queue = make_queue(settings)
    _upgrade_patiently(database)
    device = choose_device(settings.device)
    decode: DecodeFrames = JpegDecoder(settings.decode_threads)
    if can_decode_on(device):
        decode = DeviceJpegDecoder(device, decode)
    return Parts(queue, load, decode, Writer(database), str(device), database, pictures)


def make_queue(settings: Settings) -> FrameQueue:
    """The fleet's frame queue, which rings Celery's bells. Raises SettingsError for a wrong URL."""
    bell = partial(ring, redis_url=settings.redis_url, namespace=settings.namespace)
    limits = QueueLimits.from_settings(settings)
    return FrameQueue(make_redis(settings.redis_url), limits, settings.namespace, bell)


def _upgrade_patiently(database: Database) -> None:
    for delay_s in backoff_delays(0.5, 10.0):
        try:
            with cwd_in_path():  # Alembic imports the migrations
                database.upgrade()
            return
        except DatabaseUnavailableError as error:
            logger.warning("waiting for the database: %s", error)
            threading.Event().wait(delay_s)


class WorkerService:
    """Answers bells with drains; its models are loaded and warm when the constructor returns."""

    def __init__(self, settings: Settings, identity: WorkerIdentity, parts: Parts) -> None:
        self._settings = settings
        self._identity = identity
        self._parts = parts
        self._started_at = datetime.now(UTC)
        self._takes_bells = False
        self._loading = threading.Lock()
        self._pipelines: dict[str, Pipeline] = {}
        self._consumers: SimpleQueue[str] = SimpleQueue()
        for consumer in identity.consumers:
            self._consumers.put(consumer)
        self._context = WorkerContext(parts.queue, Watchdog(settings.batch_timeout_s))
        limits = QueueLimits.from_settings(settings)
        self._keeper = Keeper(self._context, limits, self._describe, settings.broker_lost_exit_s)
        self._flusher = None
        if parts.database is not None:
            turn = OncePerFleet(make_redis(settings.redis_url), f"{settings.namespace}:ledger-flush")
            self._flusher = LedgerFlusher(parts.queue, parts.database, turn, settings.ledger_flush_s)
        self._evidence = None
        if parts.database is not None and parts.pictures is not None:
            self._evidence = EvidenceKeeper(parts.database, parts.pictures)
        self._live = LiveFeed(LiveView(make_redis(settings.redis_url), settings.namespace))
        for model in identity.models:
            self._pipeline(model)
        self._keeper.start()

    @classmethod
    def from_settings(cls, settings: Settings, identity: WorkerIdentity) -> "WorkerService":
        """A service with real parts. Raises UsageError for what a person must put right."""
        return cls(settings, identity, make_parts(settings))

    def open(self) -> None:
        """Reports for duty; Celery brings bells from now on."""
        self._takes_bells = True
        if self._flusher:
            self._flusher.start()

    def answer(self, model: str) -> None:
        """Drains `model` for a slice of time, in the thread of one slot."""
        self._keeper.heard_bell()
        consumer = self._consumers.get()
        try:
            self._drain(model, consumer)
        except DeviceLostError as error:
            exit_at_once(f"{error}; this worker exits, its frames are back on the queue")
        finally:
            self._consumers.put(consumer)

    def stop(self) -> None:
        """Drains finish the batch in hand and claim no more."""
        self._context.stopping.set()

    def close(self) -> None:
        """Signs off, after the last drain."""
        self.stop()
        self._keeper.close()
        if self._flusher:
            self._flusher.close()
        if self._evidence:
            self._evidence.close()
        self._parts.writer.close()
        with suppress(QueueUnavailableError):  # then the queue forgets a silent worker by itself
            self._context.queue.retire(self._identity.worker, self._identity.consumers)
        self._context.watchdog.close()
        if self._parts.database:
            self._parts.database.close()

    def _drain(self, model: str, consumer: str) -> None:
        try:
            pipeline = self._pipeline(model)
        except UsageError as error:
            self._refuse(model, consumer, error)
            return
        try:
            pipeline.drain(consumer)
        except UsageError as error:
            exit_at_once(f"{error}; this worker exits, its frames are back on the queue")

    def _pipeline(self, model: str) -> Pipeline:
        """The pipeline of a model, whose detector is loaded on first use and then shared by all slots."""
        with self._loading:
            if model not in self._pipelines:
                self._pipelines[model] = self._load(model)
            return self._pipelines[model]

    def _load(self, model: str) -> Pipeline:
        detector = self._parts.load(model)
        batch_size = self._settings.batch_size
        inference = Inference(detector, self._context.watchdog, batch_size)
        inference.warm_up()
        slots = len(self._identity.consumers)
        metrics.INFO.labels(model, self._parts.device, str(batch_size), str(slots)).set(1)
        weights = WeightsInfo(detector.name, detector.sha256, detector.categories)
        stages = Stages(
            self._parts.decode,
            inference,
            Store(model, self._context, self._parts.writer, weights, after=self._after_storing(weights)),
        )
        return Pipeline(model, self._context, stages, self._settings.drain_slice_s)

    def _after_storing(self, weights: WeightsInfo) -> list[AfterStoring]:
        acts: list[AfterStoring] = [self._live.publish]
        if self._evidence:
            acts.append(partial(self._evidence.offer, weights))
        return acts

    def _refuse(self, model: str, consumer: str, error: UsageError) -> None:
        """Fails the waiting frames of a model that cannot be loaded, until they are dead letters."""
        logger.error("frames of %s fail: %s", model, error)
        queue = self._context.queue
        with suppress(QueueUnavailableError):
            bell = queue.answer_bell(model, consumer)
            if bell is None:
                return
            while claimed := queue.claim(model, consumer, REFUSED_AT_ONCE, 0.0, bell=bell):
                for one in claimed:
                    queue.fail(model, one, str(error))
            queue.leave_bell(bell)

    def _describe(self) -> WorkerBeat | None:
        if not self._takes_bells:
            return None
        pipelines = dict(self._pipelines)  # another slot may load a model meanwhile
        return WorkerBeat(
            worker=self._identity.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            models=tuple(pipelines),
            device=self._parts.device,
            slots=len(self._identity.consumers),
            batch_size=self._settings.batch_size,
            started_at=self._started_at,
            frames_done=sum(pipeline.frames_done for pipeline in pipelines.values()),
        )
