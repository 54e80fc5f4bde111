"""Pictures of evidence: chosen while a batch is stored, made and written by a thread of their own.

Storing never waits for a picture. One that the thread has no time for, or that cannot be written, is counted
and missed; the next better detection of the interval brings another.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from queue import Full, Queue
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import DatabaseUnavailableError, EvidenceUnavailableError
from core.evidence_policy import EvidenceKind, EvidenceRule, rule_for
from core.types import FrameResult, QueuedFrame, WeightsInfo
from storage.database import Database
from storage.evidence import Candidate, Picture, keep_if_best
from storage.evidence_files import EvidenceFiles
from workers import metrics
from workers.decoding import Image, decode_frame
from workers.storing import Done

MOST_WAITING = 64
"""Chosen pictures, each with the JPEG of its frame: about 4 MB."""
RETRY_S = 10.0
"""After a fault no picture is tried for so long: a full disk must not cost the detector its CPU."""
CLOSE_WITHIN_S = 5.0
JPEG_QUALITY = 90

_Subject: TypeAlias = tuple[str, str, int]
"""Camera, weights' sha256 and class."""

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a chosen picture."""

    KEPT = "kept"
    OUTDONE = "outdone"
    """Another worker, or an earlier run, had one as good."""
    MISSED = "missed"
    """Chosen while too many waited, or while writing was out of order."""
    FAILED = "failed"
    """Could not be written, or the database was away."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A detection that is the best of its interval as far as this process knows."""

    candidate: Candidate
    rule: EvidenceRule
    frame: QueuedFrame = field(repr=False)
    box: NDArray[np.float32]
    """(4,): x1, y1, x2, y2 in pixels of the source frame."""


class EvidenceKeeper:
    """Keeps the pictures that cameras ask for; the slots of a process share it."""

    def __init__(
        self,
        database: Database,
        files: EvidenceFiles,
        *,
        most_waiting: int = MOST_WAITING,
        retry_s: float = RETRY_S,
    ) -> None:
        self.counts: Counter[Outcome] = Counter()
        self._database = database
        self._files = files
        self._retry_s = retry_s
        self._waiting: Queue[Choice | None] = Queue(most_waiting)
        self._best: dict[_Subject, tuple[datetime, float]] = {}
        self._choosing = threading.Lock()
        self._broken = False
        self._broken_until = 0.0
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
        self._thread.start()

    def offer(self, weights: WeightsInfo, batch: Sequence[Done]) -> None:
        """Chooses from stored frames what is worth a picture; returns at once and raises nothing."""
        for done in batch:
            if done.claimed.frame.evidence:
                for choice in choose(done.result, done.claimed.frame, weights):
                    self._put(choice)

    def close(self) -> None:
        """Writes what waits, for a few seconds at most."""
        with suppress(Full):  # then the thread ends with the process
            self._waiting.put(None, timeout=CLOSE_WITHIN_S)
            self._thread.join(CLOSE_WITHIN_S)

    def _put(self, choice: Choice) -> None:
        subject, rank = _subject(choice.candidate), _rank(choice.candidate)
        with self._choosing:
            start, best = self._best.get(subject, (None, 0.0))
            if start == rank[0] and best >= rank[1]:
                return
            try:
                if time.monotonic() < self._broken_until:
                    raise Full
                self._waiting.put_nowait(choice)
            except Full:
                self._count(Outcome.MISSED)
            else:
                self._best[subject] = rank

    def _count(self, outcome: Outcome) -> None:
        self.counts[outcome] += 1
        metrics.EVIDENCE.labels(outcome.value).inc()

    def _run(self) -> None:
        while (choice := self._waiting.get()) is not None:
            self._keep(choice)

    def _keep(self, choice: Choice) -> None:
        try:
            kept = keep_if_best(self._database, self._files, choice.candidate, lambda: make_picture(choice))
        except (DatabaseUnavailableError, EvidenceUnavailableError) as error:
            if not self._broken:
                logger.warning("no pictures are kept until this is put right: %s", error)
            self._note_fault(choice)
        except Exception:  # the thread must outlive whatever one picture meets
            logger.exception("a picture of %s was not kept", choice.candidate.camera)
            self._note_fault(choice)
        else:
            self._note_success(kept)

    def _note_fault(self, choice: Choice) -> None:
        self._count(Outcome.FAILED)
        self._broken = True
        with self._choosing:
            self._broken_until = time.monotonic() + self._retry_s
            subject = _subject(choice.candidate)
            if self._best.get(subject) == _rank(choice.candidate):
                del self._best[subject]  # a lesser picture is welcome then

    def _note_success(self, kept: bool) -> None:
        self._count(Outcome.KEPT if kept else Outcome.OUTDONE)
        if self._broken and kept:
            logger.warning("pictures are kept again; %d could not be written", self.counts[Outcome.FAILED])
            self._broken = False


def _subject(candidate: Candidate) -> _Subject:
    return candidate.camera, candidate.weights.sha256, candidate.class_id


def _rank(candidate: Candidate) -> tuple[datetime, float]:
    return candidate.interval_start, candidate.score


def choose(result: FrameResult, frame: QueuedFrame, weights: WeightsInfo) -> Iterator[Choice]:
    """The best detection of each class that the frame's rules are about."""
    found, seen = result.detections, set()
    for ordinal, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist(), strict=True)):
        if label in seen:  # scores fall
            continue
        seen.add(label)
        rule = rule_for(frame.evidence, found.categories[label])
        if rule is None or score < rule.min_score:
            continue
        candidate = Candidate(
            camera=result.camera,
            captured_at=result.captured_at,
            frame_index=result.index,
            weights=weights,
            ordinal=ordinal,
            class_id=label,
            score=score,
            every_s=rule.every_s,
            kind=rule.what,
        )
        yield Choice(candidate, rule, frame, found.boxes[ordinal])


def make_picture(choice: Choice) -> Picture:
    """The picture of a choice: the queued JPEG as it is, or the detection cut out of it with its margin."""
    image = decode_frame(choice.frame)
    if choice.rule.what is EvidenceKind.FRAME:
        height, width = image.shape[:2]
        return Picture(choice.frame.jpeg, (width, height))
    cut = crop(image, choice.box * np.float32(choice.frame.scale), choice.rule.margin)
    height, width = cut.shape[:2]
    encoded, jpeg = cv2.imencode(".jpg", cut, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not encoded:
        raise ValueError(f"OpenCV could not encode a {cut.shape} picture")
    return Picture(jpeg.tobytes(), (width, height))


def crop(image: Image, box: NDArray[np.float32], margin: float) -> Image:
    """The part (h, w, 3) of a picture (H, W, 3) in a box (4,) of its pixels, `margin` of its sides wider on
    each side, within the picture and at least one pixel large.
    """
    height, width = image.shape[:2]
    sides = np.tile(box[2:] - box[:2], 2) * margin  # (4,)
    wide = box + sides * np.array([-1, -1, 1, 1], np.float32)
    x1, y1 = (
        int(np.clip(np.floor(value), 0, most - 1))
        for value, most in zip(wide[:2], (width, height), strict=True)
    )
    x2, y2 = (
        int(np.clip(np.ceil(value), 1, most)) for value, most in zip(wide[2:], (width, height), strict=True)
    )
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
