"""The kept pictures page by page, in the manner of `storage.paging`."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import and_, select

from storage.database import Database
from storage.filters import CountedColumns, DetectionFilter, conditions
from storage.paging import Position, behind
from storage.tables import cameras, classes, evidence, models


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One picture, and the detection that it shows."""

    camera: str
    captured_at: datetime
    class_name: str
    score: float
    frame_index: int
    ordinal: int
    model: str
    kind: str
    """ "crop" or "frame"."""
    path: str
    """Below the evidence URL."""
    width: int
    height: int
    bytes: int
    interval_start: datetime


@dataclass(frozen=True, slots=True)
class PicturePage:
    """Some pictures, and where the next page begins."""

    rows: tuple[PictureRow, ...]
    last: Position | None
    """None: no further rows."""


def find_picture_page(
    database: Database, wanted: DetectionFilter, size: int, after: Position | None = None
) -> PicturePage:
    """The first `size` pictures whose detections pass the filter, or those after a position.

    A filter's region, area and limit play no part. Raises CameraNotFoundError and QueryError for unknown
    names, and DatabaseUnavailableError.
    """
    picture = evidence.c
    time = picture.captured_at.desc() if wanted.newest_first else picture.captured_at.asc()
    key = (picture.camera_id, picture.frame_index, picture.model_id, picture.ordinal)
    statement = (
        select(
            *(cameras.c.name.label("camera"), picture.captured_at, classes.c.name.label("class_name")),
            *(picture.score, picture.frame_index, picture.ordinal, models.c.name.label("model")),
            *(picture.kind, picture.path, picture.width, picture.height, picture.bytes),
            *(picture.interval_start, picture.camera_id, picture.model_id),
        )
        .join(cameras, cameras.c.id == picture.camera_id)
        .join(models, models.c.id == picture.model_id)
        .join(classes, and_(classes.c.model_id == picture.model_id, classes.c.class_id == picture.class_id))
        .order_by(time, *key)
    )
    if after is not None:
        place = (after.camera_id, after.frame_index, after.model_id, after.ordinal)
        statement = statement.where(behind(wanted, picture.captured_at, key, after.captured_at, place))
    if wanted.min_score is not None:
        statement = statement.where(picture.score >= wanted.min_score)
    of_pictures = replace(wanted, min_score=None, region=None, min_area=None)
    columns = CountedColumns(picture.camera_id, picture.model_id, picture.class_id, picture.captured_at)
    with database.reading() as connection:
        statement = statement.where(*conditions(connection, of_pictures, columns)).limit(size + 1)
        found = connection.execute(statement).all()
    rows = tuple(PictureRow(*row[:-2]) for row in found[:size])
    if len(found) <= size:
        return PicturePage(rows, None)
    last, (camera_id, model_id) = rows[-1], found[size - 1][-2:]
    return PicturePage(rows, Position(last.captured_at, camera_id, last.frame_index, model_id, last.ordinal))
