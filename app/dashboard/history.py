"""The history page: what was seen, by filters that stand in the address."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from app.dashboard.charts import Chart, choose_width, make_chart
from app.dashboard.pages import PageRoute, css_color, render, services_of
from app.filters import FilterOptions
from app.times import format_iso
from core.errors import CameraNotFoundError, QueryError
from storage.database import Database
from storage.filters import DetectionFilter
from storage.names import known_names
from storage.queries import DetectionRow, count_detections, find_detections

router = APIRouter(route_class=PageRoute, include_in_schema=False)

ROWS_PER_PAGE = 50
DEFAULT_SINCE = "24h"
EVER = "all"
AROUND = timedelta(seconds=5)
SPANS = (("1h", "hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), (EVER, "ever"))


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters as they stand in the address; an empty one wants all."""

    camera: tuple[str, ...] = ()
    class_name: tuple[str, ...] = ()
    since: str = DEFAULT_SINCE
    until: str = ""
    min_score: str = ""
    region: str = ""
    min_area: str = ""

    def to_filter(self) -> DetectionFilter:
        """What they mean. Raises QueryError, naming the field that is wrong."""
        options = FilterOptions(
            camera=list(self.camera),
            class_name=list(self.class_name),
            since=None if self.since == EVER else self.since,
            until=self.until or None,
            min_score=_number("min-score", self.min_score),
            region=self.region or None,
            min_area=_number("min-area", self.min_area),
        )
        return options.to_filter()

    def query(self, **changes: Any) -> str:
        """The query string of a page with these filters, some of them changed."""
        wanted = replace(self, **changes)
        fields = [
            *(("camera", name) for name in wanted.camera),
            *(("class", name) for name in wanted.class_name),
            *(
                (name, getattr(wanted, name))
                for name in ("since", "until", "min_score", "region", "min_area")
            ),
        ]
        return urlencode([(name, value) for name, value in fields if value and (name, value) != _DEFAULT])


_DEFAULT = ("since", DEFAULT_SINCE)


def given_filters(
    camera: Annotated[list[str] | None, Query()] = None,
    class_name: Annotated[list[str] | None, Query(alias="class")] = None,
    since: str = "",
    until: str = "",
    min_score: str = "",
    region: str = "",
    min_area: str = "",
) -> Filters:
    """The filters of a request."""
    return Filters(
        tuple(name for name in camera or () if name),
        tuple(name for name in class_name or () if name),
        since.strip() or DEFAULT_SINCE,
        *(text.strip() for text in (until, min_score, region, min_area)),
    )


@router.get("/history")
def history(request: Request, filters: Annotated[Filters, Depends(given_filters)]) -> Response:
    """Filters, a chart of counts over time, and the detections themselves."""
    database = services_of(request).database
    names = known_names(database)
    try:
        found, problem = look_up(database, filters.to_filter()), None
    except (QueryError, CameraNotFoundError) as error:
        found, problem = Findings(), str(error)
    return render(
        request,
        "history.html",
        200 if problem is None else 400,
        filters=filters,
        names=names,
        found=found,
        problem=problem,
        spans=SPANS,
        around=_around,
        older=None,
        export_path=lambda kind: f"/api/detections?format={kind}",
        color=css_color,
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """What passes the filters."""

    chart: Chart | None = None
    rows: tuple[DetectionRow, ...] = ()
    more: bool = False
    newest: DetectionRow | None = None
    """Where nothing passes: the newest detection at all, if there is one."""


def look_up(database: Database, wanted: DetectionFilter) -> Findings:
    """The newest detections that pass, and how many there were over time. Raises as `find_detections`."""
    rows = tuple(find_detections(database, replace(wanted, limit=ROWS_PER_PAGE + 1)))
    if not rows:
        return Findings(newest=next(find_detections(database, DetectionFilter(limit=1)), None))
    since, until = _span(database, wanted, rows[0])
    width = choose_width(since, until)
    counts = count_detections(database, ("class",), width, wanted)
    chart = make_chart(counts, since, until, width)
    return Findings(chart, rows[:ROWS_PER_PAGE], len(rows) > ROWS_PER_PAGE)


def _span(database: Database, wanted: DetectionFilter, newest: DetectionRow) -> tuple[datetime, datetime]:
    """What the chart's axis spans: the filter's times, or those of the detections that pass."""
    until = wanted.until or max(datetime.now(UTC), newest.captured_at + timedelta(seconds=1))
    if wanted.since is not None:
        return wanted.since, until
    oldest = next(find_detections(database, replace(wanted, newest_first=False, limit=1)), newest)
    return oldest.captured_at, wanted.until or newest.captured_at + timedelta(seconds=1)


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"{name}: expected a number, got {text!r}") from None


def _around(row: DetectionRow) -> str:
    """The query string of what that camera saw around then."""
    since, until = row.captured_at - AROUND, row.captured_at + AROUND
    return Filters((row.camera,), since=format_iso(since), until=format_iso(until)).query()
