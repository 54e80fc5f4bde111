"""Answers that are made while they are sent: at most a few pieces of them are in memory."""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager

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

    @contextmanager
    def take(self) -> Iterator["ExportSlot"]:
        """A slot, which an answer made of it keeps until it is sent. Raises ProblemError 429 without one."""
        if not self._free.acquire(blocking=False):
            raise ProblemError(
                429,
                f"expected at most {self._count} exports at a time, got more; try again when one has ended",
                {"Retry-After": "5"},
            )
        slot = ExportSlot(self._free.release)
        try:
            yield slot
        except BaseException:
            slot.give_back()
            raise


class ExportSlot:
    """The right to send one export."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def give_back(self) -> None:
        """Lets another export begin; done twice, it does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def respond(
        self, pieces: Iterator[bytes], media_type: str, headers: Mapping[str, str]
    ) -> StreamingResponse:
        """The answer that sends the pieces, and gives the slot back however it ends."""
        return _Export(self, pieces, media_type, headers)


class _Export(StreamingResponse):
    def __init__(
        self, slot: ExportSlot, pieces: Iterator[bytes], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(iterate_in_threadpool(pieces), media_type=media_type, headers=dict(headers))
        self._slot, self._pieces = slot, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. A client that is slower than `LONGEST_S`, or went away, leaves no open cursor behind."""
        try:
            with anyio.move_on_after(LONGEST_S):
                await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                if isinstance(self._pieces, Generator):
                    await run_in_threadpool(self._pieces.close)
                self._slot.give_back()
