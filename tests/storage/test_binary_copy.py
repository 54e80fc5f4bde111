"""Rows encoded for COPY come back as they were."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text, select

from storage.binary_copy import copy_column, encode_copy
from storage.columns import UtcDateTime
from storage.database import Database
from storage.postgres import copy_columns

KINDS = Table(
    "kinds",
    MetaData(),
    Column("small", Integer),
    Column("large", BigInteger),
    Column("real", Double),
    Column("flag", Boolean),
    Column("moment", UtcDateTime()),
    Column("words", Text),
)
MOMENTS = [
    datetime(2026, 11, 23, 22, 53, 0, 123456, tzinfo=UTC),
    datetime(1969, 7, 20, 20, 17, 40, 999999, tzinfo=UTC),
    datetime(2000, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]
VALUES = {
    "small": [0, -(2**31), 2**31 - 1],
    "large": [0, -(2**63), 2**63 - 1],
    "real": [0.1, -1e300, 5e-324],
    "flag": [True, False, True],
    "moment": MOMENTS,
}


def test_every_type_comes_back_and_other_columns_are_null(postgres: Database) -> None:
    with postgres.writing() as connection:
        KINDS.create(connection)
        copy_columns(connection, KINDS, {name: copy_column(values) for name, values in VALUES.items()})
    with postgres.reading() as connection:
        found = connection.execute(select(KINDS)).all()
    assert sorted(map(tuple, found)) == sorted(zip(*VALUES.values(), [None] * 3, strict=True))


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(TypeError, match="naive"):
        copy_column([datetime(2026, 11, 23)])  # noqa: DTZ001 - the fault itself


def test_a_type_without_an_encoding_is_named() -> None:
    with pytest.raises(KeyError, match="words"):
        encode_copy(KINDS, {"words": np.array(["a"])})
