"""A camera's page: its picture, settings, masks and what became of it; adding, checking and removing one."""

import base64
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from app.api.services import Services, services_of
from app.camera_check import SourceReport, check_source
from app.dashboard import camera_form
from app.dashboard.pages import PageRoute, is_refresh, render, see_other
from app.dashboard.uptime import Uptime, measure_uptime
from app.dashboard.wall import TONES, Tile, make_tile, read_fleet
from core.camera_state import CameraEvent
from core.errors import (
    CameraNotFoundError,
    QueueUnavailableError,
    SourceLostError,
    UsageError,
)
from core.types import Camera
from core.urls import redact_url
from storage.camera_events import list_camera_events
from storage.cameras import add_camera, change_camera, get_camera, remove_camera

router = APIRouter(route_class=PageRoute, include_in_schema=False)

EVENTS_SHOWN = 20
UPTIME_SPAN = timedelta(hours=24)
WATCH_S = 1.0
"""How long a check watches a live source to tell its frame rate."""
DONE = {
    "added": "The camera is added.",
    "settings": "The settings are saved. Ingest takes them over within seconds.",
    "masks": "Masks and areas are saved. Ingest takes them over within seconds.",
    "enabled": "The camera is watched again.",
    "disabled": "The camera is no longer watched; its settings stay.",
}
"""What a page says after a change, by the word in its address."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a look at a source found."""

    report: SourceReport | None = None
    picture: str | None = None
    """The first picture as a data URL."""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """What became of a camera in the last 24 hours."""

    uptime: Uptime
    events: Sequence[CameraEvent]
    """The last changes of state, newest first."""


@router.get("/add")
def new_camera(request: Request) -> Response:
    """The form for a new camera."""
    return _show_form(request, camera_form.form_values(None))


@router.post("/add")
async def create_camera(request: Request) -> Response:
    """Stores a new camera, or only checks what its address sends."""
    form = await request.form()
    return await run_in_threadpool(_create, request, form)


def _create(request: Request, form: FormData) -> Response:
    services, sent = services_of(request), camera_form.sent_values(form)
    try:
        if form.get("action") == "check":
            return _show_form(request, sent, check=look_at(sent["url"], services))
        camera = camera_form.read_camera(form)
        add_camera(services.database, camera)
    except UsageError as error:
        return _show_form(request, sent, problem=str(error))
    return see_other(f"/cameras/{camera.name}?done=added")


def _show_form(
    request: Request, values: dict[str, str], *, check: Check | None = None, problem: str | None = None
) -> Response:
    return render(
        request,
        "camera_new.html",
        400 if problem else 200,
        values=values,
        form=camera_form,
        check=check,
        problem=problem,
    )


@router.get("/cameras/{name}")
def camera_page(request: Request, name: str, done: str = "") -> Response:
    """One camera. Its settings can be seen and changed while Redis is away."""
    return _show_camera(request, get_camera(services_of(request).database, name), done=DONE.get(done))


@router.post("/cameras/{name}/check")
def check_camera(request: Request, name: str) -> Response:
    """Connects to a stored camera and shows what it sends."""
    services = services_of(request)
    camera = get_camera(services.database, name)
    return _show_camera(request, camera, check=look_at(camera.url, services))


@router.post("/cameras/{name}/edit")
async def edit_camera(request: Request, name: str) -> Response:
    """Stores other settings; ingest takes them over within seconds."""
    form = await request.form()
    sent = camera_form.sent_values(form)
    return await run_in_threadpool(
        _change, request, name, "settings", lambda camera: camera_form.read_camera(form, camera), sent
    )


@router.post("/cameras/{name}/masks")
async def mask_camera(request: Request, name: str) -> Response:
    """Stores other masks and areas."""
    form = await request.form()
    masks, areas = ([str(text) for text in form.getlist(kind)] for kind in ("mask", "area"))
    return await run_in_threadpool(
        _change, request, name, "masks", lambda camera: camera_form.with_polygons(camera, masks, areas)
    )


@router.post("/cameras/{name}/enable")
def enable_camera(request: Request, name: str) -> Response:
    """Watches a camera again."""
    return _change(request, name, "enabled", lambda camera: replace(camera, enabled=True))


@router.post("/cameras/{name}/disable")
def disable_camera(request: Request, name: str) -> Response:
    """Stops watching a camera and keeps its settings."""
    return _change(request, name, "disabled", lambda camera: replace(camera, enabled=False))


@router.post("/cameras/{name}/remove")
def forget_camera(request: Request, name: str) -> Response:
    """Forgets a camera; what it saw stays."""
    remove_camera(services_of(request).database, name)
    return see_other("/")


def _change(
    request: Request,
    name: str,
    what: str,
    change: Callable[[Camera], Camera],
    sent: dict[str, str] | None = None,
) -> Response:
    """Stores the changed camera and says so; what was sent is shown again beside what is wrong with it."""
    database = services_of(request).database
    stored = get_camera(database, name)
    try:
        change_camera(database, name, change)
    except CameraNotFoundError:
        raise
    except UsageError as error:
        return _show_camera(request, stored, values=sent, problem=str(error))
    return see_other(f"/cameras/{name}?done={what}")


def _show_camera(
    request: Request,
    camera: Camera,
    *,
    values: dict[str, str] | None = None,
    check: Check | None = None,
    problem: str | None = None,
    done: str | None = None,
) -> Response:
    services = services_of(request)
    return render(
        request,
        "camera.html",
        400 if problem else 200,
        camera=camera,
        url=redact_url(camera.url),
        tones=TONES,
        tile=_tile(services, camera),
        values=values or camera_form.form_values(camera),
        form=camera_form,
        polygons=camera_form.polygon_texts(camera),
        check=check,
        problem=problem,
        done=done,
        day=None if is_refresh(request) else _read_day(services, camera.name),
    )


def _read_day(services: Services, name: str) -> Day:
    now = datetime.now(UTC)
    events = list_camera_events(services.database, name, since=now - UPTIME_SPAN)
    return Day(measure_uptime(events, now - UPTIME_SPAN, now), events[: -EVENTS_SHOWN - 1 : -1])


def _tile(services: Services, camera: Camera) -> Tile:
    try:
        return make_tile(read_fleet(services), camera.name)
    except QueueUnavailableError as error:
        return Tile(camera.name, "unknown", "idle", camera, None, None, f"No live picture: {error}")


def look_at(url: str, services: Services) -> Check:
    """Connects to a source and takes a picture; a source that does not answer is an answer too."""
    if not url:
        return Check(problem="expected an address, got none; fill in the address first")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.jpg"
        try:
            report = check_source(url, services.settings, WATCH_S, picture)
        except (UsageError, SourceLostError) as error:
            return Check(problem=str(error))
        return Check(report, f"data:image/jpeg;base64,{base64.b64encode(picture.read_bytes()).decode()}")
