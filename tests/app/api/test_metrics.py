"""/metrics of the server: the fleet as Redis has it, for those who may look."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from core.camera_state import CameraActivity, CameraStates, new_state
from storage.database import Database
from storage.roles import Role
from tests.app.api.conftest import ELSEWHERE, HERE, MakeApp, bearer
from tests.core.queue_rig import FILE, QueueRig


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.redis
def test_it_tells_of_cameras_frames_and_the_queue(make_app: MakeApp, redis_url: str) -> None:
    rig = QueueRig(redis_url)
    rig.queue = type(rig.queue)(rig.client, rig.limits, "framewatch", rig.rung.append)
    rig.publish(0, 1, 2, use=FILE)
    rig.ack(rig.claim(2))
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    CameraStates(rig.client, "framewatch").save(
        [
            new_state("gate", CameraActivity.LIVE),
            replace(new_state("attic", CameraActivity.LIVE), reported_at=long_ago),
        ]
    )
    with TestClient(make_app(redis_url=redis_url), base_url=HERE) as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    assert found["framewatch_camera_state", "gate", "live"] == 1
    assert ("framewatch_camera_state", "attic", "live") not in found, "its ingest process is gone"
    assert found["framewatch_frames_captured_total", "gate"] == 3
    assert found["framewatch_frames_stored_total", "gate"] == 2
    assert found["framewatch_queue_waiting_frames", "gate", "thin"] == 1


def test_without_redis_it_answers_with_nothing(make_app: MakeApp) -> None:
    with TestClient(make_app(), base_url=HERE) as client:
        answer = client.get("/metrics")
    assert (answer.status_code, samples(answer.text)) == (200, {})


def test_others_need_a_token(make_app: MakeApp, history: Database) -> None:
    with TestClient(make_app(open_here=False), base_url=ELSEWHERE) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=bearer(history, Role.VIEWER)).status_code == 200
