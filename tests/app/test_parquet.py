"""Parquet files of any columns open with the types that their values have."""

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pyarrow import parquet

from app.parquet import ROWS_PER_GROUP, make_parquet
from core.errors import QueryError

MOMENT = datetime(2026, 11, 23, 22, 53, 0, 123456, tzinfo=UTC)


def _read(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    return parquet.read_table(io.BytesIO(b"".join(make_parquet(columns, rows))))


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, None, 2], "int64", None),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([True, None], "bool", None),
        ([MOMENT, None], "timestamp[us, tz=UTC]", None),
        (["2026-11-23 22:53:00.123456", None], "timestamp[us, tz=UTC]", [MOMENT, None]),
        (["2026-11-23 22:53", None], "string", None),
        ([date(2026, 11, 23)], "date32[day]", None),
        ([b"x"], "binary", None),
        ([None, None], "string", None),
        ([1, "a"], "string", ["1", "a"]),
        ([2**70], "double", [float(2**70)]),
        ([[1, 2]], "string", ["[1, 2]"]),
    ],
)
def test_types_follow_the_values(values: list[Any], kind: str, read: list[Any] | None) -> None:
    table = _read(["a"], [[value] for value in values])
    assert str(table.schema.field("a").type) == kind
    assert table["a"].to_pylist() == (values if read is None else read)


def test_a_known_name_with_other_values_is_typed_by_these() -> None:
    table = _read(["camera", "track_id"], [(1, "none")])
    assert [str(field.type) for field in table.schema] == ["int64", "string"]


def test_a_later_value_of_another_type_is_told() -> None:
    rows = [[1]] * ROWS_PER_GROUP + [["one"]]
    with pytest.raises(QueryError, match="parquet: a: expected int64, as in the first 50000 rows"):
        _read(["a"], rows)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(QueryError, match="got 'a' twice; use AS"):
        _read(["a", "a"], [(1, 2)])
