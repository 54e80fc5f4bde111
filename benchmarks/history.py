"""What a large history costs: answers, inserts and retention while a writer goes on.

    python benchmarks/history.py [--rows 10000000] [--sqlite-rows 2000000] [--only sqlite] [--json]

PostgreSQL gets --rows detections over 30 days of 50 cameras, SQLite --sqlite-rows. Beside each stands one
of a tenth of the rows and of the days: as dense, so that the same question has as many rows in its answer.
PostgreSQL is the embedded one with its durability on; --database-url takes another server.

Measured while a writer in a process of its own stores 250 frames of 4 boxes per second (50 cameras at 5 fps)
in batches of 8: the question "class X on camera Y within an hour", through the product's own query and as SQL
on the view `detection_history`; counts per class and hour over all days; retention of one day, and what the
writer notices of it. Then the writer goes as fast as it can beside the questions. Last, alone, it takes turns
with the bare driver's COPY of the same rows, 1000 boxes per transaction.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, make_url
from sqlalchemy.dialects import postgresql

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.history_fill import BOXES, CLASSES, WEIGHTS, History, fill  # noqa: E402
from core.types import Detections, FrameResult  # noqa: E402
from storage.database import Database, open_database  # noqa: E402
from storage.identities import camera_ids, model_id  # noqa: E402
from storage.queries import DetectionFilter, count_detections, find_detections  # noqa: E402
from storage.retention import prepare_days, prune  # noqa: E402
from storage.retention_policy import RetentionPolicy, RetentionRule  # noqa: E402
from storage.rows import detection_columns, frame_row  # noqa: E402
from storage.tables import detections, frames  # noqa: E402
from storage.writer import Writer  # noqa: E402
from tests.postgres_server import PostgresServer  # noqa: E402

DAYS, CAMERAS = 30, 50
FRAMES_PER_BATCH, FRAMES_PER_S = 8, 250.0
QUESTIONS = 400
PRUNED_DAYS = 5
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SERVER = {"fsync": "on", "shared_buffers": "1GB", "max_wal_size": "4GB", "autovacuum_naptime": "30s"}
VIEW_SQL = """
SELECT captured_at, score, x, y, width, height FROM detection_history
WHERE camera = %s AND class_name = %s AND captured_at >= %s AND captured_at < %s ORDER BY captured_at
"""


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95)) if values else float("nan")


def make_batch(cameras: Sequence[str], index: int, count: int, boxes: int = BOXES) -> list[FrameResult]:
    """Results as a worker has them, captured now."""
    now = datetime.now(UTC)
    found = Detections(
        np.array([[10.0 * n, 20.0, 10.0 * n + 50, 120.0] for n in range(boxes)], np.float32),
        np.linspace(0.9, 0.4, boxes, dtype=np.float32),
        np.arange(boxes, dtype=np.int64) % len(CLASSES),
        CLASSES,
    )
    return [
        FrameResult(
            camera=cameras[(index + n) % len(cameras)],
            index=index + n,
            captured_at=now,
            source_size=(1920, 1080),
            detections=found,
            model=WEIGHTS.name,
            enqueued_at=now,
            claimed_at=now,
            inferred_at=now,
        )
        for n in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Written:
    """One batch of the writer beside."""

    at: float
    """time.monotonic() when it began; the same clock in all processes."""
    ms: float


def write_on(url: str, frames_per_s: float | None, begun: Event, stop: Event, results: Any) -> None:
    """The writer beside: at a pace, or as fast as it can."""
    database = open_database(url)
    writer, done, index = Writer(database), [], 0
    names = History(1, 1, CAMERAS).names
    due = time.monotonic()
    while not stop.is_set():
        batch = make_batch(names, index, FRAMES_PER_BATCH)
        started = time.monotonic()
        writer.write(batch, WEIGHTS)
        begun.set()  # the first batch made its cameras
        done.append(Written(started, (time.monotonic() - started) * 1000))
        index += FRAMES_PER_BATCH
        if frames_per_s:
            due = max(due + FRAMES_PER_BATCH / frames_per_s, started - 1.0)
            stop.wait(max(0.0, due - time.monotonic()))
    results.send(done)
    database.close()


@contextlib.contextmanager
def writing(url: str, frames_per_s: float | None = FRAMES_PER_S) -> Iterator[list[Written]]:
    """Fills the list when the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    begun, stop, done = context.Event(), context.Event(), list[Written]()
    process = context.Process(target=write_on, args=(url, frames_per_s, begun, stop, theirs))
    process.start()
    if not begun.wait(120):
        raise SystemExit("the writer beside did not begin within two minutes")
    try:
        yield done
    finally:
        stop.set()
        done.extend(ours.recv())
        process.join()


def timed(ask: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    ask(*arguments)
    return (time.perf_counter() - started) * 1000


def questions(history: History, count: int) -> Iterator[DetectionFilter]:
    """Class X on camera Y within an hour, at random; the six common classes."""
    chosen = random.Random(7)
    for _ in range(count):
        since = history.start + chosen.randrange(history.days * 24 - 1) * HOUR + timedelta(minutes=11)
        yield DetectionFilter(
            cameras=(chosen.choice(history.names),),
            classes=(chosen.choice(CLASSES[:5]),),
            since=since,
            until=since + HOUR,
        )


def ask_hours(database: Database, history: History, count: int) -> list[float]:
    def ask(wanted: DetectionFilter) -> None:
        list(find_detections(database, wanted))

    return [timed(ask, wanted) for wanted in questions(history, count)]


def ask_view(url: str, history: History, count: int) -> list[float]:
    """The same on the view, as any SQL client asks it (PostgreSQL)."""
    address = url.replace("postgresql+psycopg://", "postgresql://")
    asked = [(w.cameras[0], w.classes[0], w.since, w.until) for w in questions(history, count)]
    with psycopg.connect(address, autocommit=True) as connection:

        def ask(values: tuple[Any, ...]) -> None:
            connection.execute(VIEW_SQL, values).fetchall()

        return [timed(ask, values) for values in asked]


def ask_counts(database: Database, history: History, count: int = 15) -> list[float]:
    """Counts per class and hour over the whole history; it begins and ends within an hour."""
    wanted = DetectionFilter(
        since=history.start + timedelta(minutes=7), until=history.end - timedelta(minutes=11)
    )
    return [timed(count_detections, database, ("class",), HOUR, wanted) for _ in range(count)]


def answers(database: Database, url: str, history: History, count: int) -> dict[str, float]:
    """Latencies in ms while a writer goes on."""
    ask_hours(database, history, 50)  # the caches of a server that has been asked before
    ask_counts(database, history, 2)
    with writing(url) as written:
        hour = ask_hours(database, history, count)
        view = ask_view(url, history, count) if database.dialect == "postgresql" else []
        counts = ask_counts(database, history)
    found = {
        "hour_p50_ms": statistics.median(hour),
        "hour_p95_ms": p95(hour),
        "counts_median_ms": statistics.median(counts),
        "counts_p95_ms": p95(counts),
        "writer_batch_p95_ms": p95([batch.ms for batch in written]),
    }
    return found | ({"hour_view_p95_ms": p95(view)} if view else {})


def retention(database: Database, url: str, history: History) -> dict[str, float]:
    """One day after another, oldest first, while a writer goes on."""
    now, took, spans = datetime.now(UTC), [], []
    with writing(url) as written:
        quiet = time.monotonic()
        time.sleep(8.0)
        for day in range(PRUNED_DAYS):
            keep = now - (history.start + (day + 1) * DAY)
            policy = RetentionPolicy((RetentionRule(keep),))
            started = time.monotonic()
            report = prune(database, policy, now)
            spans.append((started, time.monotonic()))
            took.append((spans[-1][1] - started) * 1000)
            if not report.detections:
                raise SystemExit(f"retention removed nothing: {report}")
            time.sleep(1.0)
        busy = time.monotonic()
    before = [batch.ms for batch in written if quiet <= batch.at < spans[0][0]]
    during = [batch.ms for batch in written if spans[0][0] <= batch.at < busy]
    overlapping = [
        batch.ms for batch in written for a, b in spans if batch.at < b and batch.at + batch.ms / 1000 > a
    ]
    return {
        "retention_median_ms": statistics.median(took),
        "retention_worst_ms": max(took),
        "writer_p95_before_ms": p95(before),
        "writer_p95_during_ms": p95(during),
        "writer_worst_overlapping_ms": max(overlapping, default=0.0),
    }


def insert_beside(database: Database, url: str, history: History) -> dict[str, float]:
    """The writer as fast as it can, beside questions one after another."""
    with writing(url, None) as written:
        started = time.monotonic()
        hour = ask_hours(database, history, QUESTIONS)
        ended = time.monotonic()
    batches = sum(started <= batch.at < ended for batch in written)
    return {
        "insert_rows_per_s_beside": batches * FRAMES_PER_BATCH * BOXES / (ended - started),
        "hour_p95_beside_full_speed_ms": p95(hour),
    }


def copy_ratio(database: Database, url: str, rounds: int = 7, transactions: int = 20) -> dict[str, float]:
    """Boxes per second of the writer, and of the bare driver's COPY of the same frames and boxes."""
    prepare_days(database)
    writer, names = Writer(database), [f"copied-{number}" for number in range(CAMERAS)]
    with database.writing() as connection:
        ids, model = camera_ids(connection, names), model_id(connection, WEIGHTS)
    address = url.replace("postgresql+psycopg://", "postgresql://")
    mine, bare, index = [], [], 0
    with psycopg.connect(address) as driver:

        def copy(batches: list[tuple[list[Any], list[Any]]]) -> None:
            for of_frames, of_boxes in batches:
                _copy(driver, of_frames, of_boxes)

        def write(batches: list[list[FrameResult]]) -> None:
            for batch in batches:
                writer.write(batch, WEIGHTS)

        for _ in range(rounds + 1):
            made = [make_batch(names, index + 200 * n, 200, boxes=5) for n in range(2 * transactions)]
            index += 400 * transactions
            mine.append(timed(write, made[:transactions]))
            bare.append(timed(copy, [_rows(batch, ids, model) for batch in made[transactions:]]))
    boxes = transactions * 1000
    ratios = [b / m for m, b in zip(mine[1:], bare[1:], strict=True)]
    return {
        "writer_rows_per_s": boxes / statistics.median(mine[1:]) * 1000,
        "bare_copy_rows_per_s": boxes / statistics.median(bare[1:]) * 1000,
        "writer_over_copy": statistics.median(ratios),
    }


def _rows(batch: Sequence[FrameResult], ids: dict[str, int], model: int) -> tuple[list[Any], list[Any]]:
    """Tuples ready for COPY: the bare side pays neither for checks nor for rounding."""
    now = datetime.now(UTC)
    of_frames = [tuple(frame_row(r, ids[r.camera], model, now).values()) for r in batch]
    keyed = {(ids[r.camera], r.captured_at, r.index): r for r in batch}
    columns = detection_columns(keyed, model, lambda moment: moment).values()
    of_boxes = list(zip(*(column.tolist() for column in columns), itertools.repeat(None)))
    return of_frames, of_boxes


def _copy(connection: psycopg.Connection[Any], of_frames: list[Any], of_boxes: list[Any]) -> None:
    for table, rows in ((frames, of_frames), (detections, of_boxes)):
        types = [column.type.compile(postgresql.dialect()).lower() for column in table.columns]
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table.name} FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
    connection.commit()


@contextlib.contextmanager
def filled(url: str, history: History) -> Iterator[Database]:
    database = open_database(url)
    database.upgrade()
    started = time.monotonic()
    say(f"{database.dialect}: {history.rows} detections over {history.days} days")
    fill(database, history)
    say(f"filled in {time.monotonic() - started:.0f} s")
    yield database
    database.close()


@contextlib.contextmanager
def postgres_url(given: str | None) -> Iterator[Callable[[str], str]]:
    """URLs of new databases by name, on the embedded server or on the given one."""
    with contextlib.ExitStack() as stack:
        if given is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            given = stack.enter_context(PostgresServer(Path(folder) / "postgres", SERVER)).url
        admin = create_engine(given, isolation_level="AUTOCOMMIT")

        def make(name: str) -> str:
            with admin.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            return make_url(str(given)).set(database=name).render_as_string(hide_password=False)

        yield make
        admin.dispose()


def histories(rows: int) -> tuple[History, History]:
    """A small one and the whole one, as dense, both ending with yesterday."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return History(rows // 10, DAYS // 10, CAMERAS, end), History(rows, DAYS, CAMERAS, end)


def measure(url_of: Callable[[str], str], rows: int, count: int) -> dict[str, float]:
    small, whole = histories(rows)
    with filled(url_of("history_small"), small) as database:
        url = database.url.render_as_string(hide_password=False)
        of_small = answers(database, url, small, count)
    found: dict[str, float] = {"rows": rows, "rows_small": small.rows}
    found |= {f"small_{name}": value for name, value in of_small.items()}
    with filled(url_of("history_whole"), whole) as database:
        url = database.url.render_as_string(hide_password=False)
        found |= answers(database, url, whole, count)
        found["hour_p95_over_small"] = found["hour_p95_ms"] / of_small["hour_p95_ms"]
        say("inserting beside questions")
        found |= insert_beside(database, url, whole)
        say("retention")
        found |= retention(database, url, whole)
        if database.dialect == "postgresql":
            say("the writer and the bare driver by turns")
            found |= copy_ratio(database, url)
        found["megabytes"] = database.info().size_bytes / 1e6
    return found


AIMS = {
    "hour_p95_ms": ("<=", 10.0),
    "hour_view_p95_ms": ("<=", 10.0),
    "hour_p95_over_small": ("<=", 1.5),
    "counts_p95_ms": ("<=", 200.0),
    "retention_worst_ms": ("<=", 100.0),
    "writer_over_copy": (">=", 0.5),
}
ONLY_POSTGRES = ("retention_worst_ms",)


def verdict(name: str, value: float, dialect: str) -> str:
    if name not in AIMS or (name in ONLY_POSTGRES and dialect != "postgresql"):
        return ""
    sign, aim = AIMS[name]
    kept = value <= aim if sign == "<=" else value >= aim
    return f"{sign} {aim:g} {'ok' if kept else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="detections on PostgreSQL")
    parser.add_argument("--sqlite-rows", type=int, default=2_000_000, help="detections on SQLite")
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--only", choices=("postgresql", "sqlite"))
    parser.add_argument("--database-url", help="an administrator's URL of another PostgreSQL server")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    if options.only != "sqlite":
        with postgres_url(options.database_url) as make:
            found["postgresql"] = measure(make, options.rows, options.questions)
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            found["sqlite"] = measure(
                lambda name: f"sqlite:///{folder}/{name}.db", options.sqlite_rows, options.questions
            )
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for dialect, values in found.items():
        table = Table(dialect, "measured", "aim")
        for name, value in values.items():
            table.add_row(name, f"{value:,.2f}".rstrip("0").rstrip("."), verdict(name, value, dialect))
        Console().print(table)


if __name__ == "__main__":
    main()
