"""The schema's version: Alembic migrations that travel inside the package.

Alembic is imported only where a migration runs: it takes 0.3 s, which every question would pay.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from core.errors import UsageError
from storage.faults import UPGRADE_ADVICE

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent / "migrations"
_alembic_is_global = threading.Lock()  # alembic.context and alembic.op are module-level proxies


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The revision that this code needs: revisions are numbers in a row, which their files begin with."""
    return max(file.name.partition("_")[0] for file in (_FOLDER / "versions").glob("[0-9]*_*.py"))


def current_revision(connection: Connection) -> str | None:
    """The revision of the database; None where nothing was ever made."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def check_revision(connection: Connection, where: str) -> None:
    """Raises UsageError unless the database has exactly the schema of this code."""
    current, head = current_revision(connection), head_revision()
    if current == head:
        return
    if current is None:
        raise UsageError(f"{where}: expected schema {head}, got an empty database; {UPGRADE_ADVICE}")
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current in known:
        raise UsageError(f"{where}: expected schema {head}, got the older {current}; {UPGRADE_ADVICE}")
    raise UsageError(
        f"{where}: expected schema {head}, got {current}, which a newer framewatch made; update framewatch"
    )


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up (or down) to a revision inside the connection's transaction."""
    from alembic import command

    config = _config(connection)
    with _alembic_is_global:
        if revision == "head":
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)
