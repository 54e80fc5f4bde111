"""The cameras that a person configured.

A row of `cameras` without url belongs to no configured camera: it gives a name to the history of one that was
removed, or that only a worker ever mentioned.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, select, update
from sqlalchemy.exc import IntegrityError

from core.errors import CameraNotFoundError, SettingsError
from core.evidence_policy import EvidenceKind, EvidenceRule
from core.types import Camera, Policy, Transport
from core.urls import has_literal_password, redact_url
from storage.database import Database
from storage.statements import insert_missing
from storage.tables import cameras

_SETTINGS = tuple(field.name for field in fields(Camera) if field.name not in ("name", "url", "enabled"))
"""Fields of Camera without a column of their own: the JSON of `settings`."""
_RULE_FIELDS = tuple(field.name for field in fields(EvidenceRule))


def list_cameras(database: Database, enabled_only: bool = False) -> list[Camera]:
    """The configured cameras by name."""
    query = select(cameras).where(cameras.c.url.is_not(None)).order_by(cameras.c.name)
    if enabled_only:
        query = query.where(cameras.c.enabled)
    with database.reading() as connection:
        return [_camera(dict(row)) for row in connection.execute(query).mappings()]


def get_camera(database: Database, name: str) -> Camera:
    """One camera. Raises CameraNotFoundError, which lists the known ones."""
    with database.reading() as connection:
        row = connection.execute(_configured(name)).mappings().one_or_none()
    if row is None:
        raise _unknown(database, name)
    return _camera(dict(row))


def _configured(name: str) -> Select[Any]:
    return select(cameras).where(cameras.c.name == name, cameras.c.url.is_not(None))


def require_no_password(camera: Camera) -> None:
    """Raises SettingsError for a literal password in the camera's url, which would be kept in the clear."""
    if has_literal_password(camera.url):
        raise SettingsError(
            f"camera {camera.name}: expected the password by reference, as in rtsp://user:${{CAM_PASSWORD}}@host"
            " with CAM_PASSWORD in the environment of `framewatch ingest`, or ${file:/run/secrets/cam}; "
            f"got {redact_url(camera.url)}"
        )


def add_camera(database: Database, camera: Camera) -> int:
    """Stores a new camera and returns its id; takes over the history of an earlier camera of that name.

    Raises SettingsError when the name is taken, or when the url holds a literal password.
    """
    require_no_password(camera)
    with database.writing() as connection:
        camera_id, added = _add_unless_configured(connection, camera)
    if not added:
        raise SettingsError(
            f"camera {camera.name}: expected a new name, got a taken one; `camera update` changes it"
        )
    return camera_id


def ensure_camera(database: Database, camera: Camera) -> int:
    """The id of the camera of that name; stored as given when there is none yet, untouched when there is.

    Raises SettingsError for a literal password in the url; pass `redact_url(url)` if none will open it again.
    """
    require_no_password(camera)
    with database.writing() as connection:
        return _add_unless_configured(connection, camera)[0]


def change_camera(database: Database, name: str, change: Callable[[Camera], Camera]) -> Camera:
    """Replaces a stored camera by what `change` makes of it, and returns that; of two at once none is lost.

    Raises CameraNotFoundError, SettingsError for a literal password in the url, and what `change` raises.
    """
    with database.writing() as connection:
        row = connection.execute(_configured(name).with_for_update()).mappings().one_or_none()
        if row is not None:
            camera = change(_camera(dict(row)))
            require_no_password(camera)
            _update(connection, camera)
            return camera
    raise _unknown(database, name)


def remove_camera(database: Database, name: str) -> None:
    """Forgets a camera; its history stays and keeps its name. Raises CameraNotFoundError."""
    with database.writing() as connection:
        removed = _remove(connection, name)
    if not removed:
        raise _unknown(database, name)


def change_cameras(
    database: Database, add: Sequence[Camera] = (), update: Sequence[Camera] = (), remove: Sequence[str] = ()
) -> None:
    """All of these changes or none, so that whoever follows the cameras never sees half of them.

    A camera to add that is there by now is updated, one to update that is gone is added, and one to remove
    that is gone stays so. Raises SettingsError for a literal password in a url.
    """
    for camera in (*add, *update):
        require_no_password(camera)
    with database.writing() as connection:
        for camera in (*add, *update):
            if not _update(connection, camera):
                _add_unless_configured(connection, camera)
        for name in remove:
            _remove(connection, name)


def _update(connection: Connection, camera: Camera) -> bool:
    of_name = (cameras.c.name == camera.name, cameras.c.url.is_not(None))
    return bool(connection.execute(update(cameras).where(*of_name).values(_values(camera))).rowcount)


def _remove(connection: Connection, name: str) -> bool:
    of_name = (cameras.c.name == name, cameras.c.url.is_not(None))
    try:
        with connection.begin_nested():
            return bool(connection.execute(delete(cameras).where(*of_name)).rowcount)
    except IntegrityError:  # rows of its history refer to it
        history_only: dict[str, Any] = {"url": None, "settings": {}, "enabled": False}
        return bool(connection.execute(update(cameras).where(*of_name).values(history_only)).rowcount)


def _add_unless_configured(connection: Connection, camera: Camera) -> tuple[int, bool]:
    """The id, and whether the camera was stored now."""
    values = _values(camera)
    row = {"name": camera.name, "created_at": datetime.now(UTC), **values}
    added = connection.scalar(insert_missing(connection, cameras).returning(cameras.c.id), row)
    if added is not None:
        return int(added), True
    history_only = (cameras.c.name == camera.name, cameras.c.url.is_(None))
    revived = connection.execute(update(cameras).where(*history_only).values(values)).rowcount
    known = connection.scalars(select(cameras.c.id).where(cameras.c.name == camera.name)).one()
    return int(known), bool(revived)


def _unknown(database: Database, name: str) -> CameraNotFoundError:
    known = ", ".join(camera.name for camera in list_cameras(database))
    if not known:
        return CameraNotFoundError(f"camera {name!r}: none is configured yet; use `framewatch camera add`")
    return CameraNotFoundError(f"camera {name!r}: expected one of {known}")


def _values(camera: Camera) -> dict[str, Any]:
    """The columns that hold a camera's configuration."""
    given = asdict(camera)
    settings = {name: given[name] for name in _SETTINGS}
    return {"url": camera.url, "settings": settings, "enabled": camera.enabled}


def _camera(row: dict[str, Any]) -> Camera:
    """A row of `cameras` as the carrier; settings that a newer version wrote are passed over."""
    settings = row["settings"]
    known = {name: settings[name] for name in _SETTINGS if name in settings}
    camera = Camera(name=row["name"], url=row["url"], enabled=row["enabled"], **known)
    return replace(
        camera,
        policy=Policy(camera.policy),
        transport=Transport(camera.transport),
        classes=tuple(camera.classes),
        masks=_polygons(camera.masks),
        areas=_polygons(camera.areas),
        evidence=tuple(_rule(rule) for rule in settings.get("evidence", ())),
    )


def _rule(given: dict[str, Any]) -> EvidenceRule:
    rule = EvidenceRule(**{name: given[name] for name in _RULE_FIELDS if name in given})
    return replace(rule, classes=tuple(rule.classes), what=EvidenceKind(rule.what))


def _polygons(lists: Sequence[Sequence[Sequence[float]]]) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Lists, as JSON has them, as tuples."""
    return tuple(tuple((x, y) for x, y in polygon) for polygon in lists)
