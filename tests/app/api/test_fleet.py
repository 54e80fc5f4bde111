"""Whether it lives, whether it is ready, and what goes on."""

from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from core.camera_state import CameraActivity, CameraStates, new_state
from core.redis_client import make_redis
from core.types import Camera, DropReason
from storage.cameras import add_camera
from storage.database import Database
from tests.app.api.conftest import HERE, MakeApp


def test_it_lives_without_redis_but_is_not_ready(client: TestClient) -> None:
    assert client.get("/api/health").json() == {"status": "ok"}
    answer = client.get("/api/health/ready")
    assert answer.status_code == 503
    assert (answer.json()["status"], answer.json()["database"], answer.json()["workers"]) == (
        "degraded",
        None,
        0,
    )
    assert "Redis cannot be reached" in answer.json()["redis"]


@pytest.mark.parametrize("path", ["/api/status", "/api/ledger"])
def test_the_fleet_is_unknown_without_redis(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 503
    assert "Redis cannot be reached" in answer.json()["detail"]
    assert answer.headers["retry-after"]


def test_a_database_without_tables_is_not_ready(client: TestClient, history: Database) -> None:
    history.downgrade("base")
    assert "db upgrade" in client.get("/api/health/ready").json()["database"]


@pytest.mark.redis
def test_status_and_ledger_tell_what_goes_on(make_app: MakeApp, history: Database, redis_url: str) -> None:
    add_camera(history, Camera("gate", "rtsp://127.0.0.1:1/"))
    app = make_app(redis_url=redis_url)
    with make_redis(redis_url) as redis, TestClient(app, base_url=HERE) as client:
        assert client.get("/api/health/ready").json()["status"] == "ok"
        CameraStates(redis, "framewatch").save([new_state("gate", CameraActivity.BACKING_OFF, "refused")])
        app.state.services.queue.count_captured_dropped("gate", DropReason.NO_MOTION, 5)
        app.state.services.queue.flush_counts()
        status = client.get("/api/status").json()
        assert (datetime.now(UTC) - datetime.fromisoformat(status["at"])).total_seconds() < 60
        (camera,) = status["cameras"]
        assert (camera["name"], camera["state"], camera["error"]) == ("gate", "backing off", "refused")
        (ledger,) = client.get("/api/ledger").json()
        assert ledger == status["ledger"][0]
        assert (ledger["captured"], ledger["no_motion"], ledger["balance"]) == (5, 5, 0)
