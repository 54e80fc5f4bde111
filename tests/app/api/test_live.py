"""What cameras see now: events, snapshots and motion JPEG, from frames that a worker would publish."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from app.api.access import Doorkeeper
from app.api.live_streams import LiveStreams, with_pauses
from app.api.pictures import draw_frame
from app.api.problems import ProblemError
from core.live_view import LiveBox, LiveFrame, LiveView
from core.redis_client import make_redis
from storage.database import Database
from storage.roles import Role
from storage.tokens import add_token, revoke_token
from tests.app.api.conftest import HERE, MakeApp

GREY = 128
BOXES = (LiveBox("person", 0.9, 20, 20, 40, 60), LiveBox("car", 0.4, 100, 20, 40, 60))


def jpeg(width: int = 160, height: int = 120) -> bytes:
    encoded, found = cv2.imencode(".jpg", np.full((height, width, 3), GREY, np.uint8))
    assert encoded
    return found.tobytes()


def frame(index: int = 7, camera: str = "gate", **changes: Any) -> LiveFrame:
    given = LiveFrame(camera, index, datetime.now(UTC), (320, 240), jpeg(), BOXES, "street")
    return replace(given, **changes)


@pytest.fixture
def view(redis_url: str) -> Iterator[LiveView]:
    with make_redis(redis_url) as client:
        yield LiveView(client, "framewatch")


@pytest.fixture
def watching(make_app: MakeApp, redis_url: str) -> Iterator[TestClient]:
    with TestClient(make_app(redis_url=redis_url), base_url=HERE) as client:
        yield client


@contextlib.contextmanager
def publishing(view: LiveView, *frames: LiveFrame) -> Iterator[None]:
    """A worker: publishes these frames again and again while their cameras are watched."""
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(0.02):
            marks = view.watched([one.camera for one in frames])
            view.publish([one for one in frames if marks[one.camera]])

    worker = threading.Thread(target=publish)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


def events(client: TestClient, **parameters: Any) -> list[dict[str, Any]]:
    """What a stream of some seconds sends."""
    answer = client.get("/api/live/detections", params={"for_s": 2, **parameters})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.splitlines() for block in answer.text.split("\n\n") if block.strip()]
    assert {lines[0] for lines in blocks} <= {"event: frame", ": ping"}
    return [json.loads(lines[1].removeprefix("data: ")) for lines in blocks if lines[0] == "event: frame"]


@pytest.mark.redis
def test_detections_come_as_events(watching: TestClient, view: LiveView) -> None:
    with publishing(view, frame(), frame(camera="yard")):
        found = events(watching, camera="gate")
    assert found
    assert {one["camera"] for one in found} == {"gate"}
    event = found[0]
    assert (event["frame_index"], event["model"], event["frame_width"], event["frame_height"]) == (
        *(7, "street"),
        *(320, 240),
    )
    assert event["captured_at"].endswith("Z")
    assert event["detections"][0] == {
        "class_name": "person",
        "score": 0.9,
        "x": 20,
        "y": 20,
        "width": 40,
        "height": 60,
    }


@pytest.mark.redis
def test_events_are_filtered_by_class_and_score(watching: TestClient, view: LiveView) -> None:
    with publishing(view, frame(), frame(camera="yard", boxes=BOXES[1:])):
        found = events(watching, camera="gate,yard", **{"class": "person"})
        assert {one["camera"] for one in found} == {"gate"}
        assert {box["class_name"] for one in found for box in one["detections"]} == {"person"}
        found = events(watching, camera="gate", min_score=0.5)
        assert {box["class_name"] for one in found for box in one["detections"]} == {"person"}


@pytest.mark.redis
def test_a_snapshot_has_its_boxes_drawn(watching: TestClient, view: LiveView) -> None:
    with publishing(view, frame()):
        drawn = watching.get("/api/cameras/gate/snapshot", params={"wait_s": 30})
        plain = watching.get("/api/cameras/gate/snapshot", params={"wait_s": 30, "boxes": False})
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/jpeg")
    assert (drawn.headers["x-frame-index"], drawn.headers["cache-control"]) == ("7", "no-store")
    assert plain.content == jpeg()
    assert colours(drawn.content) > 20
    assert colours(plain.content) < 5


def colours(picture: bytes) -> float:
    """How far the strongest colour of a picture is from grey, 0 to 255."""
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return float(np.ptp(image.astype(np.int16), axis=2).max())


@pytest.mark.redis
def test_no_picture_is_said_with_what_to_do(watching: TestClient) -> None:
    answer = watching.get("/api/cameras/gate/snapshot", params={"wait_s": 0})
    assert answer.status_code == 404
    assert "whether a worker runs" in answer.json()["detail"]


@pytest.mark.redis
def test_motion_jpeg_sends_picture_after_picture(watching: TestClient, view: LiveView) -> None:
    with publishing(view, frame()):
        answer = watching.get("/api/cameras/gate/live.mjpeg", params={"for_s": 2, "max_fps": 25})
    assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
    parts = answer.content.split(b"--frame\r\n")[1:]
    assert len(parts) > 2
    for part in parts:
        head, _, picture = part.partition(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        assert (len(picture), picture[length:]) == (length + 2, b"\r\n")
        assert colours(picture[:length]) > 20


@pytest.mark.redis
def test_motion_jpeg_is_as_slow_as_asked_for(watching: TestClient, view: LiveView) -> None:
    with publishing(view, frame()):
        answer = watching.get("/api/cameras/gate/live.mjpeg", params={"for_s": 2, "max_fps": 1})
    assert 1 <= answer.content.count(b"--frame") <= 3


@pytest.mark.parametrize(
    "path", ["/cameras/moon/snapshot", "/cameras/moon/live.mjpeg", "/live/detections?camera=moon"]
)
def test_an_unknown_camera_is_404(client: TestClient, path: str) -> None:
    assert client.get(f"/api{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["/cameras/gate/snapshot", "/cameras/gate/live.mjpeg", "/live/detections?camera=gate"]
)
def test_without_redis_nothing_is_live(client: TestClient, path: str) -> None:
    answer = client.get(f"/api{path}")
    assert answer.status_code == 503
    assert "Redis" in answer.json()["detail"]


def test_a_picture_that_is_none_is_sent_as_it_came() -> None:
    assert draw_frame(frame(jpeg=b"not a picture")) == b"not a picture"


class Request:
    """As much of a request as a doorkeeper looks at."""

    def __init__(self, secret: str) -> None:
        self.headers = {"authorization": f"Bearer {secret}"}
        self.cookies: dict[str, str] = {}


def test_a_stream_ends_when_its_token_is_revoked(
    make_app: MakeApp, history: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.live_streams.LOOK_AGAIN_S", 0.0)
    doorkeeper: Doorkeeper = make_app(open_here=False).state.doorkeeper
    request: Any = Request(add_token(history, "wall", Role.VIEWER))

    async def pieces() -> Any:
        while True:
            yield b"piece"

    async def main() -> int:
        answer = LiveStreams(doorkeeper).respond(request, pieces(), "text/plain")
        count = 0
        async for _ in answer.body_iterator:
            count += 1
            if count == 5:
                revoke_token(history, "wall")
            assert count < 10
        return count

    assert asyncio.run(main()) == 5


def test_streams_are_bounded_and_free_their_place(make_app: MakeApp) -> None:
    streams = LiveStreams(make_app().state.doorkeeper, at_once=1)
    request: Any = None

    async def pieces() -> Any:
        while True:
            yield b"piece"

    async def main() -> None:
        body: Any = streams.respond(request, pieces(), "text/plain").body_iterator
        await anext(body)
        with pytest.raises(ProblemError, match="at most 1 live streams"):
            streams.respond(request, pieces(), "text/plain")
        await body.aclose()
        await anext(streams.respond(request, pieces(), "text/plain").body_iterator)

    asyncio.run(main())


def test_a_stream_ends_with_its_frames() -> None:
    async def frames() -> Any:
        yield frame()

    async def main() -> list[int]:
        return [one.index async for one in with_pauses(frames()) if one is not None]

    assert asyncio.run(main()) == [7]


def test_a_quiet_stream_gives_signs_of_life() -> None:
    closed = False

    async def frames() -> Any:
        nonlocal closed
        try:
            yield frame()
            await asyncio.sleep(3600)
        finally:
            closed = True

    async def main() -> None:
        stream = with_pauses(frames(), pause_s=0.01)
        first = await anext(stream)
        assert first is not None
        assert [await anext(stream), await anext(stream)] == [None, None]
        await stream.aclose()

    asyncio.run(main())
    assert closed
