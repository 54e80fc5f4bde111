"""What a frame's header carries through Redis."""

from datetime import UTC, datetime

import pytest

from core.evidence_policy import EvidenceKind, EvidenceRule
from core.queue_answers import frame_header, read_frame
from core.types import QueuedFrame


@pytest.mark.parametrize("classes", [(), ("person",), ("traffic light", "a,b", "größer")])
def test_a_frame_comes_back_from_its_header_as_it_was(classes: tuple[str, ...]) -> None:
    captured_at = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
    frame = QueuedFrame("gate", 7, captured_at, b"jpeg", (1920, 1080), 1 / 3, True, classes)
    captured, recorded, rest = frame_header(frame)
    header = f"0 5 {captured} {recorded} {rest}".encode()
    assert read_frame(b"gate", header, b"jpeg") == (frame, 5)


def test_rules_about_pictures_travel_in_the_header() -> None:
    rules = (
        EvidenceRule(("traffic light", "größer"), 5.0, EvidenceKind.FRAME, min_score=0.25),
        EvidenceRule(margin=0.5),
    )
    captured_at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    frame = QueuedFrame("gate", 7, captured_at, b"jpeg", (64, 48), 1.0, min_score=0.1, evidence=rules)
    captured, recorded, rest = frame_header(frame)
    read, _ = read_frame(b"gate", f"0 5 {captured} {recorded} {rest}".encode(), b"jpeg")
    assert read == frame


@pytest.mark.parametrize("min_score", [None, 0.0, 0.35, 1 / 3, 1e-7])
def test_a_least_score_travels_in_the_header(min_score: float | None) -> None:
    frame = QueuedFrame(
        "gate", 7, datetime(2026, 3, 1, tzinfo=UTC), b"jpeg", (64, 48), 1.0, min_score=min_score
    )
    captured, recorded, rest = frame_header(frame)
    assert read_frame(b"gate", f"0 5 {captured} {recorded} {rest}".encode(), b"jpeg") == (frame, 5)


def test_frames_without_rules_carry_none() -> None:
    frame = QueuedFrame("gate", 7, datetime(2026, 3, 1, tzinfo=UTC), b"jpeg", (64, 48), 1.0)
    assert frame_header(frame)[2] == "7 64 48 1.0 "
