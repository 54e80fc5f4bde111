"""The wall: every camera's live picture, what it is doing, and what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from app.api.services import Services, services_of
from app.dashboard.pages import PageRoute, render
from app.status import Status, look
from core.camera_state import CameraActivity, CameraState
from core.types import Camera

router = APIRouter(route_class=PageRoute, include_in_schema=False)

TONES = {
    CameraActivity.LIVE: "good",
    CameraActivity.CONNECTING: "busy",
    CameraActivity.STALLED: "warn",
    CameraActivity.BACKING_OFF: "warn",
    CameraActivity.REFUSED: "bad",
    CameraActivity.FAILED: "bad",
}
"""How a state looks; the others are neutral."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One camera on the wall."""

    name: str
    state: str
    tone: str
    camera: Camera | None
    """None for one that is read but not configured here."""
    report: CameraState | None
    """What ingest last said; None when it is silent."""
    frame_age_s: float | None
    why_no_picture: str


@router.get("/")
def wall(request: Request) -> Response:
    """All cameras."""
    status = read_fleet(services_of(request))
    tiles = make_tiles(status)
    return render(request, "wall.html", tiles=tiles, status=status, summary=summarize(status, tiles))


def read_fleet(services: Services) -> Status:
    """The fleet as it is now. Raises QueueUnavailableError and DatabaseUnavailableError."""
    return look(services.settings, services.redis, services.queue, services.database)


def make_tiles(status: Status) -> list[Tile]:
    """One tile per camera, by name."""
    return [make_tile(status, name) for name in status.camera_names()]


def make_tile(status: Status, name: str) -> Tile:
    """What is known about one camera now."""
    report = status.state_of(name)
    camera = next((camera for camera in status.cameras if camera.name == name), None)
    enabled = camera is None or camera.enabled
    return Tile(
        name=name,
        state=status.describe_state(name),
        tone=TONES.get(report.activity, "idle") if report is not None and enabled else "idle",
        camera=camera,
        report=report,
        frame_age_s=status.frame_age_s(name),
        why_no_picture=_why_no_picture(status, camera, report),
    )


def _why_no_picture(status: Status, camera: Camera | None, report: CameraState | None) -> str:
    """What a viewer reads where no picture comes."""
    if camera is not None and not camera.enabled:
        return "This camera is disabled."
    if report is None:
        return "Nothing reads this camera. Start framewatch up, or framewatch ingest."
    if report.activity is CameraActivity.ENDED:
        return "The recording was read to its end."
    if report.activity is not CameraActivity.LIVE:
        return "No picture until the camera answers."
    if not status.workers:
        return "No worker looks at the frames. Start framewatch worker."
    return "Waiting for a picture …"


def summarize(status: Status, tiles: Sequence[Tile]) -> str:
    """One line about all of them."""
    live = sum(tile.tone == "good" for tile in tiles)
    workers = len(status.workers)
    return f"{live} of {len(tiles)} live · {workers} worker{'' if workers == 1 else 's'}"
