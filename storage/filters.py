"""Which detections are wanted: checked values, and the WHERE clause that they make."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, tuple_

from core.errors import CameraNotFoundError, QueryError
from storage.tables import cameras, classes, detections


@dataclass(frozen=True, slots=True)
class DetectionFilter:
    """Which detections are wanted; an empty field wants all.

    Raises QueryError for values that cannot be meant.
    """

    cameras: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    since: datetime | None = None
    """First captured_at wanted (included); aware."""
    until: datetime | None = None
    """First captured_at no longer wanted (excluded); aware."""
    min_score: float | None = None
    region: tuple[float, float, float, float] | None = None
    """x1, y1, x2, y2 in pixels of the source frame: boxes that share some area with it."""
    min_area: float | None = None
    """Least width x height in square pixels."""
    limit: int | None = None
    newest_first: bool = True

    def __post_init__(self) -> None:
        self._check_times()
        self._check_region()
        if self.min_score is not None and not 0.0 <= self.min_score <= 1.0:
            raise QueryError(f"min-score: expected a number from 0 to 1, got {self.min_score}")
        if self.min_area is not None and not 0.0 <= self.min_area < math.inf:
            raise QueryError(f"min-area: expected square pixels, 0 or more, got {self.min_area}")
        if self.limit is not None and self.limit < 1:
            raise QueryError(f"limit: expected 1 or more, got {self.limit}")

    def _check_times(self) -> None:
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and moment.tzinfo is None:
                raise QueryError(f"{name}: expected a time with its zone, got {moment.isoformat()}")
        if self.since is not None and self.until is not None and self.since >= self.until:
            since, until = self.since.isoformat(), self.until.isoformat()
            raise QueryError(f"since: expected a time before until ({until}), got {since}")

    def _check_region(self) -> None:
        if self.region is None:
            return
        x1, y1, x2, y2 = self.region
        if not (all(map(math.isfinite, self.region)) and x1 < x2 and y1 < y2):
            shown = ",".join(f"{value:g}" for value in self.region)
            raise QueryError(f"region: expected x1,y1,x2,y2 with x1 < x2 and y1 < y2, got {shown}")


@dataclass(frozen=True, slots=True)
class CountedColumns:
    """What `detections` and the hourly counts have in common."""

    camera_id: ColumnElement[int]
    model_id: ColumnElement[int]
    class_id: ColumnElement[int]
    time: ColumnElement[Any]


def conditions(
    connection: Connection, wanted: DetectionFilter, columns: CountedColumns
) -> list[ColumnElement[bool]]:
    """The WHERE clause, with names turned into ids so that indexes serve; boxes are asked of `detections`.

    Raises CameraNotFoundError and QueryError for names that the database does not know.
    """
    found: list[ColumnElement[bool]] = []
    if wanted.cameras:
        found.append(_equals_one_of(columns.camera_id, _camera_ids(connection, wanted.cameras)))
    if wanted.classes:
        found.extend(_of_classes(connection, wanted.classes, columns))
    found.extend(time_conditions(columns.time, wanted))
    if wanted.min_score is not None:
        found.append(detections.c.score >= wanted.min_score)
    if wanted.min_area is not None:
        found.append(detections.c.area >= wanted.min_area)
    if wanted.region is not None:
        found.extend(_overlap(wanted.region))
    return found


def time_conditions(captured_at: ColumnElement[Any], wanted: DetectionFilter) -> list[ColumnElement[bool]]:
    """since <= captured_at < until, on whichever table."""
    found: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        found.append(captured_at >= wanted.since)
    if wanted.until is not None:
        found.append(captured_at < wanted.until)
    return found


def _overlap(region: tuple[float, float, float, float]) -> list[ColumnElement[bool]]:
    x1, y1, x2, y2 = region
    box = detections.c
    return [box.x < x2, box.x + box.width > x1, box.y < y2, box.y + box.height > y1]


def _equals_one_of(column: ColumnElement[int], values: Sequence[int]) -> ColumnElement[bool]:
    """A plain equality where it will do: it keeps the order of an index, which a list loses."""
    return column == values[0] if len(values) == 1 else column.in_(values)


def _camera_ids(connection: Connection, names: Sequence[str]) -> list[int]:
    known = dict(connection.execute(select(cameras.c.name, cameras.c.id)).all())
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none so far"
            raise CameraNotFoundError(f"camera {name!r}: expected one with a history ({listed})")
    return sorted({known[name] for name in names})


def _of_classes(
    connection: Connection, names: Sequence[str], columns: CountedColumns
) -> list[ColumnElement[bool]]:
    """Class numbers belong to a model: "car" may be 1 for one and 2 for another."""
    rows = connection.execute(select(classes.c.model_id, classes.c.class_id, classes.c.name)).all()
    known = {name for _, _, name in rows}
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none so far"
            raise QueryError(f"class {name!r}: expected one that a model knows ({listed})")
    pairs = [(model, number) for model, number, name in rows if name in names]
    numbers = sorted({number for _, number in pairs})
    found = [_equals_one_of(columns.class_id, numbers)]
    if len(pairs) != len(numbers) * len({model for model, _, _ in rows}):
        found.append(tuple_(columns.model_id, columns.class_id).in_(pairs))
    return found
