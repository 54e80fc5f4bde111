"""Every change of a camera's state in SQL: when, to what, and why."""

from collections.abc import Sequence

from core.camera_state import CameraEvent
from storage.database import Database
from storage.identities import camera_ids
from storage.statements import insert_missing
from storage.tables import camera_events


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
