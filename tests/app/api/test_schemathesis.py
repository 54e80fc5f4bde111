"""Schemathesis asks a real server whatever its description (OpenAPI) allows, and what it rules out."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from app.camera_check import check_source
from app.serving import address_of, listening_socket
from core.errors import SourceLostError
from core.types import Camera
from storage.cameras import add_camera
from storage.database import Database
from storage.roles import Role
from storage.tokens import add_token
from tests.app.api.conftest import MakeApp
from tests.waiting import wait_until

CONFIGURATION = """
# Whoever keeps to the description gets an answer; 400 is for what no schema can rule out: since after until,
# a class that no model knows, a cursor of other filters, a password in an address.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 429]
"""


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The application on a socket of this machine; yields its URL."""
    with listening_socket("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started, 30, "the server starts")
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.redis
def test_schemathesis_finds_no_failure(
    make_app: MakeApp, history: Database, redis_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_here(url: str, *rest: Any) -> Any:
        if "://" in url:  # invented addresses are not called
            raise SourceLostError("expected a source, got silence")
        return check_source(url, *rest)

    monkeypatch.setattr("app.api.cameras.check_source", check_here)
    monkeypatch.setattr("app.api.guard.TRIES_PER_MINUTE", 1_000_000)  # it tries wrong tokens, too
    app = make_app(open_here=False, redis_url=redis_url, api_requests_per_minute=1_000_000)
    add_camera(history, Camera("gate", "/nowhere.mp4"))
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    with listening(app) as url:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/openapi.json"),
                *("--header", f"Authorization: Bearer {add_token(history, 'tester', Role.ADMIN)}"),
                *("--checks", "all", "--max-examples", "3", "--seed", "1", "--request-timeout", "30"),
                *("--continue-on-failure", "--no-color", "--warnings", "off"),
            ],
            cwd=folder,
            env={
                "SCHEMATHESIS_HOOKS": "tests.app.api.schemathesis_hooks",
                "PYTHONPATH": str(Path(__file__).parents[3]),
            },
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 500
