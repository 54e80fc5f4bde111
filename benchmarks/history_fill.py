"""Fills a history with made-up detections, on the database's side: 10 million take about two minutes.

Every camera has the same number of frames a day, spread evenly, with four boxes each. Rows lie in the order
of time, as writers leave them. Used by benchmarks/history.py and by tests that look at query plans.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from core.types import WeightsInfo
from storage.database import Database
from storage.identities import camera_ids, model_id
from storage.postgres import partition_name
from storage.retention import prepare_days
from storage.rollup import recount
from storage.tables import PARTITIONED, detections, frames

CLASSES = ("person", "car", "bicycle", "truck", "bus", "motorcycle", "dog", "cat")
WEIGHTS = WeightsInfo("made-up", "0" * 64, CLASSES)
BOXES = 4
"""Per frame."""
# Half of all boxes are people, a quarter cars, and so on; the last class takes what is left.
_CLASS = "CASE {} " + "".join(
    f"WHEN {slot} THEN {number} " for slot, number in enumerate((0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4))
)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class History:
    """What `fill` makes."""

    rows: int
    days: int
    cameras: int = 50
    end: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    """Midnight (UTC) after its last day."""

    @property
    def start(self) -> datetime:
        """Midnight before its first day."""
        return self.end - timedelta(days=self.days)

    @property
    def names(self) -> list[str]:
        """The cameras."""
        return [f"camera-{number:02}" for number in range(self.cameras)]

    @property
    def frames_per_day(self) -> int:
        """Of one camera."""
        return max(1, self.rows // (self.days * self.cameras * BOXES))


def fill(database: Database, history: History, said: Callable[[str], None] = lambda _: None) -> None:
    """Adds the history to an upgraded database, with hourly counts and the planner's statistics.

    All of it is on disk afterwards, as a history of a month is: nothing is left to be written meanwhile.
    """
    with database.writing() as connection:
        first = min(camera_ids(connection, history.names).values())
        model = model_id(connection, WEIGHTS)
    numbers = _Numbers(first, model, history)
    add = _add_on_postgres if database.dialect == "postgresql" else _add_on_sqlite
    add(database, numbers, said)
    said("counting")
    recount(database)
    said("analysing")
    settle = {
        "postgresql": ("VACUUM (ANALYZE)", "CHECKPOINT"),
        "sqlite": ("PRAGMA wal_checkpoint(TRUNCATE)",),
    }
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in settle[database.dialect]:
            connection.exec_driver_sql(statement)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Constants of the statements below."""

    first_camera: int
    model: int
    history: History

    def text(self, day: int) -> dict[str, int]:
        """A day's constants, for str.format."""
        each = self.history.frames_per_day
        return {
            "first": self.first_camera,
            "model": self.model,
            "cameras": self.history.cameras,
            "boxes": BOXES,
            "each": each,
            "before": day * each,
            "frames": each * self.history.cameras,
            "step_us": _DAY_S * 1_000_000 // each,
        }


# n counts the frames of a day in the order of time, all cameras by turns; b its boxes.
_FRAME = "SELECT {first} + n % {cameras} AS camera, n / {cameras} AS k, {box} AS ordinal, {since} AS us, n"
_US = "(n / {cameras}) * {step_us} + (n % {cameras}) * {step_us} / {cameras}"
_BOX_VALUES = (
    "camera, {at}, k + {before}, {model}, ordinal, {number}, 0.3 + (n * 7 + ordinal) % 70 / 100.0,"
    " (n * 13) % 1700, (n * 17) % 900, 20 + n % 200, 20 + n % 160, (20 + n % 200) * (20 + n % 160), NULL"
)
_FRAME_VALUES = (
    "camera, {at}, k + {before}, {model}, 1920, 1080, {boxes}, {no}, {at5}, {at10}, {at40}, {stored}"
)


def _add_on_postgres(database: Database, numbers: _Numbers, said: Callable[[str], None]) -> None:
    """Each day's partitions are filled before they are attached, which makes their indexes in one go."""
    for day in range(numbers.history.days):
        said(f"day {day + 1} of {numbers.history.days}")
        midnight = numbers.history.start + timedelta(days=day)
        values = numbers.text(day)
        moment = f"TIMESTAMPTZ '{midnight.isoformat()}' + us * INTERVAL '1 microsecond'"
        series = "generate_series(CAST(0 AS bigint), {frames} - 1) n"
        rows = f"({_FRAME} FROM {series}{{more}}) f"
        with database.writing() as connection:
            for table in PARTITIONED:
                name = partition_name(table, midnight.date())
                connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS)")
            boxes = rows.format(
                **values, box="b", since=_US.format(**values), more=f", generate_series(0, {BOXES - 1}) b"
            )
            number = _CLASS.format("(n * 31 + ordinal * 7 + n / 50) % 20") + "ELSE 5 + n % 3 END"
            chosen = _BOX_VALUES.format(**values, at=moment, number=number)
            name = partition_name("detections", midnight.date())
            connection.exec_driver_sql(f"INSERT INTO {name} SELECT {chosen} FROM {boxes}".replace("%", "%%"))
            plain = rows.format(**values, box="0", since=_US.format(**values), more="")
            later = {f"at{ms}": f"{moment} + INTERVAL '{ms} milliseconds'" for ms in (5, 10, 40)}
            stored = f"{moment} + (50 + n % 60) * INTERVAL '1 millisecond'"
            chosen = _FRAME_VALUES.format(**values, at=moment, no="false", stored=stored, **later)
            name = partition_name("frames", midnight.date())
            connection.exec_driver_sql(f"INSERT INTO {name} SELECT {chosen} FROM {plain}".replace("%", "%%"))
            for table in PARTITIONED:
                _attach(connection, table, midnight)
    prepare_days(database)


def _attach(connection: Connection, table: str, midnight: datetime) -> None:
    until = midnight + timedelta(days=1)
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ATTACH PARTITION {partition_name(table, midnight.date())}"
        f" FOR VALUES FROM ('{midnight.isoformat()}') TO ('{until.isoformat()}')"
    )


def _add_on_sqlite(database: Database, numbers: _Numbers, said: Callable[[str], None]) -> None:
    said(f"{numbers.history.rows} rows into SQLite")
    indexes = [*detections.indexes, *frames.indexes]
    with database.writing() as connection:
        for index in indexes:
            index.drop(connection)
        for day in range(numbers.history.days):
            _add_day_on_sqlite(connection, numbers, day)
        for index in indexes:
            index.create(connection)


def _add_day_on_sqlite(connection: Connection, numbers: _Numbers, day: int) -> None:
    values = numbers.text(day)
    midnight = numbers.history.start + timedelta(days=day)

    def stamp(us: str) -> str:
        return (
            f"strftime('%Y-%m-%d %H:%M:%S', {int(midnight.timestamp())} + ({us}) / 1000000, 'unixepoch')"
            f" || printf('.%06d', ({us}) % 1000000)"
        )

    counted = f"SELECT 0 UNION ALL SELECT n + 1 FROM t WHERE n + 1 < {values['frames']}"
    series = f"(WITH RECURSIVE t(n) AS ({counted}) SELECT n FROM t)"
    ordinals = " UNION ALL ".join(f"SELECT {box} AS b" for box in range(BOXES))
    frame = _FRAME.format(**values, box="b", since=_US.format(**values))
    number = _CLASS.format("(n * 31 + ordinal * 7 + n / 50) % 20") + "ELSE 5 + n % 3 END"
    chosen = _BOX_VALUES.format(**values, at=stamp("us"), number=number)
    connection.exec_driver_sql(
        f"INSERT INTO detections SELECT {chosen} FROM ({frame} FROM {series}, ({ordinals}))"
    )
    frame = _FRAME.format(**values, box="0", since=_US.format(**values))
    later = {f"at{ms}": stamp(f"us + {ms} * 1000") for ms in (5, 10, 40)}
    stored = stamp("us + (50 + n % 60) * 1000")
    chosen = _FRAME_VALUES.format(**values, at=stamp("us"), no="0", stored=stored, **later)
    connection.exec_driver_sql(f"INSERT INTO frames SELECT {chosen} FROM ({frame} FROM {series})")
