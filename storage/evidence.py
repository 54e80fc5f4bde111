"""Which picture is the evidence of an interval: one row per camera, model, class and interval.

The row says which detection the picture shows. The file is written before its row and removed after it, so a
crash at any moment leaves at most a file without a row, which goes with its day (`prune_evidence`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.errors import DatabaseUnavailableError
from core.evidence_policy import EvidenceKind
from core.types import EPOCH, Size, WeightsInfo
from storage.database import Database
from storage.evidence_files import EvidenceFiles, picture_path
from storage.rows import SCORE_DECIMALS
from storage.tables import cameras, detections, evidence, models

TRIES = 5
"""Of a slot that other workers fill at the same moment."""
PRUNED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored detection that may be the evidence of its interval."""

    camera: str
    captured_at: datetime
    frame_index: int
    weights: WeightsInfo
    ordinal: int
    """Position among the detections of its frame, as in `detections`."""
    class_id: int
    score: float
    every_s: float
    kind: EvidenceKind

    @property
    def interval_start(self) -> datetime:
        """Start of the interval that it lies in."""
        return interval_start(self.captured_at, self.every_s)


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG and its size in pixels."""

    jpeg: bytes
    size: Size


@dataclass(frozen=True, slots=True)
class Slot:
    """Ids of what one picture is kept for."""

    camera_id: int
    model_id: int
    class_id: int
    interval_start: datetime


@dataclass(frozen=True, slots=True)
class PrunedEvidence:
    """What `prune_evidence` removed."""

    pictures: int
    """Rows, each with its file."""
    stray_files: int
    """Files of whole past days that no row named."""


def interval_start(moment: datetime, every_s: float) -> datetime:
    """The latest multiple of `every_s` since 1970 at or before the moment."""
    return moment - (moment - EPOCH) % timedelta(seconds=every_s)


def keep_if_best(
    database: Database, files: EvidenceFiles, candidate: Candidate, make: Callable[[], Picture]
) -> bool:
    """Keeps the candidate's picture unless its interval has one with the same or a better score.

    `make` is called only for a candidate that may win. Safe in any number of processes; a candidate that
    comes again changes nothing, and one that is not in `detections` (as it is described) is passed over.
    Raises DatabaseUnavailableError and EvidenceUnavailableError.
    """
    with database.reading() as connection:
        slot = _find_slot(connection, candidate)
        if slot is None or not _may_win(connection, slot, candidate):
            return False
    identity = (candidate.frame_index, slot.model_id, candidate.ordinal)
    class_name = candidate.weights.categories[candidate.class_id]
    path = picture_path(candidate.camera, class_name, candidate.captured_at, identity)
    picture = make()
    files.write(path, picture.jpeg)
    before, now = _settle(database, slot, candidate, path, picture)
    files.delete(other for other in (before, path) if other is not None and other != now)
    return now == path


def prune_evidence(database: Database, files: EvidenceFiles, before: datetime) -> PrunedEvidence:
    """Removes the pictures of frames captured before a moment, and stray files of the days before its day.

    May be repeated, interrupted, and run by several processes at once. Raises DatabaseUnavailableError and
    EvidenceUnavailableError; what is left then goes the next time.
    """
    pictures = 0
    while paths := _forget_oldest(database, before):
        files.delete(paths)
        pictures += len(paths)
    return PrunedEvidence(pictures, files.delete_days_before(before.astimezone(UTC).date()))


def _forget_oldest(database: Database, before: datetime) -> list[str]:
    oldest = (
        select(evidence.c.path)
        .where(evidence.c.captured_at < before)
        .order_by(evidence.c.captured_at)
        .limit(PRUNED_AT_ONCE)
    )
    with database.writing() as connection:
        found = connection.scalars(
            delete(evidence).where(evidence.c.path.in_(oldest)).returning(evidence.c.path)
        )
        return list(found)


def _find_slot(connection: Connection, candidate: Candidate) -> Slot | None:
    """None when the detection is not stored: its frame may have been stored with another run's detections."""
    query = (
        select(detections.c.camera_id, detections.c.model_id)
        .join(cameras, cameras.c.id == detections.c.camera_id)
        .join(models, models.c.id == detections.c.model_id)
        .where(
            cameras.c.name == candidate.camera,
            models.c.name == candidate.weights.name,
            models.c.sha256 == candidate.weights.sha256,
            detections.c.captured_at == candidate.captured_at,
            detections.c.frame_index == candidate.frame_index,
            detections.c.ordinal == candidate.ordinal,
            detections.c.class_id == candidate.class_id,
        )
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Slot(row.camera_id, row.model_id, candidate.class_id, candidate.interval_start)


def _may_win(connection: Connection, slot: Slot, candidate: Candidate) -> bool:
    kept = connection.scalar(select(evidence.c.score).where(_in_slot(slot)))
    if kept is not None and kept >= _score(candidate):
        return False
    return not _is_kept(connection, slot, candidate)


def _is_kept(connection: Connection, slot: Slot, candidate: Candidate) -> bool:
    """Whether the detection has its picture, perhaps in an interval of another length."""
    of_detection = and_(
        evidence.c.camera_id == slot.camera_id,
        evidence.c.captured_at == candidate.captured_at,
        evidence.c.frame_index == candidate.frame_index,
        evidence.c.model_id == slot.model_id,
        evidence.c.ordinal == candidate.ordinal,
    )
    return connection.scalar(select(evidence.c.score).where(of_detection)) is not None


def _settle(
    database: Database, slot: Slot, candidate: Candidate, path: str, picture: Picture
) -> tuple[str | None, str]:
    """The path of the picture that made way, and that of the slot's picture now."""
    for _ in range(TRIES):
        try:
            with database.writing() as connection:
                return _take_slot(connection, slot, candidate, path, picture)
        except IntegrityError:  # another worker took the empty slot in the same moment
            continue
    raise DatabaseUnavailableError(f"evidence: {TRIES} tries to store {path} met other workers'")


def _take_slot(
    connection: Connection, slot: Slot, candidate: Candidate, path: str, picture: Picture
) -> tuple[str | None, str]:
    kept = connection.execute(
        select(evidence.c.path, evidence.c.score).where(_in_slot(slot)).with_for_update()
    ).one_or_none()
    if kept is not None and kept.score >= _score(candidate):
        return None, kept.path
    if _is_kept(connection, slot, candidate):
        return None, path
    width, height = picture.size
    values = {
        "captured_at": candidate.captured_at,
        "frame_index": candidate.frame_index,
        "ordinal": candidate.ordinal,
        "score": _score(candidate),
        "path": path,
        "kind": candidate.kind.value,
        "width": width,
        "height": height,
        "bytes": len(picture.jpeg),
        "stored_at": datetime.now(UTC),
    }
    if kept is not None:
        connection.execute(update(evidence).where(_in_slot(slot)).values(values))
        return kept.path, path
    key = {
        "camera_id": slot.camera_id,
        "model_id": slot.model_id,
        "class_id": slot.class_id,
        "interval_start": slot.interval_start,
    }
    connection.execute(insert(evidence).values({**key, **values}))
    return None, path


def _in_slot(slot: Slot) -> ColumnElement[bool]:
    return and_(
        evidence.c.camera_id == slot.camera_id,
        evidence.c.model_id == slot.model_id,
        evidence.c.class_id == slot.class_id,
        evidence.c.interval_start == slot.interval_start,
    )


def _score(candidate: Candidate) -> float:
    """As `detections` holds it."""
    return round(candidate.score, SCORE_DECIMALS)
