"""Live pictures of many cameras in one answer: a browser opens few connections to a server."""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.live_streams import LiveStreams, with_pauses
from app.api.services import services_of
from app.dashboard.pages import css_color, css_ink
from core.live_view import LiveFrame
from core.types import CAMERA_NAME

router = APIRouter(include_in_schema=False)

SIGN_OF_LIFE = bytes(4)
"""An empty message: sent while nothing is seen."""


@router.get("/live")
async def live(request: Request, camera: Annotated[list[str], Query()]) -> Response:
    """Frames of these cameras as they are stored, until the viewer goes."""
    names = [name for name in camera if CAMERA_NAME.fullmatch(name)]
    streams: LiveStreams = request.app.state.live_streams
    frames = with_pauses(services_of(request).live_hub.frames(names))
    return streams.respond(request, _messages(frames), "application/octet-stream")


async def _messages(frames: AsyncGenerator[LiveFrame | None, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(frames):
        async for frame in frames:
            yield SIGN_OF_LIFE if frame is None else to_message(frame)


def to_message(frame: LiveFrame) -> bytes:
    """Length of what follows, length of the header, the header as JSON, the picture; lengths in 4 bytes."""
    header = json.dumps(
        {
            "camera": frame.camera,
            "index": frame.index,
            "source_size": frame.source_size,
            "boxes": [{**asdict(box), **_colors(box.class_name)} for box in frame.boxes],
        }
    ).encode()
    body = len(header).to_bytes(4, "big") + header + frame.jpeg
    return len(body).to_bytes(4, "big") + body


def _colors(class_name: str) -> dict[str, str]:
    """Of a box and of the text on its label."""
    return {"color": css_color(class_name), "ink": css_ink(class_name)}
