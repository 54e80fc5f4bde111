"""Writes the results of the workers: one transaction per batch, harmless when repeated.

The rows of `frames` decide which frames are new, and only those bring their detections; so a redelivered
frame never mixes two runs of a detector. On PostgreSQL a batch is first taken to be all new and goes through
COPY; the frames' primary key says when it was not. Then, and always on SQLite, INSERT .. ON CONFLICT DO
NOTHING tells which are new. benchmarks/history.py compares the writer with the bare driver's COPY.
"""

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import Connection, delete, tuple_
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from core.errors import DatabaseUnavailableError
from core.types import FrameResult, WeightsInfo
from storage.binary_copy import copy_column, copy_moment
from storage.columns import format_stamp
from storage.database import Database
from storage.identities import camera_ids, model_id
from storage.postgres import Partitions, copy_columns, insert_arrays
from storage.rollup import CountKey, counted, fold_changes, hour_of, note_changes
from storage.rows import FrameKey, check_results, detection_columns, frame_row
from storage.statements import insert_missing
from storage.tables import detections, frames

FOLD_EVERY_S = 60.0
"""How long the changes of hourly counts gather before a writer folds them."""
CAREFUL_BATCHES = 10
"""After a frame that was stored already more of them will follow: a redelivered queue, a file read again."""
_INSERT_INTO_SQLITE = str(detections.insert().compile(dialect=sqlite.dialect()))


@dataclass(frozen=True, slots=True)
class WriteSummary:
    """What one batch added; a repeated batch adds nothing."""

    frames: int
    """Frames that were not in the database yet."""
    detections: int
    """Detections of those frames."""


class Writer:
    """Stores batches of results; threads may share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._partitions = Partitions()
        self._camera_ids: dict[str, int] = {}
        self._model_ids: dict[WeightsInfo, int] = {}
        self._fold_at = time.monotonic() + FOLD_EVERY_S
        self._has_changes = False
        self._careful_batches = 0

    def write(self, results: Sequence[FrameResult], weights: WeightsInfo) -> WriteSummary:
        """Commits all frames and detections of a batch, or nothing.

        Cameras and models are known by name and made when missing. A frame that is stored already (same
        camera, captured_at, index and weights) stays as it is, with its detections.

        Raises DatabaseUnavailableError when the batch is not stored and may be tried again, UsageError when
        the schema is not this code's, InferenceError for results that are no numbers or of unknown classes.
        """
        batch = _distinct(results)
        if not batch:
            return WriteSummary(0, 0)
        check_results(batch, len(weights.categories))
        carefully, self._careful_batches = self._careful_batches > 0, max(0, self._careful_batches - 1)
        try:
            summary = self._store(batch, weights, carefully)
            self._fold_when_due()
            return summary
        except psycopg.errors.UniqueViolation:
            # Some frames are stored already, or somebody deleted frames by hand and left their detections.
            self._careful_batches = CAREFUL_BATCHES
        except (IntegrityError, psycopg.IntegrityError):
            self._forget()  # a camera or a partition that we remembered is gone
        return self._store(batch, weights, carefully=True)

    def close(self) -> None:
        """Folds what the last minute changed of the hourly counts, after the last batch."""
        if self._has_changes:
            self._fold()

    def _fold_when_due(self) -> None:
        if time.monotonic() >= self._fold_at:
            self._fold()

    def _fold(self) -> None:
        self._has_changes = False
        self._fold_at = time.monotonic() + FOLD_EVERY_S
        with contextlib.suppress(DatabaseUnavailableError):  # the batch is stored; the next one will tell
            fold_changes(self._database)

    def _forget(self) -> None:
        self._camera_ids.clear()
        self._model_ids.clear()
        self._partitions.forget()

    def _store(self, batch: Sequence[FrameResult], weights: WeightsInfo, carefully: bool) -> WriteSummary:
        """On PostgreSQL an IntegrityError says that not all is new, unless it is done `carefully`."""
        cameras, model = self._identities({result.camera for result in batch}, weights)
        self._make_partitions(batch)
        keyed = {(cameras[result.camera], result.captured_at, result.index): result for result in batch}
        with self._database.writing() as connection:
            new = _insert_frames(connection, keyed, model, hopefully=not carefully)
            if carefully and new:
                _delete_detections(connection, new, model)
            added = {key: keyed[key] for key in sorted(new)}
            boxes = sum(len(result.detections) for result in added.values())
            if boxes:
                _insert_detections(connection, added, model)
                note_changes(connection, _changes(added, model))
        self._has_changes = self._has_changes or boxes > 0
        return WriteSummary(len(new), boxes)

    def _identities(self, names: Iterable[str], weights: WeightsInfo) -> tuple[dict[str, int], int]:
        """Ids of the cameras and of the model, from memory or in a short transaction of their own."""
        known = {name: self._camera_ids.get(name) for name in names}
        model = self._model_ids.get(weights)
        if model is None or None in known.values():
            with self._database.writing() as connection:
                fresh = camera_ids(connection, names)
                model = model_id(connection, weights)
            self._camera_ids.update(fresh)
            self._model_ids[weights] = model
            return fresh, model
        return {name: camera_id for name, camera_id in known.items() if camera_id is not None}, model

    def _make_partitions(self, batch: Sequence[FrameResult]) -> None:
        if self._database.dialect != "postgresql":
            return
        missing = self._partitions.missing(result.captured_at for result in batch)
        if missing:
            with self._database.writing() as connection:
                self._partitions.create(connection, missing)


def _distinct(results: Sequence[FrameResult]) -> list[FrameResult]:
    """Each frame once, in the order of the key, which all writers share so that none waits in a circle."""
    first = {(result.camera, result.captured_at, result.index): result for result in reversed(results)}
    return [first[key] for key in sorted(first)]


def _changes(added: Mapping[FrameKey, FrameResult], model: int) -> Counter[CountKey]:
    """How many detections the new frames bring, by hour, camera and class."""
    changes: Counter[CountKey] = Counter()
    for (camera, captured_at, _), result in added.items():
        hour = hour_of(captured_at)
        for label in result.detections.labels.tolist():
            changes[hour, camera, model, label] += 1
    return changes


def _insert_frames(
    connection: Connection, keyed: dict[FrameKey, FrameResult], model: int, hopefully: bool
) -> set[FrameKey]:
    """Inserts the frames that are not there yet and says which; `hopefully` all, else COPY fails."""
    stored_at = datetime.now(UTC)
    rows = [frame_row(keyed[key], key[0], model, stored_at) for key in sorted(keyed)]
    if hopefully and connection.dialect.name == "postgresql":
        copy_columns(connection, frames, {name: copy_column(row[name] for row in rows) for name in rows[0]})
        return set(keyed)
    columns = frames.c.camera_id, frames.c.captured_at, frames.c.frame_index
    found: Iterable[Any]
    if connection.dialect.name == "postgresql":
        names = ", ".join(column.name for column in columns)
        found = insert_arrays(connection, frames, rows, f"ON CONFLICT DO NOTHING RETURNING {names}")
    else:
        found = connection.execute(insert_missing(connection, frames).returning(*columns), rows)
    return {(camera, captured_at, index) for camera, captured_at, index in found}


def _delete_detections(connection: Connection, keys: Iterable[FrameKey], model: int) -> None:
    box = detections.c
    of_frame = tuple_(box.camera_id, box.captured_at, box.frame_index)
    keys = list(keys)
    times = [captured_at for _, captured_at, _ in keys]
    near = box.captured_at.between(min(times), max(times))  # SQLite uses no index for the keys themselves
    gone = delete(detections).where(near, of_frame.in_(keys), box.model_id == model)
    found = connection.execute(gone.returning(box.captured_at, box.camera_id, box.class_id))
    removed = ((hour_of(captured_at), camera, model, label) for captured_at, camera, label in found)
    note_changes(connection, counted(removed, sign=-1))


def _insert_detections(connection: Connection, added: Mapping[FrameKey, FrameResult], model: int) -> None:
    if connection.dialect.name == "postgresql":
        copy_columns(connection, detections, detection_columns(added, model, copy_moment))
    else:
        columns = detection_columns(added, model, format_stamp).values()
        rows = zip(*(column.tolist() for column in columns), itertools.repeat(None))  # no track_id
        connection.exec_driver_sql(_INSERT_INTO_SQLITE, list(rows))
