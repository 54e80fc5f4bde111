"""`framewatch serve` as a process of its own, and the application in this process."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.api.application import create_app
from app.api.services import Services
from core.settings import load_settings
from storage.database import Database
from storage.roles import Role
from storage.tokens import add_token
from tests.app.conftest import clean_environment, framewatch
from tests.waiting import wait_until


class Server:
    """A running `framewatch serve`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        """Where it listens, which its log tells."""

        def listening() -> "re.Match[str] | None":
            assert self.process.poll() is None, f"it ended at once:\n{self.log}"
            return re.search(r"serving on (http://\S+)", self.log)

        return wait_until(listening, 60, "serve says where it listens")[1]

    def get(self, path: str, **headers: str) -> Any:
        """The JSON of a GET; urllib's HTTPError for any other code than 2xx."""
        with urlopen(Request(self.url + path, headers=headers), timeout=30) as answer:
            return json.load(answer)


@contextmanager
def serving(folder: Path, *arguments: str | Path, **variables: str) -> Iterator[Server]:
    """`framewatch serve` on a free port of this machine."""
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            framewatch("serve", "--port", "0", *arguments),
            cwd=folder,
            env=clean_environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, log)
    except BaseException:
        print(log.read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


HERE = "http://127.0.0.1:8600"
ELSEWHERE = "http://cameras.example:8600"

MakeApp = Callable[..., FastAPI]


@pytest.fixture
def make_app(history: Database) -> Iterator[MakeApp]:
    """The application on `history`; without a Redis unless `redis_url` is given."""
    made: list[Services] = []

    def make(*, open_here: bool = True, **given: Any) -> FastAPI:
        settings = load_settings(**({"redis_url": "redis://127.0.0.1:1"} | given))
        made.append(Services(settings, history))
        return create_app(made[-1], open_here=open_here)

    yield make
    for services in made:
        services.close()


@pytest.fixture
def client(make_app: MakeApp) -> Iterator[TestClient]:
    """A person on the server's own machine."""
    with TestClient(make_app(), base_url=HERE) as client:
        yield client


def bearer(database: Database, role: Role, name: str = "someone") -> dict[str, str]:
    """The header of a new token."""
    return {"Authorization": f"Bearer {add_token(database, name, role)}"}
