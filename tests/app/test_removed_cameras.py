"""What Redis keeps of a camera goes when the camera was removed and its last frame was served, not before."""

import pytest

from app.removed_cameras import RemovedCameras
from core.frame_queue import FrameQueue
from core.types import Camera
from storage.cameras import add_camera, change_camera, remove_camera
from storage.database import Database
from tests.workers.rig import make_queue, publish

pytestmark = pytest.mark.redis
MODEL = "tiny"


@pytest.fixture
def queue(redis_url: str) -> FrameQueue:
    return make_queue(redis_url)


@pytest.fixture
def watched(queue: FrameQueue, history: Database) -> RemovedCameras:
    """Follows the cameras gate and yard; three frames of gate and one of yard wait."""
    for name, frames in (("gate", 3), ("yard", 1)):
        add_camera(history, Camera(name, "/nowhere.mp4"))
        publish(queue, MODEL, frames, camera=name)
    return RemovedCameras(queue, history)


def known(queue: FrameQueue) -> list[str]:
    return [ledger.camera for ledger in queue.ledgers()]


def serve(queue: FrameQueue, most: int) -> None:
    queue.ack(MODEL, queue.claim(MODEL, "slot-1", most, 0.0))


def test_a_removed_camera_is_forgotten_once_its_frames_are_served(
    watched: RemovedCameras, queue: FrameQueue, history: Database
) -> None:
    remove_camera(history, "gate")
    for _ in range(3):
        watched.look()
        assert known(queue) == ["gate", "yard"]
    serve(queue, 4)
    watched.look()
    assert known(queue) == ["yard"]


def test_its_reader_has_the_time_of_one_look_to_stop(
    watched: RemovedCameras, queue: FrameQueue, history: Database
) -> None:
    serve(queue, 4)
    remove_camera(history, "gate")
    watched.look()
    publish(queue, MODEL, 1, camera="gate")
    assert queue.ledger("gate").captured == 4, "its account goes on"


def test_disabled_cameras_and_those_that_came_back_are_kept(
    watched: RemovedCameras, queue: FrameQueue, history: Database
) -> None:
    serve(queue, 4)
    change_camera(history, "yard", lambda camera: Camera(camera.name, camera.url, enabled=False))
    remove_camera(history, "gate")
    watched.look()
    add_camera(history, Camera("gate", "/elsewhere.mp4"))
    for _ in range(2):
        watched.look()
    assert known(queue) == ["gate", "yard"]


def test_cameras_that_nobody_configured_are_kept(
    watched: RemovedCameras, queue: FrameQueue, history: Database
) -> None:
    publish(queue, MODEL, 1, camera="of-a-run")
    serve(queue, 8)
    for _ in range(3):
        watched.look()
    assert known(queue) == ["gate", "of-a-run", "yard"]
