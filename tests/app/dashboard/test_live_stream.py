"""Messages of the live stream as the page's script takes them apart."""

import json
from datetime import UTC, datetime

from app.dashboard.live_stream import to_message
from core.live_view import LiveBox, LiveFrame


def test_a_message_says_how_long_its_parts_are() -> None:
    box = LiveBox("person", 0.9, 1.0, 2.0, 30.0, 40.0)
    frame = LiveFrame("gate", 7, datetime(2026, 11, 23, tzinfo=UTC), (768, 576), b"jpeg", (box,), "street")
    message = to_message(frame)
    assert int.from_bytes(message[:4], "big") == len(message) - 4
    end = 8 + int.from_bytes(message[4:8], "big")
    header = json.loads(message[8:end])
    assert message[end:] == b"jpeg"
    assert (header["camera"], header["index"], header["source_size"]) == ("gate", 7, [768, 576])
    (sent,) = header["boxes"]
    assert sent == {
        "class_name": "person",
        "score": 0.9,
        "x": 1.0,
        "y": 2.0,
        "width": 30.0,
        "height": 40.0,
        "color": "#e69f00",
        "ink": "#141414",
    }
