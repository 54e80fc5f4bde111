"""Cameras in a YAML file, and what it takes to make the database agree with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from core.errors import SettingsError
from core.types import Camera
from core.urls import redact_url
from ingest.sources import expand_home, is_recorded
from storage.cameras import change_cameras, require_no_password
from storage.database import Database

_FIELDS = tuple(field.name for field in fields(Camera))
_CAMERA = TypeAdapter(Camera)


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """What applying a file would do."""

    add: tuple[Camera, ...]
    update: tuple[tuple[Camera, Camera], ...]
    """Pairs of the stored camera and the wanted one."""
    remove: tuple[Camera, ...]
    unchanged: tuple[Camera, ...]
    """In the file as they are in the database."""
    unlisted: tuple[Camera, ...]
    """In the database, not in the file, and kept."""

    @property
    def changes(self) -> int:
        return len(self.add) + len(self.update) + len(self.remove)


def read_cameras(path: Path) -> list[Camera]:
    """The cameras of a file `cameras: [{name: ..., url: ..., ...}]`, whose fields are those of `Camera`.

    Raises SettingsError in one line that names the file, the camera and the field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: expected a file of cameras, got: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected YAML, got: {' '.join(str(error).split())}") from error
    if (
        not isinstance(content, dict)
        or set(content) != {"cameras"}
        or not isinstance(content["cameras"], list)
    ):
        raise SettingsError(f"{path}: expected `cameras:` with a list of cameras (name, url, ...) under it")
    cameras = [_read_camera(path, position, entry) for position, entry in enumerate(content["cameras"], 1)]
    names = [camera.name for camera in cameras]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"{path}: expected each camera once, got two of {', '.join(twice)}")
    return cameras


def _read_camera(path: Path, position: int, entry: Any) -> Camera:
    if not isinstance(entry, dict):
        raise SettingsError(f"{path}: camera {position}: expected name, url and other fields, got {entry!r}")
    where = f"{path}: camera {entry.get('name', position)}"
    unknown = [str(key) for key in entry if key not in _FIELDS]
    if unknown:
        raise SettingsError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    missing = [name for name in ("name", "url") if entry.get(name) is None]
    if missing:
        raise SettingsError(f"{where}: expected {missing[0]}, got none")
    try:
        camera = make_camera(entry, path.parent)
        require_no_password(camera)
        return camera
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def make_camera(values: Mapping[str, Any], folder: Path | None = None) -> Camera:
    """A camera of plain values, as YAML and options give them; files are taken from `folder` (default: here).

    A recording, unless told otherwise, waits for its reader and never turns stale. Raises SettingsError and
    SourceError in one line.
    """
    given = dict(values)
    url = str(given["url"])
    if is_recorded(url):
        if waits(given):
            given = {"policy": "wait", "max_age_s": None} | given
        if "://" not in url:  # `ingest` may run elsewhere
            given["url"] = str(((folder or Path()) / expand_home(url)).absolute())
    try:
        return _CAMERA.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        shown = "" if field == "url" else f", got {first['input']!r}"
        raise SettingsError(f"camera {given.get('name')}: {field}: {first['msg']}{shown}") from error


def changed_values(camera: Camera, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The camera's values with `fields` in place of its own, for `make_camera`.

    A recording that becomes a live source, or the reverse, takes the policy of its new kind, unless `fields`
    has one. Raises SourceError for a kind of URL that nobody knows.
    """
    values = asdict(camera) | dict(fields)
    if waits(values) != waits(asdict(camera)):
        for name in {"policy", "max_age_s"} - set(fields):
            del values[name]
    return values


def waits(values: Mapping[str, Any]) -> bool:
    """Whether a camera of these values is a recording that is read once, to its end."""
    return is_recorded(str(values["url"])) and not values.get("loop")


def plan_changes(stored: Sequence[Camera], wanted: Sequence[Camera], *, prune: bool) -> CameraPlan:
    """Compares the database with a file; cameras that the file does not list go only with `prune`."""
    by_name = {camera.name: camera for camera in stored}
    listed = {camera.name for camera in wanted}
    extra = tuple(camera for camera in stored if camera.name not in listed)
    return CameraPlan(
        add=tuple(camera for camera in wanted if camera.name not in by_name),
        update=tuple(
            (by_name[camera.name], camera)
            for camera in wanted
            if camera.name in by_name and by_name[camera.name] != camera
        ),
        remove=extra if prune else (),
        unchanged=tuple(camera for camera in wanted if by_name.get(camera.name) == camera),
        unlisted=() if prune else extra,
    )


def describe_changes(plan: CameraPlan) -> list[str]:
    """One line per camera that changes: `+` added, `~` updated with its fields, `-` removed."""
    lines = [f"+ {camera.name}  {_shown('url', camera)}" for camera in plan.add]
    for old, new in plan.update:
        changes = ((name, _shown(name, old), _shown(name, new)) for name in _changed(old, new))
        lines.append(f"~ {new.name}  " + ", ".join(f"{name}: {old} -> {new}" for name, old, new in changes))
    return lines + [f"- {camera.name}  {_shown('url', camera)}" for camera in plan.remove]


def describe_plan(plan: CameraPlan) -> list[str]:
    """The changes, and a line `=` for each camera that stays as it is."""
    return describe_changes(plan) + [f"= {camera.name}" for camera in plan.unchanged]


def plan_json(plan: CameraPlan, *, applied: bool) -> dict[str, Any]:
    """The plan for machines; values as people see them, without passwords."""
    return {
        "added": [camera.name for camera in plan.add],
        "changed": [
            {
                "name": new.name,
                "fields": {
                    name: {"from": _shown(name, old), "to": _shown(name, new)} for name in _changed(old, new)
                },
            }
            for old, new in plan.update
        ],
        "removed": [camera.name for camera in plan.remove],
        "unchanged": [camera.name for camera in plan.unchanged],
        "kept": [camera.name for camera in plan.unlisted],
        "applied": applied,
    }


def apply_plan(database: Database, plan: CameraPlan) -> None:
    """Does all that the plan says, or nothing."""
    change_cameras(
        database,
        add=plan.add,
        update=[new for _, new in plan.update],
        remove=[camera.name for camera in plan.remove],
    )


def _changed(old: Camera, new: Camera) -> list[str]:
    return [name for name in _FIELDS if getattr(old, name) != getattr(new, name)]


def _shown(name: str, camera: Camera) -> str:
    value = getattr(camera, name)
    if name == "url":
        return redact_url(str(value))
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "none"
    return "none" if value is None else str(value)
