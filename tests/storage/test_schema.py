from alembic.script import ScriptDirectory

from storage import schema
from storage.database import Database


def test_the_newest_file_is_alembics_head() -> None:
    assert schema.head_revision() == ScriptDirectory.from_config(schema._config()).get_current_head()


def test_the_revision_of_a_database_is_read_without_alembic(database: Database) -> None:
    with database.reading() as connection:
        assert schema.current_revision(connection) == schema.head_revision()
    database.downgrade("base")
    with database.reading() as connection:
        assert schema.current_revision(connection) is None
