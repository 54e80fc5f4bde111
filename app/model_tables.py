"""How `framewatch models` shows detectors and backbones to a person."""

from collections.abc import Sequence

from app.model_catalogue import BackboneRow, ModelRow
from app.tables import Column, build_table, show, terminal_width

_SIZE = (Column("M params", digits=1), Column("GFLOPs", digits=1), Column("canvas"))


def print_detectors(rows: Sequence[ModelRow]) -> None:
    """One line per detector."""
    columns = (
        Column("detector"),
        *_SIZE,
        Column("architecture", flexible=True),
        Column("classes", numeric=True),
        Column("licence", flexible=True, optional=True),
        Column("weights", flexible=True),
    )
    shown = [
        (
            row.name,
            _millions(row.parameters),
            row.gflops,
            row.canvas,
            row.architecture,
            row.classes,
            row.licence,
            row.available,
        )
        for row in rows
    ]
    show(build_table(columns, shown, width=terminal_width()))


def print_backbones(rows: Sequence[BackboneRow]) -> None:
    """One line per backbone."""
    columns = (
        Column("backbone"),
        *_SIZE,
        Column("feature channels", flexible=True),
        Column("strides", optional=True),
        Column("weights", flexible=True),
    )
    shown = [
        (
            row.name,
            _millions(row.parameters),
            row.gflops,
            row.canvas,
            ", ".join(map(str, row.channels)),
            ", ".join(map(str, row.strides)),
            row.source,
        )
        for row in rows
    ]
    show(build_table(columns, shown, width=terminal_width()))


def _millions(count: int | None) -> float | None:
    return None if count is None else count / 1e6
