from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import text

from core.types import DropReason, LedgerMinute
from storage.database import Database
from storage.ledger import list_ledger_minutes, write_ledger_minutes
from storage.tables import frame_ledger
from tests.storage.results import START

MINUTE = timedelta(minutes=1)


def _rows(database: Database) -> list[dict[str, object]]:
    statement = text(
        "SELECT c.name, l.* FROM frame_ledger l JOIN cameras c ON c.id = l.camera_id ORDER BY 1, 3"
    )
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def test_each_drop_reason_has_its_column(database: Database) -> None:
    dropped = {reason: number for number, reason in enumerate(DropReason, start=1)}
    write_ledger_minutes(database, [LedgerMinute("gate", START, captured=100, stored=79, dropped=dropped)])
    (row,) = _rows(database)
    assert (row["name"], row["captured"], row["stored"]) == ("gate", 100, 79)
    assert {reason: row[reason.value] for reason in DropReason} == dropped
    assert {column.name for column in frame_ledger.columns} == {
        "camera_id",
        "minute",
        "captured",
        "stored",
        *(reason.value for reason in DropReason),
        "replayed",
    }


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_counts_never_go_down_whatever_the_order_of_the_writes(
    database: Database, order: tuple[int, ...]
) -> None:
    states = [
        LedgerMinute("gate", START, captured=10, stored=2),
        LedgerMinute("gate", START, captured=20, stored=15, dropped={DropReason.STALE: 1}),
        LedgerMinute("gate", START, captured=20, stored=17, dropped={DropReason.STALE: 3}),
    ]
    for index in order:
        write_ledger_minutes(database, [states[index]])
        write_ledger_minutes(database, [states[index]])
    (row,) = _rows(database)
    assert (row["captured"], row["stored"], row["stale"]) == (20, 17, 3)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_replay_in_mid_minute_is_not_lost_whatever_the_order_of_the_writes(
    database: Database, order: tuple[int, ...]
) -> None:
    before = LedgerMinute("gate", START - MINUTE, captured=4, stored=1, dropped={DropReason.FAILED: 3})
    states = [
        LedgerMinute("gate", START, captured=50, stored=50),
        LedgerMinute("gate", START, captured=50, stored=50, dropped={DropReason.FAILED: -3}, replayed=3),
        LedgerMinute("gate", START, captured=90, stored=92, dropped={DropReason.FAILED: -3}, replayed=3),
        LedgerMinute("gate", START, captured=100, stored=102, dropped={DropReason.FAILED: -2}, replayed=3),
    ]
    for index in order:
        write_ledger_minutes(database, [before, states[index]])
    assert list_ledger_minutes(database, START)[0].dropped[DropReason.FAILED] == -2
    with database.reading() as connection:
        (balance,) = connection.execute(text("SELECT failed, in_flight FROM ledger_balance"))
    assert tuple(balance) == (1, 0)


def test_minutes_and_cameras_are_kept_apart(database: Database) -> None:
    minutes = [
        LedgerMinute(camera, START + n * MINUTE, captured=n + 1) for camera in ("b", "a") for n in range(3)
    ]
    write_ledger_minutes(database, [*minutes, minutes[0]])
    assert [(row["name"], row["captured"]) for row in _rows(database)] == [
        ("a", 1),
        ("a", 2),
        ("a", 3),
        ("b", 1),
        ("b", 2),
        ("b", 3),
    ]


def test_no_minutes_are_no_error(database: Database) -> None:
    write_ledger_minutes(database, [])
    assert _rows(database) == []
