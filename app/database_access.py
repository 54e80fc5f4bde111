"""Opens the history database for a command; what does not answer at the start is wrong configuration.

The same server may go away later: then the error says "unavailable", and the caller decides.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from core.errors import DatabaseUnavailableError, UsageError
from core.settings import Settings
from storage.database import Database, open_database


@contextlib.contextmanager
def opened_database(
    settings: Settings, *, create: bool = False, upgrade: bool = False, check: bool = True
) -> Iterator[Database]:
    """The history database, found to answer and, with `check`, to have this code's tables.

    `create` makes a SQLite file that is not there yet; `upgrade` makes or migrates the tables of any
    database. Raises UsageError in one line when there is nothing to open.
    """
    database = open_database(settings.database_url)
    with contextlib.closing(database):
        try:
            missing = database.dialect == "sqlite" and not Path(database.url.database or "").exists()
            if upgrade or (missing and create):
                database.upgrade()
            elif missing:
                raise UsageError(
                    f"{database.label}: no such database; `framewatch run FILE`, `framewatch up` and "
                    "`framewatch db upgrade` make it, --database-url names another"
                )
            if check:
                database.check()
        except DatabaseUnavailableError as error:
            raise UsageError(f"{error}; start that database, or name another with --database-url") from error
        yield database
