"""Camera events on their way to SQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app import camera_journal
from app.camera_journal import CameraJournal
from core.camera_state import CameraActivity, CameraEvent
from storage.database import Database, open_database
from storage.tables import camera_events
from tests.postgres_server import PostgresServer
from tests.waiting import wait_until

START = datetime(2026, 11, 24, tzinfo=UTC)


def event(number: int) -> CameraEvent:
    return CameraEvent("gate", START + timedelta(seconds=number), CameraActivity.LIVE, None, "host-1")


def stored(database: Database) -> list[int]:
    with database.reading() as connection:
        times = connection.execute(select(camera_events.c.at).order_by(camera_events.c.at)).scalars()
        return [round((at - START).total_seconds()) for at in times]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'history.db'}")
    database.upgrade()
    yield database
    database.close()


def test_events_are_stored_soon_and_the_last_at_the_end(database: Database) -> None:
    journal = CameraJournal(database)
    journal.note(event(0))
    wait_until(lambda: stored(database) == [0], 10, "the first event")
    journal.note(event(1))
    journal.close()
    assert stored(database) == [0, 1]


@pytest.mark.postgres
def test_events_wait_within_bounds_while_sql_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(camera_journal, "RETRY_EVERY_S", 0.2)
    with PostgresServer(tmp_path) as server:
        database = open_database(server.url)
        database.upgrade()
        journal = CameraJournal(database, most_kept=5)
        journal.note(event(0))
        wait_until(lambda: stored(database) == [0], 10, "the first event")
        server.stop()
        for number in range(1, 9):
            journal.note(event(number))
        wait_until(lambda: "camera events wait" in caplog.text, 20, "the outage to be noticed")
        server.start()
        wait_until(lambda: stored(database) == [0, 4, 5, 6, 7, 8], 30, "the newest five")
        journal.close()
        database.close()
    assert "the oldest camera events are dropped" in caplog.text
