"""What was seen: detections, counts, frames, models, and what became of every frame."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api.camera_fields import NAME_PATTERN
from app.api.evidence import picture_url
from app.api.paging import answer_json, answer_page, resume
from app.api.problems import ProblemError, describe_problems
from app.api.questions import (
    MOST_PAGE_ROWS,
    PAGE_ROWS,
    QUESTION_LIMIT_S,
    CameraQuery,
    CursorQuery,
    FilterQuery,
    Order,
    SinceQuery,
    Span,
    UntilQuery,
    read_span,
)
from app.api.services import services_of
from app.api.streaming import ExportSlots
from app.exports import Format, make_file
from app.filters import parse_names, split_names
from app.times import parse_bucket
from storage.filters import DetectionFilter
from storage.identities import list_models
from storage.ledger import list_ledger_minutes
from storage.paging import StoredFrame, find_detection_page, find_frame_page
from storage.queries import HISTORY_COLUMNS, CountRow, DetectionRow, count_detections, find_detections

router = APIRouter(tags=["history"], responses=describe_problems(404, 422, 503))

MOST_BUCKETS = 10_000
_WHOLE_SECOND = timedelta(seconds=1)


class ExportFormat(StrEnum):
    """How detections come: `json` in pages, the others all in one file."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


_MEDIA_TYPES = {
    ExportFormat.NDJSON: "application/x-ndjson",
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
}
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FILES = {media.partition(";")[0]: _BINARY for media in _MEDIA_TYPES.values()}


@dataclass(frozen=True, slots=True)
class ListedDetection(DetectionRow):
    """A detection, and its picture."""

    picture: str | None
    """Where the picture that was kept of it is served; null: none was kept."""


@dataclass(frozen=True, slots=True)
class DetectionsAnswer:
    """A page of detections; boxes are in pixels of the camera's own picture, x, y is the top-left corner."""

    detections: list[ListedDetection]
    next: str | None
    """`cursor` of the next page; null: there is none."""


@dataclass(frozen=True, slots=True)
class FramesAnswer:
    """A page of frames."""

    frames: list[StoredFrame]
    next: str | None


@dataclass(frozen=True, slots=True)
class CountsAnswer:
    """Counts; fields that they were not split by are null."""

    counts: list[CountRow]


@router.get(
    "/detections",
    response_class=Response,
    responses={
        200: {"model": DetectionsAnswer, "content": _FILES, "description": "A page, or a file of them all."},
        **describe_problems(429),
    },
)
def detections(
    request: Request,
    wanted: FilterQuery,
    order: Order = Order.NEWEST,
    limit: Annotated[
        int | None,
        Query(
            ge=1, le=2**31 - 1, description=f"Most rows: of a page {MOST_PAGE_ROWS} (default: {PAGE_ROWS})."
        ),
    ] = None,
    cursor: CursorQuery = None,
    format: ExportFormat = ExportFormat.JSON,
) -> Response:
    """The detections that pass the filters.

    As `json` they come in pages: ask again with `cursor` set to `next` until that is null. No row that was
    there at the first page is left out or comes twice, whatever is stored meanwhile. The other formats are
    one file, streamed, and need `since`.
    """
    wanted = replace(wanted, newest_first=order is Order.NEWEST)
    if format is not ExportFormat.JSON:
        if cursor is not None:
            raise ProblemError(
                400, f"cursor: expected none with format={format}, which has no pages; got one"
            )
        return _export(request, replace(wanted, limit=limit), format)
    size = _page_size(limit)
    wanted, after = resume(wanted, cursor)
    page = find_detection_page(services_of(request).database, wanted, size, after, QUESTION_LIMIT_S)
    rows = [
        {**asdict(row), "picture": picture_url(path)}
        for row, path in zip(page.rows, page.pictures, strict=True)
    ]
    return answer_page({"detections": rows}, wanted, page.last)


def _export(request: Request, wanted: DetectionFilter, format: ExportFormat) -> Response:
    Span(wanted.since, wanted.until).require_bounded()
    slots: ExportSlots = request.app.state.export_slots
    headers = {"Content-Disposition": f'attachment; filename="detections.{format.value}"'}

    def ask() -> Iterator[bytes]:
        rows = find_detections(services_of(request).database, wanted)
        return make_file(Format(format.value), HISTORY_COLUMNS, (row.values() for row in rows))

    return slots.respond(ask, _MEDIA_TYPES[format], headers)


@router.get(
    "/frames", response_class=Response, responses={200: {"model": FramesAnswer, "description": "A page."}}
)
def frames(
    request: Request,
    camera: CameraQuery = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    order: Order = Order.NEWEST,
    limit: Annotated[int, Query(ge=1, le=MOST_PAGE_ROWS)] = PAGE_ROWS,
    cursor: CursorQuery = None,
) -> Response:
    """The frames that went through a model, with or without detections; in pages as `/api/detections`."""
    span = read_span(since, until)
    wanted = DetectionFilter(
        parse_names(camera, "camera"), since=span.since, until=span.until, newest_first=order is Order.NEWEST
    )
    wanted, after = resume(wanted, cursor)
    page = find_frame_page(services_of(request).database, wanted, limit, after, QUESTION_LIMIT_S)
    return answer_page({"frames": [asdict(row) for row in page.rows]}, wanted, page.last)


def _page_size(limit: int | None) -> int:
    if limit is not None and limit > MOST_PAGE_ROWS:
        raise ProblemError(
            400,
            f"limit: expected at most {MOST_PAGE_ROWS} rows in a page, got {limit}; ask for the next page, "
            "or for format=ndjson, csv or parquet",
        )
    return limit or PAGE_ROWS


@router.get(
    "/counts", response_class=Response, responses={200: {"model": CountsAnswer, "description": "Counts."}}
)
def counts(
    request: Request,
    wanted: FilterQuery,
    by: Annotated[
        list[str] | None,
        Query(description="Split by any of class, camera and model; repeat it, or part them by commas."),
    ] = None,
    bucket: Annotated[
        str | None, Query(description="Split by time too: 15m, 1h, 1d (UTC).", examples=["1h"])
    ] = None,
) -> Response:
    """How many detections pass the filters, by class unless told otherwise. Needs `since`."""
    span = Span(wanted.since, wanted.until)
    span.require_bounded()
    width = None if bucket is None else parse_bucket(bucket, "bucket")
    if width is not None:
        _require_few_buckets(span, width)
    groups = split_names(by) if by is not None else ("class",)
    rows = count_detections(services_of(request).database, groups, width, wanted, QUESTION_LIMIT_S)
    return answer_json({"counts": [asdict(row) for row in rows]})


def _require_few_buckets(span: Span, width: timedelta) -> None:
    assert span.since is not None
    if width % _WHOLE_SECOND:
        raise ProblemError(400, f"bucket: expected whole seconds, got {width.total_seconds():g} s")
    until = span.until or datetime.now(span.since.tzinfo)
    count = (until - span.since) // width
    if count > MOST_BUCKETS:
        raise ProblemError(
            400, f"bucket: expected at most {MOST_BUCKETS} buckets between since and until, got {count}"
        )


@dataclass(frozen=True, slots=True)
class StoredModel:
    """Weights that made detections."""

    name: str
    sha256: str
    classes: list[str]


@router.get("/models")
def models(request: Request) -> list[StoredModel]:
    """The weights that made the detections of this history, and the classes that they know."""
    found = list_models(services_of(request).database)
    return [StoredModel(one.name, one.sha256, list(one.categories)) for one in found]


@router.get(
    "/ledger/minutes",
    response_class=Response,
    responses={200: {"description": "Minutes, oldest first.", "content": {"application/json": {}}}},
)
def ledger_minutes(
    request: Request,
    since: SinceQuery = "1h",
    until: UntilQuery = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PAGE_ROWS)] = PAGE_ROWS,
    cursor: CursorQuery = None,
) -> Response:
    """What became of every captured frame, per camera and minute; in pages as `/api/detections`."""
    span = read_span(since, until)
    span.require_bounded()
    assert span.since is not None
    after = None if cursor is None else _read_place(cursor)
    found = list_ledger_minutes(services_of(request).database, span.since, span.until, limit + 1, after)
    page, last = found[:limit], found[limit - 1] if len(found) > limit else None
    following = None if last is None else f"{last.minute.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ},{last.camera}"
    return answer_json({"minutes": [_flat(asdict(minute)) for minute in page], "next": following})


def _read_place(cursor: str) -> tuple[datetime, str]:
    """Minute and camera, behind which a page of the ledger begins."""
    minute, _, camera = cursor.partition(",")
    with contextlib.suppress(ValueError, OverflowError):
        place = datetime.fromisoformat(minute)
        if place.tzinfo is not None and re.fullmatch(NAME_PATTERN, camera):
            return place.astimezone(UTC), camera
    raise ProblemError(400, "cursor: expected the `next` of an earlier page, got something else")


def _flat(minute: dict[str, Any]) -> dict[str, Any]:
    dropped = minute.pop("dropped")
    return {**minute, **{reason.value: count for reason, count in dropped.items()}}
