"""Answers that are made while they are sent: at most a few pieces of them are in memory."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Mapping

import anyio
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from app.api.problems import ProblemError

EXPORTS_AT_ONCE = 4
"""Each holds a thread and a connection of the database."""


class ExportSlots:
    """Who may export just now; one per application."""

    def __init__(self, count: int = EXPORTS_AT_ONCE) -> None:
        self._free = asyncio.Semaphore(count)
        self._count = count

    def respond(
        self, pieces: Iterator[bytes], media_type: str, headers: Mapping[str, str]
    ) -> StreamingResponse:
        """The answer that sends the pieces. Raises ProblemError 429 when too many are on their way."""
        if self._free.locked():
            raise ProblemError(
                429,
                f"expected at most {self._count} exports at a time, got more; try again when one has ended",
                {"Retry-After": "5"},
            )
        return StreamingResponse(self._send(pieces), media_type=media_type, headers=dict(headers))

    async def _send(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        async with self._free:
            try:
                async for piece in iterate_in_threadpool(pieces):
                    yield piece
            finally:
                # A client that went away leaves the database's cursor open; nobody else closes it in time.
                with anyio.CancelScope(shield=True):
                    if isinstance(pieces, Generator):
                        await run_in_threadpool(pieces.close)
