"""Cameras over HTTP: as `framewatch camera` has them, and no secret in any answer."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.errors import SourceLostError
from core.types import Camera
from storage.cameras import get_camera
from storage.database import Database
from storage.roles import Role
from storage.tables import cameras
from tests.app.api.conftest import ELSEWHERE, MakeApp, bearer
from tests.clips import write_clip
from tests.storage.results import START

SECRET = "hunter2hunter2"
URL = "rtsp://viewer:${GATE_PASSWORD}@127.0.0.1:1/stream1"


def add(client: TestClient, name: str = "door", **fields: Any) -> Any:
    return client.post("/api/cameras", json={"name": name, "url": URL} | fields)


def test_a_camera_is_added_read_changed_and_removed(client: TestClient, history: Database) -> None:
    rule = {"classes": ["person"], "every_s": 30, "what": "frame"}
    mask = [[0, 0], [1, 0], [1, 0.2]]
    answer = add(client, fps=5, masks=[mask], evidence=[rule], classes=["person"])
    assert (answer.status_code, answer.headers["location"]) == (201, "/api/cameras/door")
    stored = get_camera(history, "door")
    assert (stored.url, stored.fps, stored.masks) == (URL, 5.0, (((0, 0), (1, 0), (1, 0.2)),))
    assert stored.evidence[0].every_s == 30
    shown = client.get("/api/cameras/door").json()
    assert shown == answer.json()
    assert (shown["url"], shown["fps"], shown["policy"]) == (URL, 5, "drop_oldest")
    assert [camera["name"] for camera in client.get("/api/cameras").json()] == ["door"]

    changed = client.patch("/api/cameras/door", json={"fps": None, "enabled": False})
    assert changed.status_code == 200
    assert (changed.json()["fps"], changed.json()["enabled"]) == (None, False)
    stored = get_camera(history, "door")
    assert (stored.fps, stored.enabled, stored.url, stored.classes) == (None, False, URL, ("person",))

    assert client.delete("/api/cameras/door").status_code == 204
    assert client.get("/api/cameras").json() == []
    for method in ("GET", "DELETE"):
        assert client.request(method, "/api/cameras/door").status_code == 404


def test_a_removed_camera_keeps_its_history(client: TestClient) -> None:
    assert add(client, "gate").status_code == 201
    assert client.delete("/api/cameras/gate").status_code == 204
    assert len(client.get("/api/detections", params={"camera": "gate"}).json()["detections"]) == 4


def test_a_recording_waits_for_its_reader(client: TestClient) -> None:
    shown = add(client, url="/srv/clips/street.mp4").json()
    assert (shown["policy"], shown["max_age_s"]) == ("wait", None)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"name": "no spaces"}, 422, "name: "),
        ({"url": ""}, 422, "url: "),
        ({"url": None}, 422, "url: "),
        ({"fps": 0}, 422, "fps: "),
        ({"fps": "5"}, 422, "fps: "),
        ({"fps": 1001}, 422, "fps: "),
        ({"max_side": 16}, 422, "max_side: "),
        ({"policy": "sometimes"}, 422, "policy: "),
        ({"masks": [[[0, 0], [1, 1]]]}, 422, "masks.0: "),
        ({"masks": [[[0, 0], [1, 1], [2, 0]]]}, 422, "masks.0.2.0: "),
        ({"evidence": [{"every_s": 0}]}, 422, "evidence.0.every_s: "),
        ({"colour": "red"}, 422, "colour: "),
        ({"url": "rtsp://viewer:***@127.0.0.1/stream1"}, 400, "secret is hidden"),
        ({"url": f"rtsp://viewer:{SECRET}@127.0.0.1/stream1"}, 400, "expected the password by reference"),
        ({"url": f"http://127.0.0.1/video?token={SECRET}"}, 400, "expected the password by reference"),
    ],
)
def test_what_is_wrong_with_a_camera_is_said_without_its_secret(
    client: TestClient, history: Database, fields: dict[str, Any], code: int, message: str
) -> None:
    answer = add(client, **fields)
    assert answer.status_code == code, answer.text
    assert message in answer.json()["detail"]
    assert SECRET not in answer.text
    assert client.get("/api/cameras").json() == []


def test_a_broken_body_is_said_in_one_line(client: TestClient) -> None:
    answer = client.post("/api/cameras", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "\n" not in answer.json()["detail"]


def test_a_taken_name_is_a_conflict(client: TestClient) -> None:
    assert add(client).status_code == 201
    answer = add(client)
    assert answer.status_code == 409
    assert "PATCH changes it" in answer.json()["detail"]


def test_a_changed_name_is_refused(client: TestClient) -> None:
    add(client)
    assert client.patch("/api/cameras/door", json={"name": "gate"}).status_code == 422


@pytest.fixture
def secretive(history: Database) -> Database:
    """A camera whose password stands in its address, as a person may have written it with SQL."""
    url = f"rtsp://viewer:{SECRET}@127.0.0.1:1/stream1?password={SECRET}"
    with history.writing() as connection:
        connection.execute(
            cameras.insert().values(name="old", url=url, settings={}, enabled=True, created_at=START)
        )
    assert SECRET in get_camera(history, "old").url
    return history


@pytest.fixture
def looking(make_app: MakeApp, secretive: Database, redis_url: str) -> Iterator[TestClient]:
    app = make_app(redis_url=redis_url, open_timeout_s=2, api_requests_per_minute=100_000)
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        yield client


PARAMETERS = {"since": "2026-11-23", "wait_s": 0}


@pytest.mark.redis
def test_no_answer_holds_a_password(looking: TestClient) -> None:
    """Every path of the description, with every method, for a camera whose address holds one."""
    description = looking.get("/api/openapi.json").json()
    calls = [(method, path) for path, methods in description["paths"].items() for method in methods]
    codes: dict[tuple[str, str], int] = {}
    for method, path in sorted(calls, key=lambda call: call[0] == "delete"):
        if path in ("/api/live/detections", "/api/cameras/{name}/live.mjpeg"):
            continue  # they go on for ever, and send what workers publish: frames, which have no address
        known = [one["name"] for one in description["paths"][path][method].get("parameters", ())]
        answer = looking.request(
            method,
            path.format(name="old", day="2026-11-23", camera="old", file="x-1.jpg"),
            params={name: value for name, value in PARAMETERS.items() if name in known},
            json={"fps": 1} if method == "patch" else {"url": f"rtsp://a:{SECRET}@127.0.0.1:1/"},
        )
        assert SECRET not in answer.text, f"{method} {path}"
        assert SECRET not in str(answer.headers), f"{method} {path}"
        codes[method, path] = answer.status_code
    assert codes["get", "/api/cameras/{name}"] == codes["get", "/api/status"] == 200
    assert codes["post", "/api/cameras/{name}/check"] == codes["post", "/api/sources/check"] == 200
    assert codes["delete", "/api/cameras/{name}"] == 204


def test_a_literal_password_is_shown_as_stars(client: TestClient, secretive: Database) -> None:
    (shown,) = client.get("/api/cameras").json()
    assert shown["url"] == "rtsp://viewer:***@127.0.0.1:1/stream1?password=***"


def test_viewers_look_and_administrators_change(make_app: MakeApp, history: Database) -> None:
    with TestClient(make_app(open_here=False), base_url=ELSEWHERE) as client:
        viewer, admin = bearer(history, Role.VIEWER, "viewer"), bearer(history, Role.ADMIN, "admin")
        body = {"name": "door", "url": URL}
        assert client.post("/api/cameras", json=body, headers=viewer).status_code == 403
        assert client.post("/api/cameras", json=body, headers=admin).status_code == 201
        assert client.get("/api/cameras/door", headers=viewer).status_code == 200
        for method, path in (
            ("PATCH", "/api/cameras/door"),
            ("DELETE", "/api/cameras/door"),
            ("POST", "/api/cameras/door/check"),
            ("POST", "/api/sources/check"),
        ):
            assert client.request(method, path, json={"enabled": False}, headers=viewer).status_code == 403
        assert get_camera(history, "door") == Camera("door", URL)


def test_a_check_tells_what_a_source_sends(client: TestClient, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    answer = client.post("/api/sources/check", json={"url": str(clip)}).json()
    assert answer["problem"] is None
    found = answer["found"]
    assert (found["kind"], found["received_fps"], found["size"]) == ("recorded", None, [320, 240])
    assert base64.b64decode(found["picture"]).startswith(b"\xff\xd8")
    add(client, "clip", url=str(clip))
    assert client.post("/api/cameras/clip/check").json() == answer


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"rtsp://a:{SECRET}@127.0.0.1:1/x", "127.0.0.1"),
        ("rtsp://a:${NO_SUCH_PASSWORD}@127.0.0.1:1/x", "NO_SUCH_PASSWORD"),
        ("/no/such/file.mp4", "no such file"),
        ("0" * 1000, "File name too long"),
    ],
)
def test_a_source_that_cannot_be_read_is_an_answer_without_its_secret(
    client: TestClient, url: str, problem: str
) -> None:
    answer = client.post("/api/sources/check", json={"url": url})
    assert answer.status_code == 200, answer.text
    assert answer.json()["found"] is None
    assert problem in answer.json()["problem"]
    assert SECRET not in answer.text


def test_a_stored_camera_is_checked_by_its_name(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(url: str, *_: Any) -> None:
        raise SourceLostError(f"{url}: expected pictures, got none for 5 s")

    monkeypatch.setattr("app.api.cameras.check_source", lose)
    add(client)
    assert "got none for 5 s" in client.post("/api/cameras/door/check").json()["problem"]
    assert client.post("/api/cameras/moon/check").status_code == 404


def test_a_method_that_a_path_does_not_know_is_told_which_it_knows(client: TestClient) -> None:
    answer = client.put("/api/cameras/door", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")
    assert "expected DELETE or GET or PATCH" in answer.json()["detail"]
