"""Ids of cameras and models by name; what is missing is made."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from core.types import WeightsInfo
from storage.database import Database
from storage.statements import insert_missing
from storage.tables import cameras, classes, models


def camera_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The ids of all these cameras; unknown names get a row without url, which only names their history."""
    wanted = sorted(set(names))  # one order everywhere, or two writers could wait for each other
    known = _known_cameras(connection, wanted)
    missing = [name for name in wanted if name not in known]
    if not missing:
        return known
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {"name": name, "url": None, "settings": {}, "enabled": False, "created_at": now} for name in missing
    ]
    connection.execute(insert_missing(connection, cameras), rows)
    return known | _known_cameras(connection, missing)


def _known_cameras(connection: Connection, names: list[str]) -> dict[str, int]:
    found = connection.execute(select(cameras.c.name, cameras.c.id).where(cameras.c.name.in_(names)))
    return dict(found.all())


def model_id(connection: Connection, weights: WeightsInfo) -> int:
    """The id of these weights; new ones are stored with the names of their classes."""
    query = select(models.c.id).where(models.c.name == weights.name, models.c.sha256 == weights.sha256)
    known = connection.scalar(query)
    if known is None:
        row = {"name": weights.name, "sha256": weights.sha256, "categories": list(weights.categories)}
        connection.execute(insert_missing(connection, models), row)
        known = connection.scalar(query)
        assert known is not None
        names = [
            {"model_id": known, "class_id": class_id, "name": name}
            for class_id, name in enumerate(weights.categories)
        ]
        connection.execute(insert_missing(connection, classes), names)
    return int(known)


def list_models(database: Database) -> list[WeightsInfo]:
    """The weights that made any detection, by name. Raises DatabaseUnavailableError."""
    query = select(models.c.name, models.c.sha256, models.c.categories).order_by(models.c.name, models.c.id)
    with database.reading() as connection:
        return [WeightsInfo(name, sha256, tuple(known)) for name, sha256, known in connection.execute(query)]
