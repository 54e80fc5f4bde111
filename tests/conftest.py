"""Real servers for the tests: skipped where absent on a person's machine, a failure in CI."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


def missing(what: str) -> None:
    """Skips here, fails in CI: a server that CI forgot must not pass silently."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def street_clip() -> Path:
    """795 frames of 768x576 at 10 fps from a fixed street camera (Debian's opencv-doc)."""
    clip = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
    if not clip.exists():
        missing("vtest.avi of Debian's opencv-doc")
    return clip


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Valkey or Redis server for the whole run; use `redis_url` for a clean database."""
    from core.redis_server import EmbeddedRedis

    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """The shared server, emptied before the test."""
    import redis

    with redis.Redis.from_url(redis_server_url) as client:
        client.flushall()
    return redis_server_url


@pytest.fixture(scope="session")
def postgres_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One PostgreSQL server for the whole run; use `postgres_url` for an empty database."""
    from tests.postgres_server import PostgresServer

    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """SQLAlchemy URL (psycopg 3) of an empty database of its own."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(postgres_server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny detector as an ONNX file, beside the `.safetensors` file that it comes from."""
    from models.detector import load_network
    from models.export import ExportFormat, export
    from tests.fakes import save_tiny_detector

    weights = save_tiny_detector(tmp_path_factory.mktemp("onnx") / "tiny.safetensors")
    return export(*load_network(weights), ExportFormat.ONNX, weights.with_suffix(".onnx")).path
