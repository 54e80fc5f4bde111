"""The cameras that a person configured."""

from core.types import Camera
from storage.database import Database


def list_cameras(database: Database, enabled_only: bool = False) -> list[Camera]:
    """The configured cameras by name."""
    raise NotImplementedError


def get_camera(database: Database, name: str) -> Camera:
    """One camera. Raises CameraNotFoundError, which lists the known ones."""
    raise NotImplementedError


def add_camera(database: Database, camera: Camera) -> int:
    """Stores a new camera and returns its id; takes over the history of an earlier camera of that name.

    Raises SettingsError when the name is taken, or when the url holds a literal password.
    """
    raise NotImplementedError


def update_camera(database: Database, camera: Camera) -> None:
    """Replaces the stored camera of that name (use dataclasses.replace on `get_camera`'s answer).

    Raises CameraNotFoundError, and SettingsError for a literal password in the url.
    """
    raise NotImplementedError


def remove_camera(database: Database, name: str) -> None:
    """Forgets a camera; its history stays and keeps its name. Raises CameraNotFoundError."""
    raise NotImplementedError


def ensure_camera(database: Database, camera: Camera) -> int:
    """The id of the camera of that name; stored as given when there is none yet, untouched when there is.

    Raises SettingsError for a literal password in the url: pass `redact_url(url)` for one that need not be opened.
    """
    raise NotImplementedError
