"""What a frame's header carries through Redis."""

from datetime import UTC, datetime

import pytest

from core.queue_answers import frame_header, read_frame
from core.types import QueuedFrame


@pytest.mark.parametrize("classes", [(), ("person",), ("traffic light", "a,b", "größer")])
def test_a_frame_comes_back_from_its_header_as_it_was(classes: tuple[str, ...]) -> None:
    captured_at = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
    frame = QueuedFrame("gate", 7, captured_at, b"jpeg", (1920, 1080), 1 / 3, True, classes)
    captured, recorded, rest = frame_header(frame)
    header = f"0 5 {captured} {recorded} {rest}".encode()
    assert read_frame(b"gate", header, b"jpeg") == (frame, 5)
