"""Large exports of a real server: memory does not grow with rows, and who leaves gives back a place."""

import socket
from collections.abc import Iterator

import pytest

from app.api.streaming import EXPORTS_AT_ONCE
from benchmarks.export import filled, measure_export
from benchmarks.history_fill import History
from tests.app.api.conftest import Server
from tests.waiting import wait_until

HISTORY = History(rows=120_000, days=3, cameras=4)
MOST_GROWTH_MB = 60
"""Measured: see benchmarks/export.py. All rows at once would be more than 150."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("exports")
    with filled(f"sqlite:///{folder}/export.db", HISTORY, folder) as server:
        yield server


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_a_large_export_streams_in_bounded_memory(server: Server, format: str) -> None:
    cost = measure_export(server, HISTORY, format)
    assert cost.rows == HISTORY.rows
    assert cost.grown_mb < MOST_GROWTH_MB


def ask(server: Server) -> socket.socket:
    """A client that takes the beginning of an export and no more."""
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=60)
    since = HISTORY.start.isoformat().replace("+00:00", "Z")
    client.sendall(
        f"GET /api/detections?format=ndjson&since={since} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    )
    assert client.recv(1000).startswith(b"HTTP/1.1 200")
    return client


def test_who_leaves_an_export_gives_back_its_place(server: Server) -> None:
    clients = [ask(server) for _ in range(EXPORTS_AT_ONCE)]
    for client in clients:
        client.close()

    def exported() -> bool:
        try:
            return measure_export(server, HISTORY, "ndjson", limit=10).rows == 10
        except OSError:  # 429 as long as the server has not noticed
            return False

    wait_until(exported, 60, "places are free again", poll_s=0.2)
