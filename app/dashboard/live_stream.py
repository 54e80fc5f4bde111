"""Live pictures of many cameras in one answer: a browser opens few connections to a server."""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.dashboard.pages import HEADERS, css_color, services_of
from core.live_view import LiveFrame

router = APIRouter(include_in_schema=False)


@router.get("/live")
async def live(request: Request, camera: Annotated[list[str], Query()]) -> Response:
    """Frames of these cameras as they are stored, until the viewer goes."""
    frames = services_of(request).live_hub.frames(camera)
    return StreamingResponse(_messages(frames), media_type="application/octet-stream", headers=HEADERS)


async def _messages(frames: AsyncGenerator[LiveFrame, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(frames):
        async for frame in frames:
            yield to_message(frame)


def to_message(frame: LiveFrame) -> bytes:
    """Length of what follows, length of the header, the header as JSON, the picture; lengths in 4 bytes."""
    header = json.dumps(
        {
            "camera": frame.camera,
            "index": frame.index,
            "source_size": frame.source_size,
            "boxes": [{**asdict(box), "color": css_color(box.class_name)} for box in frame.boxes],
        }
    ).encode()
    body = len(header).to_bytes(4, "big") + header + frame.jpeg
    return len(body).to_bytes(4, "big") + body
