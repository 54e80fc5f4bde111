"""Answers that go on until their viewer leaves: how many at once, and for whom."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import Request
from fastapi.responses import StreamingResponse

from app.api.access import Doorkeeper
from app.api.problems import ProblemError
from core.errors import FramewatchError
from core.live_view import LiveFrame

STREAMS_AT_ONCE = 100
LOOK_AGAIN_S = 60.0
"""A token that is revoked ends its streams within this time."""
PAUSE_S = 15.0
"""After so long without a frame a sign of life is sent, which also finds out who has left."""


class LiveStreams:
    """The streams of one application."""

    def __init__(self, doorkeeper: Doorkeeper, at_once: int = STREAMS_AT_ONCE) -> None:
        self._doorkeeper = doorkeeper
        self._at_once = at_once
        self._open = 0

    def respond(
        self, request: Request, pieces: AsyncGenerator[bytes, None], media_type: str
    ) -> StreamingResponse:
        """The answer that sends the pieces. Raises ProblemError 429 when too many streams are open."""
        if self._open >= self._at_once:
            raise ProblemError(
                429,
                f"expected at most {self._at_once} live streams at a time, got more; close others first",
                {"Retry-After": "5"},
            )
        return StreamingResponse(self._send(request, pieces), media_type=media_type)

    async def _send(self, request: Request, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            look_at = time.monotonic() + LOOK_AGAIN_S
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    yield piece
                    if time.monotonic() >= look_at:
                        if not await self._may_go_on(request):
                            return
                        look_at = time.monotonic() + LOOK_AGAIN_S
        finally:
            self._open -= 1

    async def _may_go_on(self, request: Request) -> bool:
        """Whether the viewer would still be let in; nobody can tell while the database is away."""
        try:
            await self._doorkeeper.admit(request)
        except ProblemError:
            return False
        except FramewatchError:
            return True
        return True


async def with_pauses(
    frames: AsyncGenerator[LiveFrame, None], pause_s: float = PAUSE_S, for_s: float | None = None
) -> AsyncGenerator[LiveFrame | None, None]:
    """The frames, and None whenever none came for `pause_s` seconds; ends after `for_s` seconds, or never."""
    waiting: asyncio.Future[LiveFrame] | None = None
    until = math.inf if for_s is None else time.monotonic() + for_s
    try:
        while (left_s := until - time.monotonic()) > 0:
            waiting = waiting or asyncio.ensure_future(anext(frames))
            await asyncio.wait([waiting], timeout=min(pause_s, left_s))
            if not waiting.done():
                yield None
                continue
            try:
                frame, waiting = waiting.result(), None
            except StopAsyncIteration:  # the server stops
                return
            yield frame
    finally:
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting
        await frames.aclose()
