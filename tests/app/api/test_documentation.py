"""What is said about the API, to machines and to people."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient


def test_the_description_comes_with_all_that_it_loads(client: TestClient) -> None:
    page = client.get("/api/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(loaded) == 3
    for address in loaded:
        assert address.startswith("/api/docs/assets/"), "nothing from elsewhere"
        assert client.get(address).status_code == 200
    assert client.get("/api/openapi.json").json()["info"]["title"] == "framewatch"


@pytest.fixture
def description(client: TestClient) -> Any:
    return client.get("/api/openapi.json").json()


PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def test_the_page_names_every_path_and_method_and_no_other(description: Any) -> None:
    there = {
        f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods
    }
    assert set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /api/[^`]*)`", PAGE)) == there


def test_every_answer_is_described(description: Any) -> None:
    """With its media type, and with what the guard may answer to anything."""
    for path, methods in description["paths"].items():
        for method, told in methods.items():
            where = f"{method} {path}"
            assert told["description"].strip(), where
            assert {"400", "401", "403", "429", "503"} <= set(told["responses"]), where
            for code, answer in told["responses"].items():
                assert code == "204" or answer["content"], f"{where} {code}"


def test_tokens_are_described(description: Any) -> None:
    assert description["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert {"token": []} in description["security"]


def test_the_page_tells_the_limits() -> None:
    from app.api.guard import TRIES_PER_MINUTE
    from app.api.history import MOST_BUCKETS
    from app.api.live_streams import STREAMS_AT_ONCE
    from app.api.questions import MOST_DAYS, MOST_PAGE_ROWS
    from app.api.streaming import EXPORTS_AT_ONCE
    from core.settings import Settings

    rate = Settings.model_fields["api_requests_per_minute"].default
    limits = PAGE[PAGE.index("## Limits") : PAGE.index("## Failures")]
    rows = {
        "rows in a page": MOST_PAGE_ROWS,
        "one count or export looks at": MOST_DAYS,
        "at most": f"{MOST_BUCKETS:,}".replace(",", " "),
        "exports at once": EXPORTS_AT_ONCE,
        "live streams at once": STREAMS_AT_ONCE,
        "requests per minute, token and address": rate,
        "wrong tokens, ended sessions and log-ins per minute": TRIES_PER_MINUTE,
    }
    for what, limit in rows.items():
        assert re.search(rf"{re.escape(what)}.*\b{limit}\b", limits), what
