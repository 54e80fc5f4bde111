"""The history page: what was seen, by filters that stand in the address."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.api.cursors import read_cursor, write_cursor
from app.api.evidence import picture_url
from app.api.problems import ProblemError
from app.api.questions import QUESTION_LIMIT_S
from app.api.services import services_of
from app.dashboard.charts import Chart, choose_width, make_chart
from app.dashboard.filter_address import SPANS, Filters, given_filters
from app.dashboard.pages import PageRoute, css_color, render
from core.errors import CameraNotFoundError, QueryError
from storage.database import Database
from storage.evidence_pages import PictureRow, find_picture_page
from storage.filters import DetectionFilter
from storage.names import known_names
from storage.paging import find_detection_page
from storage.queries import DetectionRow, count_detections, find_detections

router = APIRouter(route_class=PageRoute, include_in_schema=False)

ROWS_PER_PAGE = 50
PICTURES_SHOWN = 12
AROUND = timedelta(seconds=5)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Findings:
    """What passes the filters."""

    since: datetime | None = None
    """The filters' first time, or that of the oldest detection that passes."""
    chart: Chart | None = None
    rows: tuple[DetectionRow, ...] = ()
    older: str | None = None
    """Cursor of the next page; None: there is none."""
    pictures: tuple[PictureRow, ...] = ()
    """The newest kept ones; none where a filter looks at boxes, which pictures know nothing of."""
    newest: DetectionRow | None = None
    """Where nothing passes: the newest detection at all, if there is one."""
    row_pictures: tuple[str | None, ...] = ()
    """Path of the kept picture of each row."""


@router.get("/history")
def history(
    request: Request, filters: Annotated[Filters, Depends(given_filters)], cursor: str = ""
) -> Response:
    """Filters, a chart of counts over time, kept pictures, and the detections themselves."""
    database = services_of(request).database
    found, problem = Findings(), None
    try:
        found = look_up(database, filters.to_filter(), cursor)
    except (QueryError, CameraNotFoundError) as error:
        problem = str(error)
    except OverflowError:
        problem = (
            "expected a time well between the years 1 and 9999, got one that reaches an end of the calendar"
        )
    except ProblemError as error:
        problem = f"{error.detail}; or look at the newest page again"
    return render(
        request,
        "history.html",
        200 if problem is None else 400,
        filters=filters,
        names=known_names(database),
        found=found,
        problem=problem,
        spans=SPANS,
        first_page=not cursor,
        around=_around,
        export_path=lambda kind: f"/api/detections?format={kind}&{filters.query(since=found.since)}",
        color=css_color,
        picture_url=picture_url,
    )


def look_up(database: Database, wanted: DetectionFilter, cursor: str = "") -> Findings:
    """A page of the detections that pass, newest first, and how many there were over time.

    Raises as `find_detections`, and ProblemError for a cursor that belongs to other filters.
    """
    after = None
    if cursor:
        found = read_cursor(cursor)
        wanted, after = found.apply(wanted), found.after
    page = find_detection_page(database, wanted, ROWS_PER_PAGE, after, QUESTION_LIMIT_S)
    if not page.rows:
        return Findings(newest=next(find_detections(database, DetectionFilter(limit=1)), None))
    since, until = _span(database, wanted, page.rows[0])
    width = choose_width(since, until)
    shows_pictures = after is None and wanted.region is None and wanted.min_area is None
    counts = count_detections(database, ("class", "camera"), width, wanted, QUESTION_LIMIT_S)
    return Findings(
        since,
        make_chart(counts, since, until, width),
        page.rows,
        None if page.last is None else write_cursor(wanted, page.last),
        find_picture_page(database, wanted, PICTURES_SHOWN).rows if shows_pictures else (),
        row_pictures=page.pictures,
    )


def _span(database: Database, wanted: DetectionFilter, newest: DetectionRow) -> tuple[datetime, datetime]:
    """What the chart's axis spans: the filter's times, or those of the detections that pass."""
    if wanted.since is not None:
        return wanted.since, wanted.until or max(datetime.now(UTC), newest.captured_at + _SECOND)
    oldest, last = (
        next(iter(find_detection_page(database, asked, 1, limit_s=QUESTION_LIMIT_S).rows), newest)
        for asked in (replace(wanted, newest_first=False), wanted)
    )
    return oldest.captured_at, wanted.until or last.captured_at + _SECOND


def _around(row: DetectionRow | PictureRow) -> str:
    """The address of what that camera saw around then."""
    start = row.captured_at.replace(microsecond=0) - AROUND
    return Filters((row.camera,)).path(since=start, until=start + 2 * AROUND + _SECOND)
