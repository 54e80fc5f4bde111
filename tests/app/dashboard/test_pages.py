"""Pages answer in every state of the installation, and tell what to do next."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from core.types import Camera
from storage.cameras import add_camera, get_camera
from storage.database import Database
from storage.roles import Role
from storage.tokens import add_token
from tests.app.api.conftest import bearer
from tests.app.dashboard.conftest import browsing

SECRET_URL = "rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream1"
PAGES = ("/", "/history", "/system", "/add", "/cameras/gate")
CHANGES = (
    "/add",
    *(f"/cameras/gate/{what}" for what in ("check", "edit", "masks", "disable", "remove")),
    "/system/dead",
)


@pytest.fixture
def gate(history: Database) -> Database:
    add_camera(history, Camera("gate", SECRET_URL, fps=5, masks=(((0, 0), (1, 0), (0.5, 0.25)),)))
    return history


@pytest.fixture
def with_redis(gate: Database, redis_url: str) -> Iterator[TestClient]:
    with browsing(gate, redis_url) as client:
        yield client


def test_every_page_answers_with_a_policy_that_lets_nothing_in(with_redis: TestClient) -> None:
    for path in PAGES:
        answer = with_redis.get(path)
        assert answer.status_code == 200, answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "<script>" not in answer.text
        assert " style=" not in answer.text


@pytest.mark.parametrize("path", ["/", "/system"])
def test_without_redis_live_pages_say_how_to_get_it_and_look_again(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 503
    assert "framewatch up" in answer.text
    assert "data-retry-every" in answer.text


def test_without_redis_history_and_cameras_still_work(gate: Database, browser: TestClient) -> None:
    assert "5 detections" in browser.get("/history?since=all").text
    page = browser.get("/cameras/gate")
    assert page.status_code == 200
    assert "No live picture" in page.text


def test_an_open_page_of_a_camera_asks_for_its_day_only_once(gate: Database, browser: TestClient) -> None:
    assert "States of the last 24 hours" in browser.get("/cameras/gate").text
    part = browser.get("/cameras/gate", headers={"Framewatch-Refresh": "1"}).text
    assert 'id="state" data-refresh' in part
    assert "States of the last 24 hours" not in part
    assert "Framewatch-Refresh" in browser.get("/static/page.js").text


def test_an_empty_installation_says_where_to_begin(redis_url: str, history: Database) -> None:
    with browsing(history, redis_url) as client:
        page = client.get("/").text
    assert "No camera yet" in page
    assert "framewatch camera add" in page


def test_a_camera_that_nothing_reads_says_so(with_redis: TestClient) -> None:
    assert "Start framewatch up, or framewatch ingest." in with_redis.get("/").text
    assert "Start one with <code>framewatch worker</code>" in with_redis.get("/system").text


def test_filters_that_nothing_passes_lead_to_the_newest(browser: TestClient) -> None:
    page = browser.get("/history?since=2030-01-01").text
    assert "Nothing passes these filters" in page
    assert "The newest detection of all is a" in page


def test_a_thousand_years_are_drawn(browser: TestClient) -> None:
    answer = browser.get("/history?since=1000-01-01")
    assert answer.status_code == 200
    assert "5 detections" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "min_score=9",
        "camera=nobody",
        "class=unicorn",
        "since=soon",
        "cursor=x",
        "until=0001-01-01",
        "since=0001-01-01",
    ],
)
def test_wrong_filters_are_told_on_the_page(browser: TestClient, query: str) -> None:
    answer = browser.get(f"/history?{query}")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "expected" in answer.text


def test_what_was_typed_is_never_taken_for_html(browser: TestClient) -> None:
    text = '"><script>alert(1)</script>'
    for field in ("camera", "since", "region", "min_score"):
        assert "<script>alert" not in browser.get("/history", params={field: text}).text


def test_pages_of_the_table_hold_every_row_once(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dashboard.history.ROWS_PER_PAGE", 2)
    seen, path = [], "/history?since=all"
    while path:
        page = browser.get(path).text
        seen += page.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
        older = page.partition('rel="next" href="')[2].partition('"')[0]
        path = older.replace("&amp;", "&")
    assert len(seen) == 5
    assert len(set(seen)) == 5


@pytest.mark.parametrize("path", ["/nothing", "/cameras/nobody", "/static/nothing.js"])
def test_what_is_not_there_is_a_page_for_people(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_what_is_not_there_is_a_problem_for_programs(browser: TestClient) -> None:
    answer = browser.get("/nothing", headers={"Accept": "*/*"})
    assert answer.json()["status"] == 404
    assert browser.get("/api/nothing").json()["status"] == 404


def test_a_camera_is_changed_and_the_rest_of_it_stays(gate: Database, browser: TestClient) -> None:
    form = {"url": SECRET_URL, "fps": "3", "enabled": "on"}
    answer = browser.post("/cameras/gate/edit", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/cameras/gate?done=settings")
    camera = get_camera(gate, "gate")
    assert camera.fps == 3
    assert camera.masks
    assert "The settings are saved" in browser.get(answer.headers["location"]).text
    browser.post("/cameras/gate/disable")
    assert not get_camera(gate, "gate").enabled
    browser.post("/cameras/gate/enable")
    assert get_camera(gate, "gate").enabled


def test_a_name_that_is_taken_is_told_with_the_form_as_it_was(gate: Database, browser: TestClient) -> None:
    answer = browser.post("/add", data={"name": "gate", "url": "http://192.0.2.11/video", "action": "add"})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert 'value="http://192.0.2.11/video"' in answer.text


def test_a_password_is_refused_and_not_stored(history: Database, browser: TestClient) -> None:
    answer = browser.post(
        "/add", data={"name": "door", "url": "rtsp://a:hunter2@192.0.2.12/", "action": "add"}
    )
    assert answer.status_code == 400
    assert "${" in answer.text.partition('role="alert"')[2].partition("</p>")[0]


def test_viewers_see_pages_without_what_they_may_not_do(gate: Database, redis_url: str) -> None:
    viewer = bearer(gate, Role.VIEWER)
    with browsing(gate, redis_url, open_here=False) as client:
        for path in ("/", "/cameras/gate", "/system"):
            page = client.get(path, headers=viewer)
            assert page.status_code == 200
            assert page.text.count('method="post"') == 0
        for path in CHANGES:
            assert client.post(path, headers=viewer).status_code == 403
    assert get_camera(gate, "gate").enabled


def test_strangers_are_asked_for_a_token_everywhere(gate: Database) -> None:
    with browsing(gate, open_here=False) as client:
        for path in (*PAGES, "/static/style.css", "/live?camera=gate", "/nothing"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert 'name="token"' in answer.text
        for path in CHANGES:
            assert client.post(path).status_code == 401


def test_a_session_begins_with_the_right_token_only(gate: Database) -> None:
    token = add_token(gate, "ada", Role.VIEWER)
    with browsing(gate, open_here=False) as client:
        assert client.post("/login", data={"token": "wrong", "next": "/history"}).status_code == 401
        answer = client.post("/login", data={"token": token, "next": "/history"})
        assert (answer.status_code, urlsplit(answer.headers["location"]).path) == (303, "/history")
        assert client.get("/history").status_code == 200


@pytest.mark.parametrize("name", ["style.css", "page.js", "live.js", "masks.js", "history.js", "icon.svg"])
def test_files_are_kept_by_browsers_and_asked_for_again(browser: TestClient, name: str) -> None:
    answer = browser.get(f"/static/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    again = browser.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
