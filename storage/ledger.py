"""The frame ledger in SQL: what happened to every captured frame, per camera and minute."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BigInteger, Connection, delete, func, literal_column, or_, select
from sqlalchemy.sql.elements import ColumnElement

from core.types import DropReason, LedgerMinute
from storage.database import Database
from storage.identities import camera_ids
from storage.statements import insert_into, insert_missing
from storage.tables import cameras, frame_ledger

_COUNTS = ("captured", "stored", *(reason.value for reason in DropReason), "replayed")
_UNSETTLED = literal_column(" - ".join(_COUNTS[:-1]), BigInteger)
"""Of the frames that a minute captured, those that it neither stored nor dropped."""


def write_ledger_minutes(database: Database, minutes: Sequence[LedgerMinute]) -> None:
    """Stores absolute counts; a repeated or late write never takes one back. Unknown cameras are made.

    Raises DatabaseUnavailableError when nothing was stored.
    """
    if not minutes:
        return
    with database.writing() as connection:
        ids = camera_ids(connection, {minute.camera for minute in minutes})
        rows = [
            {"camera_id": ids[minute.camera], "minute": minute.minute, **_counts(minute)}
            for minute in minutes
        ]
        rows.sort(key=lambda row: (row["camera_id"], row["minute"]))  # writers must not wait in a circle
        statement = insert_into(connection, frame_ledger)
        old, new = frame_ledger.c, statement.excluded
        newest = {name: _larger(connection, old[name], new[name]) for name in _COUNTS}
        # A replay takes a failed frame back: what only grows is how many failed before any came back.
        ever_failed = _larger(connection, old.failed + old.replayed, new.failed + new.replayed)
        newest["failed"] = ever_failed - newest["replayed"]
        connection.execute(
            statement.on_conflict_do_update(index_elements=["camera_id", "minute"], set_=newest), rows
        )


def settle_ledger_minutes(connection: Connection, camera: int, last: datetime) -> int:
    """Removes a camera's minutes up to `last`; returns how many.

    What they captured and neither stored nor dropped was settled in later minutes. So the newest of them
    stays, with that as its captured frames, and the rest of the ledger adds up. Safe to repeat.
    """
    one_at_a_time = select(cameras.c.id).where(cameras.c.id == camera).with_for_update(key_share=True)
    connection.execute(one_at_a_time)
    old = frame_ledger.c.camera_id == camera, frame_ledger.c.minute <= last
    gone = delete(frame_ledger).where(*old).returning(frame_ledger.c.minute, _UNSETTLED)
    minutes = connection.execute(gone).all()
    # Below zero is a fault of the past, which goes with its minutes.
    unsettled = max(0, sum(count for _, count in minutes))
    if unsettled:
        newest = max(minute for minute, _ in minutes)
        counts = _counts(LedgerMinute("", newest, captured=unsettled))
        row = {"camera_id": camera, "minute": newest, **counts}
        connection.execute(insert_missing(connection, frame_ledger).values(row))
    return len(minutes) - bool(unsettled)


def count_settled_minutes(connection: Connection, camera: int, until: datetime) -> int:
    """How many minutes `settle_ledger_minutes` would remove of those before `until`."""
    old = frame_ledger.c.camera_id == camera, frame_ledger.c.minute < until
    minutes, unsettled = connection.execute(select(func.count(), func.sum(_UNSETTLED)).where(*old)).one()
    return int(minutes) - ((unsettled or 0) > 0)


def list_ledger_minutes(
    database: Database,
    since: datetime,
    until: datetime | None = None,
    limit: int | None = None,
    after: tuple[datetime, str] | None = None,
) -> list[LedgerMinute]:
    """The minutes of all cameras from a time on, oldest first, then by camera; `until` is exclusive.

    `after` is the minute and camera behind which they begin. Raises DatabaseUnavailableError.
    """
    minute = frame_ledger.c.minute
    counts = [frame_ledger.c[name] for name in _COUNTS]
    query = (
        select(cameras.c.name, frame_ledger.c.minute, *counts)
        .join(cameras, cameras.c.id == frame_ledger.c.camera_id)
        .where(minute >= since)
        .order_by(minute, cameras.c.name)
        .limit(limit)
    )
    if until is not None:
        query = query.where(minute < until)
    if after is not None:
        query = query.where(minute >= after[0], or_(minute > after[0], cameras.c.name > after[1]))
    with database.reading() as connection:
        rows = connection.execute(query).all()
    return [
        LedgerMinute(camera, minute, captured, stored, dict(zip(DropReason, dropped, strict=True)), replayed)
        for camera, minute, captured, stored, *dropped, replayed in rows
    ]


def _counts(minute: LedgerMinute) -> dict[str, int]:
    dropped = {reason.value: minute.dropped.get(reason, 0) for reason in DropReason}
    return {"captured": minute.captured, "stored": minute.stored, **dropped, "replayed": minute.replayed}


def _larger(connection: Connection, old: ColumnElement[int], new: ColumnElement[int]) -> ColumnElement[int]:
    """GREATEST, which SQLite spells as max of two."""
    return func.greatest(old, new) if connection.dialect.name == "postgresql" else func.max(old, new)
