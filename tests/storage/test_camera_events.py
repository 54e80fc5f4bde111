from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from core.camera_state import CameraActivity, CameraEvent
from core.types import Camera
from storage.camera_events import write_camera_events
from storage.cameras import add_camera, list_cameras, remove_camera
from storage.database import Database
from tests.storage.results import START

LOST = "rtsp://gate: nothing came for 5 s"


def _events() -> list[CameraEvent]:
    return [
        CameraEvent("gate", START, CameraActivity.LIVE, None, "host-1"),
        CameraEvent("gate", START + timedelta(seconds=9), CameraActivity.BACKING_OFF, LOST, "host-1"),
        CameraEvent("door", START, CameraActivity.CONNECTING, None, "host-2"),
    ]


def _rows(database: Database) -> list[tuple[object, ...]]:
    statement = text(
        "SELECT c.name, e.state, e.reason, e.ingest FROM camera_events e JOIN cameras c ON c.id = e.camera_id"
        " ORDER BY c.name, e.at"
    )
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def test_events_are_kept_once_whoever_repeats_them(database: Database) -> None:
    write_camera_events(database, _events())
    write_camera_events(database, [*reversed(_events())])
    write_camera_events(database, [])
    assert _rows(database) == [
        ("door", "connecting", None, "host-2"),
        ("gate", "live", None, "host-1"),
        ("gate", "backing_off", LOST, "host-1"),
    ]


def test_events_of_a_removed_camera_keep_its_name(database: Database) -> None:
    add_camera(database, Camera("gate", "rtsp://gate"))
    write_camera_events(database, _events()[:2])
    remove_camera(database, "gate")
    assert list_cameras(database) == []
    assert [row[0] for row in _rows(database)] == ["gate", "gate"]


def test_every_activity_fits_its_column(database: Database) -> None:
    events = [CameraEvent("gate", START, activity, None, "host") for activity in CameraActivity]
    write_camera_events(database, events)
    assert {row[1] for row in _rows(database)} == {activity.value for activity in CameraActivity}


@pytest.mark.postgres
def test_uptime_goes_by_days_of_utc_whatever_the_zone_of_the_session(postgres: Database) -> None:
    since = datetime(2026, 10, 24, 12, tzinfo=UTC)  # Berlin's clocks go back in the night
    last = since + timedelta(days=3)
    events = [
        CameraEvent("gate", since, CameraActivity.LIVE, None, "a"),
        CameraEvent("gate", last, CameraActivity.STOPPED, None, "a"),
    ]
    write_camera_events(postgres, events)
    with postgres.reading() as connection:
        connection.exec_driver_sql("SET TIME ZONE 'Europe/Berlin'")
        days = connection.execute(
            text("SELECT day, live_s FROM camera_uptime WHERE live_s > 0 ORDER BY day")
        ).all()
    assert [(day.astimezone(UTC).strftime("%d %H:%M"), seconds) for day, seconds in days] == [
        ("24 00:00", 12 * 3600),
        ("25 00:00", 24 * 3600),
        ("26 00:00", 24 * 3600),
        ("27 00:00", 12 * 3600),
    ]
