import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.camera_state import CameraActivity, CameraStates, new_state
from core.types import Camera
from storage.cameras import add_camera
from storage.database import Database
from tests.app.conftest import Cli
from tests.core.queue_rig import FILE, QueueRig

pytestmark = pytest.mark.redis


@pytest.fixture
def rig(redis_url: str) -> QueueRig:
    """A queue of the default namespace: two frames stored, one waiting, a worker, a live camera."""
    rig = QueueRig(redis_url)
    rig.queue = type(rig.queue)(rig.client, rig.limits, "framewatch", rig.rung.append)
    rig.beat(slots=2)
    rig.publish(0, 1, 2, use=FILE)
    rig.ack(rig.claim(2))
    seen = datetime.now(UTC) - timedelta(seconds=2)
    live = replace(
        new_state("gate", CameraActivity.LIVE),
        since=seen - timedelta(minutes=1),
        fps_in=24.9,
        fps_out=5.0,
        last_frame_at=seen,
    )
    CameraStates(rig.client, "framewatch").save(
        [live, new_state("door", CameraActivity.REFUSED, "401 Unauthorized")]
    )
    return rig


def test_status_shows_cameras_queue_workers_and_ledger(
    cli: Cli, rig: QueueRig, redis_url: str, history: Database
) -> None:
    add_camera(history, Camera("gate", "usb://0"))
    add_camera(history, Camera("attic", "usb://1"))
    add_camera(history, Camera("cellar", "usb://2", enabled=False))
    found = json.loads(cli("status", "--json", "--redis-url", redis_url).out)
    states = {camera["name"]: camera["state"] for camera in found["cameras"]}
    assert states == {"gate": "live", "attic": "not read", "cellar": "disabled", "door": "refused"}
    gate = next(camera for camera in found["cameras"] if camera["name"] == "gate")
    assert (gate["fps"], gate["queued_fps"]) == (24.9, 5.0)
    assert 1.5 < gate["last_frame_age_s"] < 20
    assert [(depth["camera"], depth["frames"]) for depth in found["queue"]] == [("gate", 1)]
    assert [(worker["slots"], worker["models"]) for worker in found["workers"]] == [(2, ["thin"])]
    ledger = found["ledger"][0]
    assert (ledger["captured"], ledger["stored"], ledger["in_flight"], ledger["balance"]) == (3, 2, 1, 0)
    text = cli("status", "--redis-url", redis_url).out
    for words in ("Cameras", "401 Unauthorized", "Queue", "Workers", "captured  stored  in flight"):
        assert words in text


def test_status_works_without_a_database_and_says_so(cli: Cli, rig: QueueRig, redis_url: str) -> None:
    done = cli("status", "--redis-url", redis_url)
    assert done.code == 0
    assert "warning: sqlite:///framewatch.db: no such database" in done.out
    assert "gate" in done.out


def test_status_says_when_there_is_nothing(cli: Cli, redis_url: str, history: Database) -> None:
    text = cli("status", "--redis-url", redis_url).out
    for words in ("Cameras: none", "Queue: empty", "Workers: none; start one with `framewatch worker`"):
        assert words in text
