import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pyarrow import parquet

from app.exports import Format, choose_format, json_value, make_file, write_rows
from core.errors import QueryError
from storage.queries import HISTORY_COLUMNS

MOMENT = datetime(2026, 11, 23, 8, 30, 0, 250000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("chosen", "output", "expected"),
    [
        (None, None, Format.TABLE),
        (None, Path("a.csv"), Format.CSV),
        (None, Path("a.JSON"), Format.JSON),
        (None, Path("a.parquet"), Format.PARQUET),
        (Format.CSV, Path("a.txt"), Format.CSV),
        (Format.PARQUET, None, Format.PARQUET),
    ],
)
def test_the_format_follows_the_option_or_the_name_of_the_file(
    chosen: Format | None, output: Path | None, expected: Format
) -> None:
    assert choose_format(chosen, output) is expected


@pytest.mark.parametrize(("chosen", "output"), [(None, Path("a.txt")), (Format.TABLE, Path("a.csv"))])
def test_a_file_needs_a_format_of_files(chosen: Format | None, output: Path) -> None:
    with pytest.raises(QueryError, match="-o a"):
        choose_format(chosen, output)


def test_csv_quotes_and_writes_times_with_their_zone(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    assert write_rows(Format.CSV, ["name", "at"], [('a,"b"', MOMENT), (None, MOMENT)], file) == 2
    assert (
        file.read_text() == 'name,at\n"a,""b""",2026-11-23T08:30:00.250000Z\n,2026-11-23T08:30:00.250000Z\n'
    )


@pytest.mark.parametrize("rows", [[], [("a", MOMENT)], [("a", MOMENT), ("ö", None)]])
def test_json_is_one_array_of_objects(tmp_path: Path, rows: list[tuple[object, ...]]) -> None:
    file = tmp_path / "rows.json"
    write_rows(Format.JSON, ["name", "at"], rows, file)
    read = json.loads(file.read_text())
    assert [row["name"] for row in read] == [row[0] for row in rows]
    assert all(row["at"] in ("2026-11-23T08:30:00.250000Z", None) for row in read)


def test_ndjson_is_an_object_per_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    assert write_rows(Format.NDJSON, ["name", "at"], [("a\nb", MOMENT), ("ö", None)], file) == 2
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows == [{"name": "a\nb", "at": "2026-11-23T08:30:00.250000Z"}, {"name": "ö", "at": None}]
    assert write_rows(Format.NDJSON, ["name"], [], file) == 0
    assert file.read_text() == ""


@pytest.mark.parametrize("format", [Format.JSON, Format.NDJSON, Format.PARQUET])
@pytest.mark.parametrize("rows", [[], [(1, 2)]])
def test_two_columns_of_one_name_are_refused_and_write_no_file(
    tmp_path: Path, format: Format, rows: list[tuple[int, int]]
) -> None:
    with pytest.raises(QueryError, match="expected columns of different names, got 'n' twice; use AS"):
        write_rows(format, ["n", "n"], rows, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", [Format.JSON, Format.NDJSON])
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, Decimal("NaN")])
def test_a_number_that_json_does_not_have_is_null(format: Format, number: float | Decimal) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    made = b"".join(make_file(format, ["n", "m"], [(number, Decimal("1.5"))]))
    read = json.loads(made, parse_constant=refuse)
    assert (read[0] if format is Format.JSON else read) == {"n": None, "m": 1.5}


@pytest.mark.parametrize("format", [Format.CSV, Format.JSON, Format.NDJSON, Format.PARQUET])
def test_a_large_file_comes_in_pieces_that_make_up_the_whole(format: Format) -> None:
    row = ("gate", MOMENT, "car", 0.5, 1.0, 2.0, 3.0, 4.0, 12.0, 768, 576, 7, "thin", None, None)
    count = 120_000 if format is Format.PARQUET else 5_000
    taken = 0

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal taken
        for taken in range(count):  # noqa: B007
            yield row

    pieces = make_file(format, HISTORY_COLUMNS, rows())
    first = next(pieces)
    assert taken < count - 1, "the first piece comes before the last row"
    whole = io.BytesIO(b"".join([first, *pieces]))
    if format is Format.PARQUET:
        assert parquet.read_table(whole).num_rows == count
    elif format is Format.JSON:
        assert len(json.load(whole)) == count
    else:
        assert len(whole.getvalue().splitlines()) == count + (format is Format.CSV)


def test_json_has_a_form_for_what_sql_returns() -> None:
    values = [Decimal("1.5"), b"\x01\xff", date(2026, 11, 23), datetime(2026, 1, 2)]  # noqa: DTZ001
    assert [json_value(value) for value in values] == [1.5, "01ff", "2026-11-23", "2026-01-02T00:00:00"]


@pytest.mark.parametrize("count", [0, 3])
def test_parquet_keeps_types_also_without_rows(tmp_path: Path, count: int) -> None:
    row = ("gate", MOMENT, "car", 0.5, 1.0, 2.0, 3.0, 4.0, 12.0, 768, 576, 7, "thin", None, None)
    file = tmp_path / "rows.parquet"
    assert write_rows(Format.PARQUET, HISTORY_COLUMNS, [row] * count, file) == count
    table = parquet.read_table(file)
    assert table.num_rows == count
    assert str(table.schema.field("captured_at").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("latency_ms").type) == "double"
    assert str(table.schema.field("track_id").type) == "int64"
    if count:
        assert table.to_pylist()[0] == dict(zip(HISTORY_COLUMNS, row, strict=True))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaking() -> object:
        yield ("a",)
        raise QueryError("lost")

    file = tmp_path / "rows.csv"
    file.write_text("before")
    with pytest.raises(QueryError, match="lost"):
        write_rows(Format.CSV, ["name"], breaking(), file)  # type: ignore[arg-type]
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="expected a file that can be written"):
        write_rows(Format.CSV, ["name"], [], tmp_path / "nowhere" / "rows.csv")
