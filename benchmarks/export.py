"""What an export over HTTP costs the server: seconds, and memory beyond what it had before.

    python benchmarks/export.py [--rows 1000000] [--json]

A real `framewatch serve` answers `/api/detections?format=...` from SQLite and from PostgreSQL, both filled
with the same made-up history. A small export in each format comes first, so that what is loaded once is not
counted. Memory is the server's resident set, looked at while the answer comes in.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.history_fill import History, fill
from storage.database import open_database
from tests.app.api.conftest import Server, serving
from tests.postgres_server import PostgresServer

FORMATS = ("ndjson", "csv", "parquet")
LOOK_EVERY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ExportCost:
    """One export."""

    format: str
    rows: int
    """That the answer holds."""
    megabytes: float
    seconds: float
    grown_mb: float
    """Most memory of the server while it answered, beyond what it had before."""


def measure_export(server: Server, history: History, format: str, limit: int | None = None) -> ExportCost:
    """Takes an export in, counts its rows and watches the server's memory."""
    until = history.end.isoformat().replace("+00:00", "Z")
    since = history.start.isoformat().replace("+00:00", "Z")
    path = f"/api/detections?format={format}&since={since}&until={until}"
    path += f"&limit={limit}" if limit is not None else ""
    process = psutil.Process(server.process.pid)
    before = most = process.memory_info().rss
    started = time.monotonic()
    with tempfile.TemporaryFile() as taken, urlopen(server.url + path, timeout=600) as answer:
        while piece := answer.read(LOOK_EVERY_BYTES):
            taken.write(piece)
            most = max(most, process.memory_info().rss)
        seconds = time.monotonic() - started
        size = taken.tell()
        taken.seek(0)
        rows = count_rows(taken, format)
    return ExportCost(format, rows, size / 1e6, seconds, (most - before) / 1e6)


def count_rows(file: IO[bytes], format: str) -> int:
    """The rows of an export; a file that is not whole fails here or is short of them."""
    if format == "parquet":
        from pyarrow import parquet

        return int(parquet.ParquetFile(file).metadata.num_rows)
    lines = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    return lines - (format == "csv")


@contextmanager
def filled(url: str, history: History, folder: Path) -> Iterator[Server]:
    """`framewatch serve` on a database with that history."""
    database = open_database(url)
    database.upgrade()
    fill(database, history)
    database.close()
    variables = {"FRAMEWATCH_DATABASE_URL": url, "FRAMEWATCH_REDIS_URL": "redis://127.0.0.1:1"}
    with serving(folder, **variables) as server:
        for format in FORMATS:
            measure_export(server, history, format, limit=1000)
        yield server


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    given = parser.parse_args()
    history = History(rows=given.rows, days=10, cameras=10)
    costs: dict[str, list[ExportCost]] = {"SQLite": [], "PostgreSQL": []}
    if not given.json:
        print(f"{'database':<12}{'format':<9}{'rows':>9}{'MB':>8}{'s':>7}{'rows/s':>9}{'grown MB':>10}")
    with tempfile.TemporaryDirectory() as name, PostgresServer(Path(name) / "postgres") as postgres:
        folder = Path(name)
        for kind, url in (("SQLite", f"sqlite:///{folder}/export.db"), ("PostgreSQL", postgres.url)):
            with filled(url, history, folder) as server:
                for format in FORMATS:
                    costs[kind].append(cost := measure_export(server, history, format))
                    if not given.json:
                        print(f"{kind:<12}{describe(cost)}", flush=True)
    if given.json:
        print(json.dumps({kind: [asdict(cost) for cost in found] for kind, found in costs.items()}, indent=2))


def describe(cost: ExportCost) -> str:
    """A line of the table."""
    return (
        f"{cost.format:<9}{cost.rows:>9}{cost.megabytes:>8.1f}{cost.seconds:>7.1f}"
        f"{cost.rows / cost.seconds:>9.0f}{cost.grown_mb:>10.1f}"
    )


if __name__ == "__main__":
    main()
