"""Charts: whole bars, honest sums, and an axis that people can read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashboard.charts import (
    MOST_BARS,
    MOST_CLASSES,
    MOST_LANES,
    OTHERS,
    choose_width,
    make_chart,
    round_up,
)
from storage.queries import CountRow

SINCE = datetime(2026, 11, 23, 8, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)


def row(hours: int, class_name: str, count: int, camera: str = "gate") -> CountRow:
    return CountRow(SINCE.replace(minute=0) + hours * HOUR, camera, class_name, None, count)


def test_bars_begin_at_whole_widths_and_have_gaps() -> None:
    chart = make_chart([row(0, "person", 3), row(2, "car", 1)], SINCE, SINCE + 3 * HOUR, HOUR)
    assert [bar.start.strftime("%H:%M") for bar in chart.bars] == ["08:00", "09:00", "10:00", "11:00"]
    assert [bar.total for bar in chart.bars] == [3, 0, 1, 0]
    assert str(chart.bars[0]) == "3 person"
    assert str(chart.bars[1]) == "nothing"
    assert (chart.total, chart.top, chart.until) == (4, 4, chart.bars[-1].end)


def test_classes_are_stacked_from_the_most_frequent_up() -> None:
    chart = make_chart([row(0, "car", 1), row(0, "person", 3)], SINCE, SINCE + HOUR, HOUR)
    person, car = chart.bars[0].segments
    assert (person.class_name, person.y, car.class_name, car.y) == ("person", 1, "car", 0)


def test_rare_classes_share_a_colour_and_nothing_is_lost() -> None:
    rows = [row(0, f"class {i}", 10 + i) for i in range(MOST_CLASSES + 3)]
    chart = make_chart(rows, SINCE, SINCE + HOUR, HOUR)
    assert len(chart.totals) == MOST_CLASSES
    assert chart.totals[-1][0] == OTHERS
    assert chart.total == chart.bars[0].total == sum(one.count for one in rows)


def test_every_camera_has_a_lane_the_busiest_first() -> None:
    rows = [row(0, "person", 4, "gate"), row(1, "person", 16, "yard"), row(1, "car", 9, "gate")]
    chart = make_chart(rows, SINCE, SINCE + 2 * HOUR, HOUR)
    yard, gate = chart.lanes
    assert (yard.camera, yard.total, gate.total) == ("yard", 16, 13)
    assert [(cell.index, cell.count, cell.strength) for cell in gate.cells] == [(0, 4, 0.5), (1, 9, 0.75)]


def test_many_cameras_are_told_and_the_busiest_shown() -> None:
    rows = [row(0, "person", i + 1, f"camera-{i}") for i in range(MOST_LANES + 5)]
    chart = make_chart(rows, SINCE, SINCE + HOUR, HOUR)
    assert (len(chart.lanes), chart.cameras) == (MOST_LANES, MOST_LANES + 5)


@given(
    st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=40_000)),
    st.integers(0, 4_000_000_000),
)
def test_any_span_has_few_bars_and_all_of_it(span: timedelta, seconds: int) -> None:
    since = datetime.fromtimestamp(seconds, UTC)
    width = choose_width(since, since + span)
    chart = make_chart([], since, since + span, width)
    assert 1 <= len(chart.bars) <= MOST_BARS + 1
    assert chart.since <= since
    assert chart.until >= since + span


@pytest.mark.parametrize(
    ("span", "ticks"),
    [
        (timedelta(minutes=2), ["23 Nov 00:00:00", "00:00:30", "00:01:00", "00:01:30", "00:02:00"]),
        (timedelta(hours=24), ["23 Nov 00:00", "06:00", "12:00", "18:00", "00:00"]),
        (timedelta(days=8), ["23 Nov", "25 Nov", "27 Nov", "29 Nov", "1 Dec"]),
        (timedelta(days=365), ["Nov 2026", "Feb 2027", "May 2027", "Aug 2027", "Nov 2027"]),
    ],
)
def test_ticks_are_as_short_as_they_may_be(span: timedelta, ticks: list[str]) -> None:
    since = SINCE.replace(hour=0, minute=0)
    chart = make_chart([], since, since + span, choose_width(since, since + span))
    assert chart.ticks == ticks


def test_a_span_at_the_end_of_time_stays_where_it_is() -> None:
    since = datetime(1, 1, 1, tzinfo=UTC)
    chart = make_chart([], since, since + HOUR, HOUR)
    assert chart.moved(-0.5) == {"since": chart.since, "until": chart.until}


def test_a_span_is_moved_and_stretched_about_its_middle() -> None:
    since = SINCE.replace(minute=0)
    chart = make_chart([], since, since + 2 * HOUR, HOUR)
    assert chart.moved(-0.5) == {"since": since - HOUR, "until": since + HOUR}
    assert chart.moved(0, 3) == {"since": since - 2 * HOUR, "until": since + 4 * HOUR}


@given(st.integers(1, 10**9))
def test_an_axis_ends_at_an_even_number_close_above(number: int) -> None:
    top = round_up(number)
    assert number <= top <= max(2, 2 * number)
    assert top % 2 == 0


def test_an_empty_axis_ends_at_0() -> None:
    assert round_up(0) == 0
