"""Shares of a day from changes of state."""

from datetime import UTC, datetime, timedelta

import pytest

from app.dashboard.uptime import MOST_STRETCHES, measure_uptime
from core.camera_state import CameraActivity, CameraEvent

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(hours=24)


def event(hours_ago: float, activity: CameraActivity) -> CameraEvent:
    return CameraEvent("gate", NOW - timedelta(hours=hours_ago), activity, None, "ingest-1")


def test_without_events_nothing_is_known() -> None:
    uptime = measure_uptime([], NOW - DAY, NOW)
    (stretch,) = uptime.stretches
    assert (stretch.activity, stretch.start, stretch.length) == (None, 0.0, 1.0)
    assert uptime.live_share is None


def test_states_last_until_the_next_and_the_time_before_is_unknown() -> None:
    events = [
        event(12, CameraActivity.LIVE),
        event(6, CameraActivity.BACKING_OFF),
        event(3, CameraActivity.LIVE),
    ]
    uptime = measure_uptime(events, NOW - DAY, NOW)
    assert [one.length for one in uptime.stretches] == pytest.approx([0.5, 0.25, 0.125, 0.125])
    assert uptime.live_share == pytest.approx(0.75)


def test_a_day_of_very_many_changes_is_drawn_in_slots() -> None:
    """Twelve hours live, then twelve in which every try to connect takes 3 of 7 seconds."""
    tries = [
        event(
            12 - (7 * i + 3 * refused) / 3600,
            (CameraActivity.CONNECTING, CameraActivity.BACKING_OFF)[refused],
        )
        for i in range(12 * 3600 // 7)
        for refused in (0, 1)
    ]
    uptime = measure_uptime([event(24, CameraActivity.LIVE), *tries], NOW - DAY, NOW)
    assert len(tries) > 12_000
    assert [(one.activity, one.start, one.length) for one in uptime.stretches] == [
        (CameraActivity.LIVE, 0.0, 0.5),
        (CameraActivity.BACKING_OFF, 0.5, 0.5),
    ]
    assert uptime.live_share == pytest.approx(0.5)


def test_slots_never_outnumber_what_can_be_seen() -> None:
    minutes = [
        event(24 - i / 60, (CameraActivity.LIVE, CameraActivity.FAILED)[i // 5 % 2]) for i in range(1440)
    ]
    uptime = measure_uptime(minutes, NOW - DAY, NOW)
    assert len(uptime.stretches) == MOST_STRETCHES
    assert sum(one.length for one in uptime.stretches) == pytest.approx(1)
    assert uptime.live_share == pytest.approx(0.5)


def test_the_state_at_the_beginning_comes_from_before_it() -> None:
    uptime = measure_uptime(
        [event(30, CameraActivity.LIVE), event(12, CameraActivity.FAILED)], NOW - DAY, NOW
    )
    assert [one.length for one in uptime.stretches] == pytest.approx([0.5, 0.5])
    assert uptime.live_share == pytest.approx(0.5)
