"""Every change of a camera's state in SQL: when, to what, and why."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from core.camera_state import CameraActivity, CameraEvent
from storage.database import Database
from storage.identities import camera_ids
from storage.statements import insert_missing
from storage.tables import camera_events, cameras


def write_camera_events(database: Database, events: Sequence[CameraEvent]) -> None:
    """Stores events; one that is there already changes nothing. Unknown cameras are made.

    Raises DatabaseUnavailableError when nothing was stored.
    """
    if not events:
        return
    with database.writing() as connection:
        ids = camera_ids(connection, {event.camera for event in events})
        rows = [
            {
                "camera_id": ids[event.camera],
                "at": event.at,
                "state": event.activity.value,
                "reason": event.reason,
                "ingest": event.ingest,
            }
            for event in events
        ]
        rows.sort(key=lambda row: (row["camera_id"], row["at"]))  # writers must not wait in a circle
        connection.execute(insert_missing(connection, camera_events), rows)


def list_camera_events(database: Database, camera: str, since: datetime) -> list[CameraEvent]:
    """A camera's changes since a time, oldest first, after the one that it was in then; none if unknown."""
    at = camera_events.c.at
    of_camera = (
        select(at, camera_events.c.state, camera_events.c.reason, camera_events.c.ingest)
        .join(cameras, cameras.c.id == camera_events.c.camera_id)
        .where(cameras.c.name == camera)
    )
    with database.reading() as connection:
        before = connection.execute(of_camera.where(at < since).order_by(at.desc()).limit(1)).all()
        after = connection.execute(of_camera.where(at >= since).order_by(at)).all()
    return [
        CameraEvent(camera, moment, CameraActivity(state), reason, ingest)
        for moment, state, reason, ingest in (*before, *after)
    ]
