"""Answers that are made while they are sent: at most a few pieces of them are in memory."""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping

import anyio
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.types import Receive, Scope, Send

from app.api.problems import ProblemError

EXPORTS_AT_ONCE = 4
"""Each holds a thread and a connection of the database."""
LONGEST_S = 3600.0
"""An export that takes longer is cut off: while it goes on, no day that it reads can be removed."""


class ExportSlots:
    """Who may export just now; one per application, threads may share it."""

    def __init__(self, count: int = EXPORTS_AT_ONCE) -> None:
        self._free = threading.Semaphore(count)
        self._count = count

    def respond(
        self, ask: Callable[[], Iterator[bytes]], media_type: str, headers: Mapping[str, str]
    ) -> StreamingResponse:
        """The answer that sends the pieces of `ask()`, which is called when there is a place for it.

        Raises ProblemError 429 when too many are on their way, and what `ask` raises.
        """
        if not self._free.acquire(blocking=False):
            raise ProblemError(
                429,
                f"expected at most {self._count} exports at a time, got more; try again when one has ended",
                {"Retry-After": "5"},
            )
        try:
            return _Export(ask(), media_type, headers, self._free.release)
        except BaseException:
            self._free.release()
            raise


class _Export(StreamingResponse):
    """Gives its place back however it ends."""

    def __init__(
        self,
        pieces: Iterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        release: Callable[[], None],
    ) -> None:
        super().__init__(iterate_in_threadpool(pieces), media_type=media_type, headers=dict(headers))
        self._pieces, self._release = pieces, release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. A client that is slower than `LONGEST_S`, or went away, leaves no open cursor behind."""
        try:
            with anyio.move_on_after(LONGEST_S):
                await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                if isinstance(self._pieces, Generator):
                    await run_in_threadpool(self._pieces.close)
                self._release()
