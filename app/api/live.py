"""What cameras see now: a stream of detections, and pictures with boxes drawn on them.

Workers hand over frames of watched cameras only, so the first one of a camera that nobody watched yet takes a
moment.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from app.api.cameras import CameraPath, require_known
from app.api.live_streams import LiveStreams, with_pauses
from app.api.pictures import draw_frame
from app.api.problems import ProblemError, describe_problems
from app.api.questions import CameraQuery
from app.api.services import Services, services_of
from app.filters import parse_names
from app.times import format_iso
from core.live_view import LiveFrame
from storage.cameras import list_cameras

router = APIRouter(tags=["live"], responses=describe_problems(404, 422, 503))

BOUNDARY = "frame"
MOST_FPS = 25.0
_JPEG: dict[str, Any] = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_MJPEG: dict[str, Any] = {
    f"multipart/x-mixed-replace; boundary={BOUNDARY}": {"schema": {"type": "string", "format": "binary"}}
}
_EVENTS: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}

ForQuery = Annotated[
    float | None, Query(gt=0, le=86_400, description="End after so many seconds; without it, never.")
]
BoxesQuery = Annotated[bool, Query(description="Draw the detections.")]


@router.get(
    "/live/detections",
    response_class=Response,
    responses={200: {"content": _EVENTS, "description": "Events."}, **describe_problems(429)},
)
async def detections(
    request: Request,
    camera: CameraQuery = None,
    class_name: Annotated[
        list[str] | None, Query(alias="class", description="Only frames with these, and only these of them.")
    ] = None,
    min_score: Annotated[float, Query(ge=0, le=1, description="Least score.")] = 0.0,
    for_s: ForQuery = None,
) -> Response:
    """Frames as they are stored, as server-sent events named `frame`, whose data is a JSON object each.

    Without `camera`, of all cameras that are enabled now. With `class`, frames without any of these are left
    out. A viewer that is slower than a camera misses frames of it, never the newest one; the whole history is
    at /api/detections. A comment comes every 15 s while nothing else does.
    """
    wanted, classes = parse_names(camera, "camera"), parse_names(class_name, "class")
    services = services_of(request)
    cameras = await run_in_threadpool(_cameras, request, wanted)
    await run_in_threadpool(services.live.watch, cameras)
    frames = with_pauses(services.live_hub.frames(cameras), for_s=for_s)
    return _streams(request).respond(request, _events(frames, classes, min_score), "text/event-stream")


def _cameras(request: Request, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        require_known(request, name)
    return names or [camera.name for camera in list_cameras(services_of(request).database, enabled_only=True)]


async def _events(
    frames: AsyncGenerator[LiveFrame | None, None], classes: Sequence[str], min_score: float
) -> AsyncGenerator[bytes, None]:
    yield KEEPALIVE_COMMENT  # the headers leave at once
    async with contextlib.aclosing(frames):
        async for frame in frames:
            if frame is None:
                yield KEEPALIVE_COMMENT
                continue
            boxes = [
                asdict(box)
                for box in frame.boxes
                if box.score >= min_score and (not classes or box.class_name in classes)
            ]
            if boxes or not classes:
                yield format_sse_event(event="frame", data_str=json.dumps(_describe(frame, boxes)))


def _describe(frame: LiveFrame, boxes: Sequence[Any]) -> dict[str, Any]:
    """One event: the names are those of /api/detections."""
    width, height = frame.source_size
    return {
        "camera": frame.camera,
        "captured_at": format_iso(frame.captured_at),
        "frame_index": frame.index,
        "model": frame.model,
        "frame_width": width,
        "frame_height": height,
        "detections": boxes,
    }


async def known_camera(request: Request, name: CameraPath) -> str:
    """The camera of a path. Raises CameraNotFoundError, and QueueUnavailableError where nothing is live."""
    services = services_of(request)
    await run_in_threadpool(require_known, request, name)
    await run_in_threadpool(services.live.watch, [name])
    return name


KnownCamera = Annotated[str, Depends(known_camera)]


@router.get(
    "/cameras/{name}/snapshot",
    response_class=Response,
    responses={200: {"content": _JPEG, "description": "The picture."}},
)
async def snapshot(
    request: Request,
    camera: KnownCamera,
    boxes: BoxesQuery = True,
    wait_s: Annotated[float, Query(ge=0, le=30, description="How long to wait for a picture.")] = 5.0,
) -> Response:
    """The newest picture of a camera, at most 15 s old; 404 when there is none."""
    frame = await _first_frame(services_of(request), camera, wait_s)
    if frame is None:
        raise ProblemError(
            404,
            f"camera {camera}: expected a picture within {wait_s:g} s, got none; `framewatch status` and "
            "/api/status tell whether it is read and whether a worker runs",
            {"Retry-After": "5"},
        )
    picture = await run_in_threadpool(draw_frame, frame) if boxes else frame.jpeg
    headers = {"X-Captured-At": format_iso(frame.captured_at), "X-Frame-Index": str(frame.index)}
    return Response(picture, media_type="image/jpeg", headers=headers)


async def _first_frame(services: Services, camera: str, wait_s: float) -> LiveFrame | None:
    async with contextlib.aclosing(services.live_hub.frames([camera])) as frames:
        try:
            return await asyncio.wait_for(anext(frames), max(wait_s, 0.2))
        except TimeoutError:
            return None


@router.get(
    "/cameras/{name}/live.mjpeg",
    response_class=Response,
    responses={200: {"content": _MJPEG, "description": "Pictures."}, **describe_problems(429)},
)
async def mjpeg(
    request: Request,
    camera: KnownCamera,
    boxes: BoxesQuery = True,
    max_fps: Annotated[
        float, Query(gt=0, le=MOST_FPS, description="Most pictures per second; older ones are left out.")
    ] = 10.0,
    for_s: ForQuery = None,
) -> Response:
    """Pictures of a camera as they come (motion JPEG), for an `<img>` or a video player."""
    frames = with_pauses(services_of(request).live_hub.frames([camera]), for_s=for_s)
    media_type = next(iter(_MJPEG))
    return _streams(request).respond(request, _pictures(frames, 1 / max_fps, boxes=boxes), media_type)


async def _pictures(
    frames: AsyncGenerator[LiveFrame | None, None], every_s: float, *, boxes: bool
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(frames):
        async for frame in frames:
            if frame is None:
                continue
            started = time.monotonic()
            picture = await run_in_threadpool(draw_frame, frame) if boxes else frame.jpeg
            yield _part(picture, frame)
            await asyncio.sleep(max(0.0, started + every_s - time.monotonic()))


def _part(picture: bytes, frame: LiveFrame) -> bytes:
    """One part of a multipart answer (RFC 2046, section 5.1)."""
    head = (
        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
        f"X-Captured-At: {format_iso(frame.captured_at)}\r\n\r\n"
    )
    return head.encode() + picture + b"\r\n"


def _streams(request: Request) -> LiveStreams:
    streams: LiveStreams = request.app.state.live_streams
    return streams
