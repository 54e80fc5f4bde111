"""An address of the history page holds all that its filters do."""

from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from app.dashboard.filter_address import Filters, given_filters, write_moment
from core.errors import QueryError

FULL = Filters(
    ("gate", "yard"), ("person",), "2026-11-23T08:00:00Z", "2026-11-23T09:30:00Z", "0.5", "0,0,9,9", "40"
)


def test_the_default_has_the_shortest_address() -> None:
    assert Filters().path() == "/history"
    assert Filters(since="7d").path() == "/history?since=7d"


def test_everything_is_in_the_address_and_comes_back() -> None:
    fields = parse_qs(FULL.query())
    assert (
        given_filters(
            fields["camera"],
            fields["class"],
            *(fields["since"][0], "", fields["until"][0]),
            *(fields[name][0] for name in ("min_score", "region", "min_area")),
        )
        == FULL
    )


def test_times_can_be_changed() -> None:
    moment = datetime(2026, 11, 23, 8, 0, 0, 250_000, tzinfo=UTC)
    assert FULL.path(since=moment, until="").endswith(
        "since=2026-11-23T08:00:00.250000Z&min_score=0.5&region=0,0,9,9&min_area=40"
    )
    assert write_moment(moment.replace(microsecond=0)) == "2026-11-23T08:00:00Z"


def test_they_become_the_filter_that_they_say() -> None:
    wanted = FULL.to_filter()
    assert (wanted.cameras, wanted.classes, wanted.min_score) == (("gate", "yard"), ("person",), 0.5)
    assert (wanted.region, wanted.min_area) == ((0, 0, 9, 9), 40)
    assert Filters(since="all").to_filter().since is None


def test_a_typed_time_goes_before_the_choice_beside_it() -> None:
    filters = given_filters(since="7d", since_field="2026-11-23T08:00")
    assert filters.since == "2026-11-23T08:00"
    assert filters.field_value("since") == "2026-11-23T08:00:00"
    assert filters.span_label == "2026-11-23 08:00 – now"


def test_a_span_within_a_day_is_called_by_its_day_once() -> None:
    assert FULL.span_label == "2026-11-23 08:00 – 09:30"
    assert Filters(since="7d", until="2026-11-23T09:30").span_label == "7 days – 2026-11-23 09:30"


@pytest.mark.parametrize("since", ["1h", "24h", "all"])
def test_a_usual_span_needs_no_label(since: str) -> None:
    assert Filters(since=since).span_label is None
    assert Filters(since=since).field_value("since") == ""


@pytest.mark.parametrize(("field", "value"), [("min_score", "much"), ("since", "soon"), ("region", "1,2")])
def test_nonsense_is_refused_with_the_field_and_shown_as_it_is(field: str, value: str) -> None:
    filters = Filters(**{field: value})
    assert filters.field_value("since") == ""
    with pytest.raises(QueryError, match=f"{field.replace('_', '-')}: expected .*got '{value}'"):
        filters.to_filter()
