"""Nothing is answered to whoever has no right to it: no route, no page, no file."""

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount
from starlette.testclient import TestClient

from app.api.access import SESSION_COOKIE, is_loopback
from app.api.guard import MOST_BODY_BYTES, TRIES_PER_MINUTE
from app.api.login import local_path
from app.dashboard.application import add_dashboard
from storage.database import Database
from storage.roles import Role
from storage.tokens import add_token, revoke_token
from tests.app.api.conftest import ELSEWHERE, HERE, MakeApp, bearer, serving

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture
def guarded(make_app: MakeApp) -> Iterator[TestClient]:
    """Somebody elsewhere, asking a server that listens beyond its machine."""
    app = make_app(open_here=False, api_requests_per_minute=100_000)
    add_dashboard(app)
    with TestClient(app, base_url=ELSEWHERE, follow_redirects=False) as client:
        yield client


def paths(routes: "list[BaseRoute]", prefix: str = "") -> Iterator[str]:
    """Every path of the application; a name stands where a path has a place for one."""
    for route in routes:
        path = prefix + str(getattr(route, "path", ""))
        included: Any = getattr(route, "original_router", None)  # FastAPI keeps routers as they were included
        if included is not None:
            yield from paths(included.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
        elif isinstance(route, Mount):
            yield path + "/style.css"
            yield from paths(list(route.routes or []), path)
        else:
            yield path.replace("{", "").replace("}", "").replace(":path", "")


def every_path(app: Any) -> list[str]:
    assert isinstance(app, FastAPI)
    found = [*paths(app.routes), "/", "/static/style.css", "/nowhere"]
    assert {"/api/health", "/api/docs", "/api/openapi.json", "/login", "/system"} <= set(found)
    assert {"/api/cameras/name/live.mjpeg", "/api/evidence/day/camera/file"} <= set(found)
    return sorted(set(found))


def test_without_a_token_every_route_page_and_file_answers_401(guarded: TestClient) -> None:
    for path in every_path(guarded.app):
        for method in METHODS if path != "/login" else ("GET", "HEAD", "PUT", "DELETE"):
            if (path, method) in (("/api/health", "GET"), ("/api/health", "HEAD")):
                continue
            answer = guarded.request(method, path)
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert guarded.post("/login", data={"token": "wrong"}).status_code == 401


@pytest.mark.slow
def test_a_server_beyond_this_machine_answers_401_to_everybody(make_app: MakeApp, folder: Path) -> None:
    """A real one: it listens on every address, and this machine is asked for a token as well."""
    app = make_app()
    add_dashboard(app)
    with serving(folder, "--host", "0.0.0.0", FRAMEWATCH_API_TOKEN="sixteen letters.") as server:
        port = server.url.rpartition(":")[2]
        connection = HTTPConnection("127.0.0.1", int(port), timeout=60)
        for path in every_path(app):
            if path in ("/login", "/api/health"):
                continue
            for method in ("GET", "POST", "DELETE"):
                connection.request(method, path)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 401, f"{method} {path}"
        connection.request("GET", "/api/cameras", headers={"Authorization": "Bearer sixteen letters."})
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic d3Jvbmc6d3Jvbmc=", "wrong"])
def test_a_wrong_token_is_401_also_on_the_machine_itself(
    guarded: TestClient, client: TestClient, header: str
) -> None:
    for one in (guarded, client):
        answer = one.get("/api/models", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert "expected a valid one" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Host": "10.0.0.7:8600"}])
def test_whether_the_process_lives_is_told_to_anybody_also_without_a_database(
    guarded: TestClient, client: TestClient, history: Database, headers: dict[str, str]
) -> None:
    with history.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE api_tokens RENAME TO gone")
    for one in (guarded, client):
        answer = one.get("/api/health", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert one.head("/api/health", headers=headers).status_code == 200
    assert guarded.get("/api/health/ready").status_code == 401
    assert guarded.post("/api/health").status_code == 401


def test_a_token_opens_and_a_revoked_one_does_not(guarded: TestClient, history: Database) -> None:
    headers = bearer(history, Role.VIEWER, "wall")
    assert guarded.get("/api/models", headers=headers).status_code == 200
    revoke_token(history, "wall")
    assert guarded.get("/api/models", headers=headers).status_code == 401


def test_the_setting_is_a_token_of_an_administrator(make_app: MakeApp) -> None:
    app = make_app(open_here=False, api_token="sixteen letters.")
    client = TestClient(app, base_url=ELSEWHERE)
    assert client.get("/api/models", headers={"Authorization": "Bearer sixteen letters."}).status_code == 200
    assert client.get("/api/models", headers={"Authorization": "Bearer sixteen letters!"}).status_code == 401


def test_a_viewer_cannot_change_anything(guarded: TestClient, history: Database) -> None:
    headers = bearer(history, Role.VIEWER)
    for path in every_path(guarded.app):
        if path in ("/login", "/logout"):
            continue
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = guarded.request(method, path, headers=headers)
            assert answer.status_code == 403, f"{method} {path}"
            assert "role admin" in answer.json()["detail"]


def test_people_on_the_machine_itself_need_no_token(client: TestClient) -> None:
    assert client.get("/api/models").status_code == 200
    for name in ("localhost:8600", "127.0.0.1", "[::1]:8600", "LOCALHOST"):
        assert client.get("/api/models", headers={"Host": name}).status_code == 200, name


@pytest.mark.parametrize("name", ["[", "[::1", "127.0.0.1]"])
def test_a_host_that_is_none_is_refused_by_every_server(
    client: TestClient, guarded: TestClient, name: str
) -> None:
    for one in (client, guarded):
        answer = one.get("/api/models", headers={"Host": name, "Accept": "text/html"})
        assert answer.status_code == 400
        assert "host: expected NAME" in answer.json()["detail"]


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("path", ["/login", "/api/cameras", "/add"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_a_problem(
    make_app: MakeApp, path: str, accept: str, chunked: bool
) -> None:
    app = make_app()
    add_dashboard(app)
    body = b"name=" + b"a" * MOST_BODY_BYTES
    kind = "application/json" if path.startswith("/api") else "application/x-www-form-urlencoded"
    headers = {"Accept": accept, "Content-Type": kind}
    content = iter([body[:1000], body[1000:]]) if chunked else body
    answer = TestClient(app, base_url=HERE).post(path, content=content, headers=headers)
    if (path, chunked) == ("/add", True) and accept == "text/html":
        assert (answer.status_code, answer.headers["content-type"]) == (413, "text/html; charset=utf-8")
        return
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8600", "127.0.0.1.evil", "", "0.0.0.0"])
def test_a_name_that_dns_may_point_here_is_refused(client: TestClient, name: str) -> None:
    answer = client.get("/api/models", headers={"Host": name})
    assert answer.status_code == 400
    assert "--require-token" in answer.json()["detail"]


def test_what_a_proxy_passes_on_does_not_count_as_this_machine(client: TestClient) -> None:
    answer = client.get("/api/models", headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 401
    assert "--require-token" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_sites_cannot_change_anything_through_a_persons_browser(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.post("/logout", headers=headers).status_code == 403
    allowed = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/logout", headers=allowed, follow_redirects=False).status_code == 303


def test_other_sites_cannot_put_pictures_of_this_one_on_their_pages(client: TestClient) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/models", headers=embedded).status_code == 403
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/api/models", headers=linked).status_code == 200


def test_no_other_origin_may_read_answers(client: TestClient) -> None:
    answer = client.options(
        "/api/models", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert not [name for name in answer.headers if name.startswith("access-control")]
    answer = client.get("/api/models")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_browser_logs_in_keeps_a_session_and_logs_out(guarded: TestClient, history: Database) -> None:
    page = guarded.get("/api/models?x=<1>", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'name="next" value="/api/models?x=' in page.text
    assert "<1>" not in page.text
    secret = add_token(history, "wall", Role.VIEWER)
    answer = guarded.post("/login", data={"token": secret, "next": "/api/models"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/api/models")
    cookie = answer.headers["set-cookie"]
    assert secret not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert guarded.get("/api/models").status_code == 200
    assert guarded.post("/api/models").status_code == 403, "a viewer's session is a viewer's"
    session = guarded.cookies[SESSION_COOKIE]
    assert guarded.post("/logout").status_code == 303
    assert guarded.get("/api/models").status_code == 401
    again = guarded.get("/api/models", headers={"Cookie": f"{SESSION_COOKIE}={session}"})
    assert again.status_code == 401, "the session itself ended, not only the cookie"


def test_a_session_ends_with_its_token(guarded: TestClient, history: Database) -> None:
    guarded.post("/login", data={"token": add_token(history, "wall", Role.ADMIN)})
    assert guarded.get("/api/models").status_code == 200
    revoke_token(history, "wall")
    assert guarded.get("/api/models").status_code == 401


def test_the_cookie_travels_over_https_only_where_there_is_https(
    make_app: MakeApp, history: Database
) -> None:
    client = TestClient(make_app(open_here=False), base_url="https://cameras.example")
    secret = add_token(history, "wall", Role.VIEWER)
    answer = client.post("/login", data={"token": secret}, follow_redirects=False)
    assert "Secure" in answer.headers["set-cookie"]


def test_a_link_of_another_site_is_followed_once_the_browser_brings_the_cookie(guarded: TestClient) -> None:
    link = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert 'http-equiv="refresh"' in guarded.get("/", headers=link).text
    assert 'http-equiv="refresh"' not in guarded.get("/", headers=link | {"Sec-Fetch-Site": "none"}).text


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "/\\evil.example", "http://evil.example", "", "/login", "/x\r\nSet-Cookie: a=b"],
)
def test_logging_in_never_leads_away(target: str) -> None:
    assert local_path(target) == "/"
    assert local_path("/history?class=person&since=2h") == "/history?class=person&since=2h"


def test_guessing_tokens_is_slowed_down(guarded: TestClient, history: Database) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    codes = {guarded.get("/api/models", headers=wrong).status_code for _ in range(TRIES_PER_MINUTE)}
    assert codes == {401}
    answer = guarded.get("/api/models", headers=wrong)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert guarded.post("/login", data={"token": "wrong"}).status_code == 429
    assert guarded.get("/api/models", headers=bearer(history, Role.VIEWER)).status_code == 200


def test_guessing_sessions_is_slowed_down(guarded: TestClient, history: Database) -> None:
    codes = [
        guarded.get("/api/models", headers={"Cookie": f"{SESSION_COOKIE}=guess{number}"}).status_code
        for number in range(TRIES_PER_MINUTE + 1)
    ]
    assert codes == [401] * TRIES_PER_MINUTE + [429]
    assert guarded.get("/api/models").status_code == 401, "who guesses nothing is told what is missing"
    assert guarded.get("/api/models", headers=bearer(history, Role.VIEWER)).status_code == 200


def test_requests_are_bounded_per_token(make_app: MakeApp, history: Database) -> None:
    client = TestClient(make_app(open_here=False, api_requests_per_minute=5), base_url=ELSEWHERE)
    one, other = bearer(history, Role.VIEWER, "one"), bearer(history, Role.VIEWER, "other")
    codes = [client.get("/api/models", headers=one).status_code for _ in range(6)]
    assert codes == [200] * 5 + [429]
    assert client.get("/api/models", headers=other).status_code == 200


def test_a_database_that_is_away_is_503_and_no_way_in(guarded: TestClient, history: Database) -> None:
    headers = bearer(history, Role.ADMIN)
    with history.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE api_tokens RENAME TO gone")
    assert guarded.get("/api/models", headers=headers).status_code == 503


def test_loopback_is_told_from_names_that_look_like_it() -> None:
    here = ("localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "[::1]")
    assert [host for host in here if not is_loopback(host)] == []
    elsewhere = ("", "0.0.0.0", "::", "127.0.0.1.example", "localhost.example", "192.0.2.1")
    assert [host for host in elsewhere if is_loopback(host)] == []
