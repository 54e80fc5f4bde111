"""The dashboard in this process, on the history of `tests.app.conftest`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from starlette.testclient import TestClient

from app.api.application import create_app
from app.api.services import Services
from app.dashboard.application import add_dashboard
from core.settings import load_settings
from storage.database import Database

NOWHERE = "redis://127.0.0.1:1"


@contextmanager
def browsing(database: Database, redis_url: str = NOWHERE, *, open_here: bool = True) -> Iterator[TestClient]:
    """A browser of a person on the server's machine, which does not follow redirections."""
    with closing(Services(load_settings(redis_url=redis_url), database)) as services:
        app = create_app(services, open_here=open_here)
        add_dashboard(app)
        headers = {"Accept": "text/html"}
        with TestClient(
            app, base_url="http://127.0.0.1:8600", headers=headers, follow_redirects=False
        ) as client:
            yield client


@pytest.fixture
def browser(history: Database) -> Iterator[TestClient]:
    """Pages of `history`, while Redis is away."""
    with browsing(history) as client:
        yield client
