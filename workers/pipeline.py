"""Claimed frames -> pictures -> detections -> committed rows -> acknowledged; plain Python without Celery."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from core.errors import (
    DatabaseUnavailableError,
    DeviceLostError,
    InferenceError,
    QueueUnavailableError,
    UsageError,
)
from core.queue_types import Bell, ClaimedFrame
from core.types import Detections, DropReason, FrameResult, QueuedFrame
from models.preprocessing import Picture
from workers import metrics
from workers.context import WorkerContext
from workers.decoding import DecodeFrames
from workers.device import Turn
from workers.inference import Inference
from workers.storing import Done, Store

BLOCK_S = 0.1
"""How long a claim waits for a frame; a worker that shall stop looks up this often."""
CLAIM_DELAY_S = 0.06
"""Well below the 100 ms within which every frame shall be in some drain's hands."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stages:
    """The parts that a batch passes through; the drains of one process and model share them."""

    decode: DecodeFrames
    inference: Inference
    store: Store


class Pipeline:
    """The drains of one model in one process; each slot's thread may run one."""

    def __init__(self, model: str, context: WorkerContext, stages: Stages, slice_s: float) -> None:
        self._model = model
        self._context = context
        self._queue = context.queue
        self._stages = stages
        self._slice_s = slice_s
        self._backlog = False
        self.frames_done = 0

    def drain(self, consumer: str) -> None:
        """Answers one bell: works off waiting frames of all cameras in batches, for a slice of time.

        `consumer` names the slot in the queue's groups. Raises DeviceLostError when the device is gone, and
        UsageError when a person must put the database right; the frames in hand have been given back. Other
        faults end the drain with a line in the log.
        """
        try:
            while bell := self._queue.answer_bell(self._model, consumer):
                # A server whose memory is full takes no bell: only whoever drains already can empty it.
                if self._hold(bell) or self._context.stopping.is_set():
                    return
        except QueueUnavailableError as error:  # the bell times out, and the sweep rings again
            logger.warning("drain of %s ended: %s", self._model, error)

    def _hold(self, bell: Bell) -> bool:
        """Drains for a slice; False if frames still wait and no bell could be rung for them."""
        served = rung = False
        try:
            with self._context.hands.bell(bell):
                self._drain_slice(bell)
            served = True
        except DatabaseUnavailableError as error:
            logger.error("drain of %s ended, its frames are back on the queue: %s", self._model, error)
        finally:
            rung = self._queue.leave_bell(bell, quietly=not served)
        return rung

    def _drain_slice(self, bell: Bell) -> None:
        until = time.monotonic() + self._slice_s
        while time.monotonic() < until and not self._context.stopping.is_set():
            with self._context.device.turn(BLOCK_S) as turn:
                if turn is None:
                    continue
                claimed = self._isolate_suspect(self._claim(bell, turn), turn)
                if claimed:
                    self._work_on(claimed, turn)

    def _claim(self, bell: Bell, turn: Turn) -> list[ClaimedFrame]:
        """The next batch; without a backlog when the device is free or soon will be, for frames to join."""
        if not self._backlog:
            turn.wait_for_device(CLAIM_DELAY_S)
        most = self._stages.inference.most_frames
        claimed = self._queue.claim(self._model, bell.consumer, most, BLOCK_S, bell=bell)
        self._backlog = len(claimed) >= most
        return claimed

    def _isolate_suspect(self, claimed: Sequence[ClaimedFrame], turn: Turn) -> Sequence[ClaimedFrame]:
        """A frame that comes again is worked on alone, with nothing else in this process' hands.

        If it kills this process as it may have killed the last one, no other frame is buried with it.
        """
        suspect = next((one for one in claimed if one.delivery > 1), None)
        if suspect is None:
            return claimed
        turn.alone = True
        self._queue.release(self._model, [one for one in claimed if one is not suspect])
        return [suspect]

    def _work_on(self, claimed: Sequence[ClaimedFrame], turn: Turn) -> None:
        with self._context.hands.batch(self._model, claimed):
            try:
                if turn.alone:
                    self._wait_for_other_batches()
                self.process(claimed, turn)
            except DeviceLostError as error:
                with suppress(QueueUnavailableError):
                    self._give_back(claimed, error)
                raise
            except (DatabaseUnavailableError, QueueUnavailableError, UsageError):
                with suppress(QueueUnavailableError):  # then they come back by their time-out
                    self._queue.release(self._model, claimed)
                raise
            except Exception as error:  # a fault of ours; counted, so that no frame comes for ever
                logger.exception("a batch of %s failed", self._model)
                for one in claimed:
                    self._queue.fail(self._model, one, f"{type(error).__name__}: {error}")

    def _give_back(self, claimed: Sequence[ClaimedFrame], error: DeviceLostError) -> None:
        """Counted where one of them may have broken the device: the next worker takes each of them alone."""
        if not self._stages.inference.has_worked:
            self._queue.release(self._model, claimed)
            return
        for one in claimed:
            self._queue.fail(self._model, one, str(error))

    def _wait_for_other_batches(self) -> None:
        """They have left the device and are being stored; while SQL is away that may take a minute."""
        while not self._context.hands.wait_for_one_batch(BLOCK_S):
            if self._context.stopping.is_set():
                raise DatabaseUnavailableError("stopped while another batch waited for the database")

    def process(self, claimed: Sequence[ClaimedFrame], turn: Turn) -> None:
        """One batch from its claim to its acknowledgement.

        Raises DatabaseUnavailableError, QueueUnavailableError, DeviceLostError or UsageError, each with the
        frames that have no row yet still claimed.
        """
        with metrics.timed(self._model, "decode"):
            whole = self._decode(claimed)
        self._count_frames("corrupt", len(claimed) - len(whole))
        if not whole:
            return
        metrics.BATCH_FRAMES.labels(self._model).observe(len(whole))
        with turn.on_device(), metrics.timed(self._model, "infer"):
            outcomes = self._stages.inference.run([image for _, image in whole])
        done = self._results([one for one, _ in whole], outcomes)
        self._count_frames("failed", len(whole) - len(done))
        if done:
            with metrics.timed(self._model, "store"):
                self._stages.store.store(done)
            self._count_frames("stored", len(done))
            metrics.DETECTIONS.labels(self._model).inc(sum(len(one.result.detections) for one in done))
            self.frames_done += len(done)

    def _count_frames(self, outcome: str, count: int) -> None:
        metrics.FRAMES.labels(self._model, outcome).inc(count)

    def _decode(self, claimed: Sequence[ClaimedFrame]) -> list[tuple[ClaimedFrame, Picture]]:
        images = self._stages.decode([one.frame for one in claimed])
        whole = []
        for one, image in zip(claimed, images, strict=True):
            if image is None:
                self._queue.drop(self._model, one, DropReason.CORRUPT)
            else:
                whole.append((one, image))
        return whole

    def _results(
        self, claimed: Sequence[ClaimedFrame], outcomes: Sequence[Detections | InferenceError]
    ) -> list[Done]:
        inferred_at = datetime.now(UTC)
        done = []
        for one, outcome in zip(claimed, outcomes, strict=True):
            if isinstance(outcome, InferenceError):
                self._queue.fail(self._model, one, str(outcome))
            else:
                done.append(Done(one, self._result(one, outcome, inferred_at)))
        return done

    def _result(self, claimed: ClaimedFrame, detections: Detections, inferred_at: datetime) -> FrameResult:
        frame = claimed.frame
        return FrameResult(
            camera=frame.camera,
            index=frame.index,
            captured_at=frame.captured_at,
            source_size=frame.source_size,
            detections=to_source_pixels(select_wanted(detections, frame), frame),
            model=self._stages.inference.detector.name,
            enqueued_at=claimed.enqueued_at,
            claimed_at=claimed.claimed_at,
            inferred_at=inferred_at,
            recorded=frame.recorded,
        )


def select_wanted(detections: Detections, frame: QueuedFrame) -> Detections:
    """Only what the frame's camera wants stored: its classes, from its least score on."""
    if frame.classes:
        wanted = [label for label, name in enumerate(detections.categories) if name in frame.classes]
        detections = detections.select(np.isin(detections.labels, wanted))
    if frame.min_score is not None:
        detections = detections.select(detections.scores >= np.float32(frame.min_score))
    return detections


def to_source_pixels(detections: Detections, frame: QueuedFrame) -> Detections:
    """Boxes of the queued picture -> boxes of the source frame, clipped to it; none are outside."""
    if not len(detections):
        return detections
    width, height = frame.source_size
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(detections.boxes / np.float32(frame.scale), 0.0, limits)  # (N, 4)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # (N,)
    return Detections(boxes, detections.scores, detections.labels, detections.categories).select(inside)
