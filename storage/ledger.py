"""The frame ledger in SQL: what happened to every captured frame, per camera and minute."""

from collections.abc import Sequence

from core.types import LedgerMinute
from storage.database import Database


def write_ledger_minutes(database: Database, minutes: Sequence[LedgerMinute]) -> None:
    """Stores absolute counts; a repeated or late write never lowers a count. Unknown cameras are made.

    Raises DatabaseUnavailableError when nothing was stored.
    """
    raise NotImplementedError
