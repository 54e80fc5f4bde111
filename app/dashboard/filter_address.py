"""The history page's filters as they stand in its address: what a link to it holds."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query

from app.filters import FilterOptions
from app.times import format_minute, parse_moment
from core.errors import QueryError
from storage.filters import DetectionFilter

DEFAULT_SINCE = "24h"
EVER = "all"
SPANS = (("1h", "hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), (EVER, "ever"))
"""What can be chosen for `since`, and its label."""
_TEXTS = ("since", "until", "min_score", "region", "min_area")


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
        """The query string of a page with these filters, some of them changed; times may be given as such."""
        texts = {
            name: write_moment(one) if isinstance(one, datetime) else one for name, one in changes.items()
        }
        wanted = Filters(**{**asdict(self), **texts})
        fields = [
            *(("camera", name) for name in wanted.camera),
            *(("class", name) for name in wanted.class_name),
            *((name, getattr(wanted, name)) for name in _TEXTS),
        ]
        return urlencode([one for one in fields if one[1] and one != ("since", DEFAULT_SINCE)], safe=":,")

    def path(self, **changes: Any) -> str:
        """The address of that page."""
        query = self.query(**changes)
        return f"/history?{query}" if query else "/history"

    @property
    def is_special(self) -> bool:
        """Whether they hold more than a choice of times, cameras and classes."""
        return bool(self.min_score or self.region or self.min_area)

    @property
    def span_label(self) -> str | None:
        """How to call a span of time that is none of SPANS."""
        if not self.until and self.since in dict(SPANS):
            return None
        since, until = (_shown(text) for text in (self.since, self.until))
        day, _, clock = until.partition(" ")
        of_one_day = clock and since.startswith(day)
        return f"{dict(SPANS).get(self.since, since)} – {(clock if of_one_day else until) or 'now'}"

    def field_value(self, name: str) -> str:
        """A time as a browser's field of date and time takes it; empty where it stands for itself."""
        text = getattr(self, name)
        if not text or text in dict(SPANS):
            return ""
        try:
            return parse_moment(text, name).strftime("%Y-%m-%dT%H:%M:%S")
        except QueryError:
            return ""


def given_filters(
    camera: Annotated[list[str] | None, Query()] = None,
    class_name: Annotated[list[str] | None, Query(alias="class")] = None,
    since: str = "",
    since_field: Annotated[str, Query(alias="from")] = "",
    until: str = "",
    min_score: str = "",
    region: str = "",
    min_area: str = "",
) -> Filters:
    """The filters of a request. The form's field `from` goes before the choice of `since` beside it."""
    return Filters(
        tuple(name for name in camera or () if name),
        tuple(name for name in class_name or () if name),
        since_field.strip() or since.strip() or DEFAULT_SINCE,
        *(text.strip() for text in (until, min_score, region, min_area)),
    )


def write_moment(moment: datetime) -> str:
    """ISO 8601 in UTC, as short as it can be said exactly."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _shown(text: str) -> str:
    try:
        return format_minute(parse_moment(text, "time")) if "-" in text else text
    except QueryError:
        return text


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"{name}: expected a number, got {text!r}") from None
