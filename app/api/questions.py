"""What a request asks of the history: query parameters become checked filters."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Query

from app.api.problems import ProblemError
from app.filters import parse_names, parse_region
from app.times import parse_moment
from storage.filters import DetectionFilter

MOST_DAYS = 366
"""Longest time that one count or export looks at."""
PAGE_ROWS, MOST_PAGE_ROWS = 100, 1000
QUESTION_LIMIT_S = 30.0
"""What a page or a count may take; then the database gives it up."""

_TIME = "A time: 2h or 7d back from now, today, or ISO 8601 (UTC without a zone)."
CameraQuery = Annotated[
    list[str] | None,
    Query(alias="camera", description="Only these cameras; repeat it, or part them by commas."),
]
ClassQuery = Annotated[
    list[str] | None,
    Query(alias="class", description="Only these classes; repeat it, or part them by commas."),
]
MinScoreQuery = Annotated[float | None, Query(ge=0, le=1, description="Least score.")]
SinceQuery = Annotated[str | None, Query(description=f"First time wanted. {_TIME}", examples=["2h"])]
UntilQuery = Annotated[str | None, Query(description=f"First time no longer wanted. {_TIME}")]
CursorQuery = Annotated[
    str | None, Query(max_length=1000, description="The `next` of the page before; with the same filters.")
]


class Order(StrEnum):
    """Which rows come first."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class Span:
    """A part of time."""

    since: datetime | None
    until: datetime | None

    def require_bounded(self) -> None:
        """Raises ProblemError unless it has a beginning and is at most MOST_DAYS long."""
        if self.since is None:
            raise ProblemError(
                400, "since: expected the time at which the answer shall begin, such as 7d; got none"
            )
        length = (self.until or datetime.now(UTC)) - self.since
        if length > timedelta(days=MOST_DAYS):
            raise ProblemError(
                400,
                f"since: expected at most {MOST_DAYS} days before until, got {length.days} days; "
                "ask for shorter parts of time one after the other",
            )


def read_span(since: str | None, until: str | None) -> Span:
    """The part of time that two parameters mean. Raises QueryError."""
    return Span(
        None if since is None else parse_moment(since, "since"),
        None if until is None else parse_moment(until, "until"),
    )


def detection_filter(
    camera: CameraQuery = None,
    class_name: ClassQuery = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    min_score: MinScoreQuery = None,
    region: Annotated[
        str | None,
        Query(
            description="Boxes that overlap this one: x1,y1,x2,y2 in pixels of the camera's picture.",
            examples=["0,200,640,480"],
        ),
    ] = None,
    min_area: Annotated[
        float | None, Query(ge=0, le=1e12, description="Least width times height, in square pixels.")
    ] = None,
) -> DetectionFilter:
    """The filters of `framewatch detections`, by the same names. Raises QueryError."""
    span = read_span(since, until)
    return DetectionFilter(
        cameras=parse_names(camera, "camera"),
        classes=parse_names(class_name, "class"),
        since=span.since,
        until=span.until,
        min_score=min_score,
        region=None if region is None else parse_region(region, "region"),
        min_area=min_area,
    )


FilterQuery = Annotated[DetectionFilter, Depends(detection_filter)]
