"""What a camera's reader tells of itself."""

from datetime import UTC, datetime, timedelta

import pytest

from core.camera_state import CameraActivity, CameraState
from ingest.activity import ActivityReporter
from ingest.timestamps import ClockReport

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("fps", [1, 2, 5, 25])
def test_a_camera_whose_every_frame_is_queued_queues_as_many_as_it_captures(
    fps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 100.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    states: list[CameraState] = []
    reporter = ActivityReporter("gate", states.append)
    reporter.change(CameraActivity.LIVE, "live")
    for number in range(1, 5 * fps + 1):
        clock += 1 / fps + 1e-9
        reporter.frame_captured(NOW + timedelta(seconds=number / fps), number, ClockReport())
    rates = [(state.fps_in, state.fps_out) for state in states if state.fps_in]
    assert len(rates) >= 4
    assert all(pair == (pytest.approx(fps), pytest.approx(fps)) for pair in rates)
