"""The configured cameras: listed for everybody who may look, changed and tried by administrators."""

import base64
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from app.api.camera_fields import CHECKED_FOR_S, NAME_PATTERN, CameraChanges, NewCamera, Trial
from app.api.problems import ProblemError, describe_problems
from app.api.services import services_of
from app.camera_check import check_source
from app.cameras_file import changed_values, make_camera
from core.errors import CameraNotFoundError, SettingsError, SourceLostError, UsageError
from core.settings import Settings
from core.types import Camera, Size
from core.urls import HIDDEN, redact_url
from storage.cameras import add_camera, change_camera, get_camera, list_cameras, remove_camera
from storage.names import known_names

router = APIRouter(tags=["cameras"])

CameraPath = Annotated[str, Path(pattern=NAME_PATTERN, description="Name of the camera.")]


@dataclass(frozen=True, slots=True)
class SourceFound:
    """What a source said and sent."""

    kind: str
    """ "live" or "recorded"."""
    format: str
    """Codec, and what else the source says about itself."""
    size: Size
    """Width and height in pixels."""
    received_fps: float | None
    """Frames per second while it was watched; null for recordings."""
    picture: str
    """Its first picture: a JPEG in Base64."""


@dataclass(frozen=True, slots=True)
class CameraTrial:
    """What came of connecting to a source."""

    found: SourceFound | None
    """Null: it could not be read."""
    problem: str | None
    """Why it could not be read; null: it could."""


@router.get("/cameras")
def list_all(request: Request) -> list[Camera]:
    """The configured cameras by name. Literal secrets in addresses are shown as ***."""
    return [_shown(camera) for camera in list_cameras(services_of(request).database)]


@router.post("/cameras", status_code=201, responses=describe_problems(409, 422))
def add(request: Request, response: Response, new: NewCamera) -> Camera:
    """Adds a camera; ingest starts watching it within seconds. The password goes by reference: `${NAME}`."""
    database = services_of(request).database
    camera = make_camera(_given(new))
    if camera.name in {known.name for known in list_cameras(database)}:
        raise ProblemError(
            409, f"camera {camera.name}: expected a new name, got a taken one; PATCH changes it"
        )
    add_camera(database, camera)
    response.headers["Location"] = f"/api/cameras/{camera.name}"
    return _shown(camera)


@router.post("/sources/check", responses=describe_problems(422))
def check_address(request: Request, trial: Trial) -> CameraTrial:
    """Connects to an address, which need not be stored, and tells what it sends."""
    return try_source(trial.url, services_of(request).settings, trial.seconds)


@router.get("/cameras/{name}", responses=describe_problems(404, 422))
def get_one(request: Request, name: CameraPath) -> Camera:
    """One camera."""
    return _shown(get_camera(services_of(request).database, name))


@router.patch("/cameras/{name}", responses=describe_problems(404, 422))
def update(request: Request, name: CameraPath, changes: CameraChanges) -> Camera:
    """Changes the fields that are given and keeps the rest; null means what the field's description says."""
    given = _given(changes)
    database = services_of(request).database
    return _shown(change_camera(database, name, lambda camera: make_camera(changed_values(camera, given))))


@router.delete("/cameras/{name}", status_code=204, responses=describe_problems(404, 422))
def remove(request: Request, name: CameraPath) -> None:
    """Stops watching a camera for good. What it saw stays in the history."""
    remove_camera(services_of(request).database, name)


@router.post("/cameras/{name}/check", responses=describe_problems(404, 422))
def check_stored(request: Request, name: CameraPath) -> CameraTrial:
    """Connects to a stored camera and tells what it sends."""
    services = services_of(request)
    return try_source(get_camera(services.database, name).url, services.settings, CHECKED_FOR_S)


def try_source(url: str, settings: Settings, seconds: float) -> CameraTrial:
    """What a source sends, with its first picture; one that cannot be read is an answer too."""
    with tempfile.TemporaryDirectory() as folder:
        picture = File(folder) / "picture.jpg"
        try:
            report = check_source(url, settings, seconds, picture)
        except (UsageError, SourceLostError) as error:
            return CameraTrial(None, str(error))
        except OSError as error:  # a text that is no name of a file at all
            return CameraTrial(None, f"expected the address of a source, got: {error.strerror}")
        jpeg = base64.b64encode(picture.read_bytes()).decode()
    rate = report.frames / report.seconds if report.kind == "live" else None
    return CameraTrial(SourceFound(report.kind, report.format, report.size, rate, jpeg), None)


def _given(fields: CameraChanges) -> dict[str, Any]:
    """The fields that were given. Raises SettingsError for an address that was taken from an answer."""
    given = fields.model_dump(exclude_unset=True)
    if HIDDEN in given.get("url", ""):
        raise SettingsError(f"url: expected the address itself, got one whose secret is hidden ({HIDDEN})")
    return given


def _shown(camera: Camera) -> Camera:
    return replace(camera, url=redact_url(camera.url))


def require_known(request: Request, name: str) -> None:
    """Raises CameraNotFoundError for a camera that is neither configured nor in the history."""
    database = services_of(request).database
    try:
        get_camera(database, name)
    except CameraNotFoundError:
        if name not in known_names(database).cameras:
            raise
