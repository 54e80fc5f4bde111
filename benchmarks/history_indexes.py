"""Which indexes of `detections` are worth their price on PostgreSQL: questions, inserts, size by index set.

    python benchmarks/history_indexes.py [--rows 1000000] [--json]

Every set is laid on the same history of 3 days and 50 cameras beside the primary key (camera_id, captured_at,
frame_index, model_id, ordinal). Questions are the product's own, one client, medians in ms; inserts are the
writer's batches of 1000 boxes; time is wall clock on an otherwise quiet machine.
"""

import argparse
import json
import random
import statistics
import sys
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.history import make_batch, postgres_url, say, timed  # noqa: E402
from benchmarks.history_fill import CLASSES, WEIGHTS, History, fill  # noqa: E402
from storage.database import Database, open_database  # noqa: E402
from storage.queries import DetectionFilter, find_detections  # noqa: E402
from storage.writer import Writer  # noqa: E402

BY_CLASS = "(camera_id, class_id, captured_at)"
SETS = {
    "none": (),
    "camera+class+time": (BY_CLASS,),
    "time": ("(captured_at)",),
    "camera+class+time, time (chosen)": (BY_CLASS, "(captured_at)"),
    "camera+class+time, BRIN time": (BY_CLASS, "USING brin (captured_at)"),
    "camera+class+time, time, class+time": (BY_CLASS, "(captured_at)", "(class_id, captured_at)"),
}
HOUR = timedelta(hours=1)


def lay(database: Database, indexes: tuple[str, ...]) -> None:
    """Exactly these indexes beside the primary key."""
    with database.writing() as connection:
        names = connection.exec_driver_sql(
            "SELECT i.indexrelid::regclass::text FROM pg_index i"
            " WHERE i.indrelid = 'detections'::regclass AND NOT i.indisprimary"
        ).scalars()
        for name in names.all():
            connection.exec_driver_sql(f"DROP INDEX {name}")
        for index in indexes:
            connection.exec_driver_sql(f"CREATE INDEX ON detections {index}")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE) detections")


def questions(history: History, count: int) -> dict[str, list[DetectionFilter]]:
    """The kinds of questions that commands, API and dashboard ask."""
    chosen = random.Random(3)
    hours = [history.start + chosen.randrange(history.days * 24 - 1) * HOUR for _ in range(count)]
    cameras = [chosen.choice(history.names) for _ in range(count)]
    classes = [chosen.choice(CLASSES[:5]) for _ in range(count)]
    triples = list(zip(hours, cameras, classes, strict=True))
    return {
        "class, camera, hour": [
            DetectionFilter(cameras=(camera,), classes=(name,), since=since, until=since + HOUR)
            for since, camera, name in triples
        ],
        "newest 100": [DetectionFilter(limit=100)] * count,
        "newest 100 of a class": [DetectionFilter(classes=(name,), limit=100) for name in classes],
        "newest 100 of a camera": [DetectionFilter(cameras=(name,), limit=100) for name in cameras],
        "rare class on a camera": [
            DetectionFilter(cameras=(c,), classes=("bus",), limit=100) for c in cameras
        ],
        "all cameras, one minute": [
            DetectionFilter(since=since, until=since + timedelta(minutes=1)) for since in hours
        ],
    }


def measure(database: Database, history: History, count: int) -> dict[str, float]:
    def ask(wanted: DetectionFilter) -> None:
        list(find_detections(database, wanted))

    found = {
        f"{kind} [ms]": statistics.median(timed(ask, wanted) for wanted in asked)
        for kind, asked in questions(history, count).items()
    }
    writer, names = Writer(database), history.names
    batches = [make_batch(names, 200 * n, 200, boxes=5) for n in range(count)]
    writer.write(make_batch(names, -1000, 8), WEIGHTS)
    took = [timed(writer.write, batch, WEIGHTS) for batch in batches]
    with database.reading() as connection:
        size = connection.exec_driver_sql(
            "SELECT sum(pg_indexes_size(relid)) FROM pg_partition_tree('detections')"
        ).scalar()
    return found | {
        "boxes stored per s": 1000 / statistics.median(took) * 1000,
        "indexes [MB]": float(size or 0) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--database-url", help="an administrator's URL of another PostgreSQL server")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    history = History(options.rows, 3)
    found: dict[str, dict[str, float]] = {}
    with postgres_url(options.database_url) as make:
        for number, (name, indexes) in enumerate(SETS.items()):
            say(name)
            database = open_database(make(f"history_indexes_{number}"))
            database.upgrade()
            fill(database, history)
            lay(database, indexes)
            found[name] = measure(database, history, options.questions)
            database.close()
    if options.json:
        print(json.dumps(found, indent=2))
        return
    table = Table("indexes beside the key", *next(iter(found.values())))
    for name, values in found.items():
        table.add_row(name, *(f"{value:,.1f}" for value in values.values()))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
