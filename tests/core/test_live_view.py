"""Live frames pass through a real server, and only for as long as somebody looks."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from core.errors import QueueUnavailableError
from core.live_view import WATCHED_FOR_S, LiveBox, LiveFrame, LiveView
from core.redis_client import make_redis
from tests.waiting import wait_until

pytestmark = pytest.mark.redis

BOX = LiveBox("person", 0.5, 1.25, 2.0, 30.0, 40.0)


def make_live_frame(index: int = 0, camera: str = "gate") -> LiveFrame:
    moment = datetime(2026, 11, 23, 8, 30, 0, 123456, tzinfo=UTC)
    return LiveFrame(camera, index, moment, (1280, 720), b"\xff\xd8 picture \xff\xd9", (BOX,), "tiny")


@pytest.fixture
def view(redis_url: str) -> Iterator[LiveView]:
    with make_redis(redis_url) as client:
        yield LiveView(client, "framewatch")


def test_a_frame_survives_its_way_as_bytes() -> None:
    frame = make_live_frame()
    assert LiveFrame.from_bytes(frame.to_bytes()) == frame


def test_watching_is_per_camera_and_ends_by_itself(view: LiveView, redis_url: str) -> None:
    assert view.watched(["gate", "yard"]) == {"gate": False, "yard": False}
    view.watch(["gate"])
    assert view.watched(["gate", "yard"]) == {"gate": True, "yard": False}
    with make_redis(redis_url) as client:
        (key,) = client.keys("*watched*")
        assert 0 < client.ttl(key) <= WATCHED_FOR_S


def test_the_last_frame_of_a_camera_is_kept_for_seconds(view: LiveView, redis_url: str) -> None:
    assert view.latest("gate") is None
    view.publish([make_live_frame(1), make_live_frame(2), make_live_frame(7, "yard")])
    latest = view.latest("gate")
    assert latest is not None
    assert latest.index == 2
    with make_redis(redis_url) as client:
        assert all(0 < client.ttl(key) <= WATCHED_FOR_S for key in client.keys("*latest*"))


def test_frames_arrive_in_order_from_the_cameras_asked_for(view: LiveView) -> None:
    found: list[tuple[str, int]] = []

    def look() -> None:
        found.extend((frame.camera, frame.index) for frame in view.frames(["gate"], wait_s=1.0))

    viewer = threading.Thread(target=look)
    viewer.start()
    wait_until(lambda: view.watched(["gate"])["gate"], 10, "the viewer watches")
    for index in range(5):
        view.publish([make_live_frame(index), make_live_frame(index, "yard")])
    viewer.join(20)
    assert found == [("gate", index) for index in range(5)]


def test_one_viewer_can_follow_whatever_others_watch(view: LiveView, redis_url: str) -> None:
    found: list[str] = []
    viewer = threading.Thread(target=lambda: found.extend(f.camera for f in view.frames(None, wait_s=1.0)))
    viewer.start()
    with make_redis(redis_url) as client:
        wait_until(client.pubsub_numpat, 10, "the viewer listens")
        view.publish([make_live_frame(0), make_live_frame(0, "yard")])
        viewer.join(20)
        assert found == ["gate", "yard"]
        assert client.keys("*watched*") == []


def test_two_fleets_on_one_server_do_not_see_each_other(view: LiveView, redis_url: str) -> None:
    with make_redis(redis_url) as client:
        other = LiveView(client, "other")
        view.watch(["gate"])
        view.publish([make_live_frame()])
        assert other.latest("gate") is None
        assert not other.watched(["gate"])["gate"]


def test_a_lost_server_is_one_error() -> None:
    view = LiveView(make_redis("redis://127.0.0.1:1"), "framewatch")
    with pytest.raises(QueueUnavailableError):
        view.latest("gate")
    with pytest.raises(QueueUnavailableError):
        list(view.frames(["gate"], wait_s=0.1))
