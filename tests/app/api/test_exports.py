"""Large exports of a real server: memory does not grow with rows, and who leaves gives back a place."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.api.streaming import EXPORTS_AT_ONCE
from app.exports import Format, make_file
from app.parquet import BATCH_ROWS, ROWS_PER_GROUP
from benchmarks.export import filled, measure_export
from benchmarks.history_fill import History
from storage.queries import HISTORY_COLUMNS
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


@pytest.mark.parametrize("format", ["ndjson", "csv"])
def test_a_large_export_streams_in_bounded_memory(server: Server, format: str) -> None:
    cost = measure_export(server, HISTORY, format)
    assert cost.rows == HISTORY.rows
    assert cost.grown_mb < MOST_GROWTH_MB


def test_a_large_parquet_export_is_whole(server: Server) -> None:
    """Its memory is measured below: what PyArrow's allocator keeps for each thread hides it here."""
    assert measure_export(server, HISTORY, "parquet").rows == HISTORY.rows


class Row(tuple[Any, ...]):
    """A row that is counted while it lives."""

    alive = 0

    def __new__(cls, values: tuple[Any, ...]) -> "Row":
        cls.alive += 1
        return super().__new__(cls, values)

    def __del__(self) -> None:
        Row.alive -= 1


def test_parquet_holds_a_batch_of_rows_and_a_group_of_columns() -> None:
    from pyarrow import default_memory_pool

    count, most_alive, most_bytes = 120_000, 0, 0
    pool = default_memory_pool()
    before = pool.bytes_allocated()

    def rows() -> Iterator[Row]:
        nonlocal most_alive, most_bytes
        for number in range(count):
            numbers = (0.5, 1.0, 2.0, 30.0, 40.0, 1200.0, 1280, 720, number)
            yield Row(("gate", datetime.now(UTC), "person", *numbers, "street", None, 12.5))
            most_alive, most_bytes = max(most_alive, Row.alive), max(most_bytes, pool.bytes_allocated())

    size = sum(len(piece) for piece in make_file(Format.PARQUET, HISTORY_COLUMNS, rows()))
    assert size > 100_000
    assert most_alive <= 3 * BATCH_ROWS
    assert most_bytes - before < 400 * ROWS_PER_GROUP


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
