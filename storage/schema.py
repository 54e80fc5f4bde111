"""The schema's version: Alembic migrations that travel inside the package."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from core.errors import UsageError
from storage.faults import UPGRADE_ADVICE

_FOLDER = Path(__file__).parent / "migrations"
_alembic_is_global = threading.Lock()  # alembic.context and alembic.op are module-level proxies


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_revision(connection: Connection) -> str | None:
    """The revision of the database; None where nothing was ever made."""
    return MigrationContext.configure(connection).get_current_revision()


def check_revision(connection: Connection, where: str) -> None:
    """Raises UsageError unless the database has exactly the schema of this code."""
    current, head = current_revision(connection), head_revision()
    if current == head:
        return
    if current is None:
        raise UsageError(f"{where}: expected schema {head}, got an empty database; {UPGRADE_ADVICE}")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current in known:
        raise UsageError(f"{where}: expected schema {head}, got the older {current}; {UPGRADE_ADVICE}")
    raise UsageError(
        f"{where}: expected schema {head}, got {current}, which a newer framewatch made; update framewatch"
    )


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up (or down) to a revision inside the connection's transaction."""
    config = _config(connection)
    with _alembic_is_global:
        if revision == "head":
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)
