"""Shares of a day from changes of state."""

from datetime import UTC, datetime, timedelta

import pytest

from app.dashboard.uptime import measure_uptime
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


def test_the_state_at_the_beginning_comes_from_before_it() -> None:
    uptime = measure_uptime(
        [event(30, CameraActivity.LIVE), event(12, CameraActivity.FAILED)], NOW - DAY, NOW
    )
    assert [one.length for one in uptime.stretches] == pytest.approx([0.5, 0.5])
    assert uptime.live_share == pytest.approx(0.5)
