"""How many exports may be on their way at once."""

import anyio
import pytest

from app.api import streaming
from app.api.problems import ProblemError
from app.api.streaming import ExportSlots


async def send(answer, receive=None) -> list[bytes]:  # type: ignore[no-untyped-def]
    """What the server would send to a client that stays."""
    sent: list[bytes] = []

    async def note(message) -> None:  # type: ignore[no-untyped-def]
        sent.append(message.get("body", b""))

    async def wait() -> dict[str, str]:
        await anyio.sleep(30)
        return {"type": "http.disconnect"}

    await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive or wait, note)
    return sent


def test_a_slot_is_taken_at_once_and_given_back_when_all_is_sent() -> None:
    slots = ExportSlots(1)
    with slots.take() as slot:
        answer = slot.respond(iter([b"a", b"b"]), "text/csv", {})
    with pytest.raises(ProblemError, match="at most 1 exports"), slots.take():
        pass
    assert anyio.run(send, answer) == [b"", b"a", b"b", b""]
    with slots.take():
        pass


def test_a_question_that_fails_gives_its_slot_back() -> None:
    slots = ExportSlots(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such camera"), slots.take():
            raise ValueError("no such camera")


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
    with slots.take() as slot:
        answer = slot.respond(pieces(), "text/csv", {})
    assert b"more" in anyio.run(send, answer)
    assert closed == [True]
    with slots.take():
        pass
