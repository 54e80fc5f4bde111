"""Names that a filter can be chosen from."""

from dataclasses import dataclass

from sqlalchemy import select

from storage.database import Database
from storage.tables import cameras, classes


@dataclass(frozen=True, slots=True)
class KnownNames:
    """What the history can be asked about, each sorted."""

    cameras: tuple[str, ...]
    classes: tuple[str, ...]


def known_names(database: Database) -> KnownNames:
    """The cameras and classes that the database knows. Raises DatabaseUnavailableError."""
    with database.reading() as connection:
        return KnownNames(
            tuple(connection.scalars(select(cameras.c.name).order_by(cameras.c.name))),
            tuple(connection.scalars(select(classes.c.name).distinct().order_by(classes.c.name))),
        )
