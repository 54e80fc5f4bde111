"""Which tables of a database the migrations are about."""

import re
from collections.abc import MutableMapping
from typing import Any

from storage.tables import PARTITIONED, Row

_PARTITION = re.compile(rf"({'|'.join(PARTITIONED)})_\d{{8}}")


def is_ours(name: str | None, kind: str, parents: MutableMapping[Any, str | None]) -> bool:
    """Alembic's include_name: leaves out daily partitions and tables of other programs."""
    del parents
    if kind != "table" or name is None:
        return True
    return name in Row.metadata.tables and _PARTITION.fullmatch(name) is None
