"""How many exports may be on their way at once."""

from collections.abc import Iterator

import anyio
import pytest
from fastapi.responses import StreamingResponse

from app.api import streaming
from app.api.problems import ProblemError
from app.api.streaming import ExportSlots


async def send(answer) -> list[bytes]:  # type: ignore[no-untyped-def]
    """What the server would send to a client that stays."""
    sent: list[bytes] = []

    async def note(message) -> None:  # type: ignore[no-untyped-def]
        sent.append(message.get("body", b""))

    async def wait() -> dict[str, str]:
        await anyio.sleep(30)
        return {"type": "http.disconnect"}

    await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, wait, note)
    return sent


def respond(slots: ExportSlots, pieces: Iterator[bytes]) -> StreamingResponse:
    return slots.respond(lambda: pieces, "text/csv", {})


def test_a_slot_is_taken_at_once_and_given_back_when_all_is_sent() -> None:
    slots = ExportSlots(1)
    answer = respond(slots, iter([b"a", b"b"]))
    with pytest.raises(ProblemError, match="at most 1 exports"):
        respond(slots, iter([]))
    assert anyio.run(send, answer) == [b"", b"a", b"b", b""]
    assert anyio.run(send, respond(slots, iter([b"c"]))) == [b"", b"c", b""]


def test_a_question_that_fails_gives_its_slot_back() -> None:
    slots = ExportSlots(1)

    def ask() -> Iterator[bytes]:
        raise ValueError("no such camera")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such camera"):
            slots.respond(ask, "text/csv", {})


def test_an_export_that_takes_too_long_is_cut_off_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LONGEST_S", 0.3)
    closed = []

    def pieces():  # type: ignore[no-untyped-def]
        try:
            while True:
                yield b"more"
        finally:
            closed.append(True)

    slots = ExportSlots(1)
    assert b"more" in anyio.run(send, respond(slots, pieces()))
    assert closed == [True]
    respond(slots, iter([]))
