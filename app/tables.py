"""Tables that people read: aligned, numbers to the right, whole when the output goes to a file or a pipe."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.times import format_moment

PIPE_WIDTH = 10_000
"""Characters: nothing is folded or cut where no terminal sets a width."""


COLUMN_GAP = 2
"""Characters between two columns of a framed table."""
LEAST_FLEXIBLE = 16


def stdout() -> Console:
    """A console on the present standard output; made anew since tests and pipes exchange it."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def stderr() -> Console:
    """A console on the present standard error, for hints and errors that no pipe should read."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_hint(text: str) -> None:
    """One line for a person on standard error, where no pipe reads it."""
    stderr().print(Text(text, style="dim"))


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is headed and its values shown."""

    name: str
    digits: int | None = None
    """Digits after the point of its numbers; None leaves them as they are."""
    numeric: bool = False
    """Right-justified; columns with `digits` are."""
    flexible: bool = False
    """Long text, folded where the terminal is narrow; other columns keep their width."""
    optional: bool = False
    """Left out where the terminal is too narrow for all, the last one first."""

    @property
    def right(self) -> bool:
        return self.numeric or self.digits is not None

    def format(self, value: Any) -> str:
        """A value as its cell reads."""
        if value is None:
            return "-"
        if isinstance(value, datetime):
            return format_moment(value)
        if self.digits is not None and isinstance(value, int | float):
            return f"{value:.{self.digits}f}"
        if isinstance(value, float):
            return str(round(value, 4))
        return str(value)


def infer_columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Column]:
    """Columns of unknown content: to the right where every value is a number."""
    values: list[list[Any]] = [[] for _ in names]
    for row in rows:
        for column, value in zip(values, row, strict=True):
            column.append(value)
    return [
        Column(name, numeric=numeric, flexible=not numeric)
        for name, column in zip(names, values, strict=True)
        for numeric in [all(value is None or isinstance(value, int | float) for value in column)]
    ]


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows on standard output."""
    show(build_table(columns, rows, width=terminal_width()))


def terminal_width() -> int | None:
    """Characters in a line of the terminal; None where standard output is none."""
    console = stdout()
    return console.width if console.is_terminal else None


def show(content: RenderableType) -> None:
    """Prints on standard output; without a terminal, lines carry no blanks at their end."""
    console = stdout()
    if console.is_terminal:
        console.print(content)
        return
    with console.capture() as captured:
        console.print(content)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def build_table(
    columns: Sequence[Column], rows: Iterable[Sequence[Any]], title: str | None = None, *, width: int | None
) -> RenderableType:
    """Rows as a table that fits a terminal of that width, else one below the other.

    `width` None: no terminal; no frame, and nothing left out.
    """
    cells = [[column.format(value) for column, value in zip(columns, row, strict=True)] for row in rows]
    widths = [
        max(cell_len(column.name), *(cell_len(row[place]) for row in cells), 0)
        for place, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    if width is not None:
        kept = _fitting(columns, widths, width)
        if not _fits(kept, columns, widths, width):
            return _build_records(columns, cells, title)
    table = _empty_table(title, framed=width is not None)
    for place in kept:
        column = columns[place]
        table.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            no_wrap=not column.flexible,
            overflow="fold",
            min_width=_least_width(column, widths[place]),
        )
    for row in cells:
        table.add_row(*(Text(row[place]) for place in kept))
    return table


def _empty_table(title: str | None, *, framed: bool) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD if framed else None,
        padding=(0, 1, 0, 0) if framed else (0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
    )


def _least_width(column: Column, width: int) -> int:
    return min(width, LEAST_FLEXIBLE) if column.flexible else width


def _fits(kept: Sequence[int], columns: Sequence[Column], widths: Sequence[int], width: int) -> bool:
    return sum(_least_width(columns[place], widths[place]) + COLUMN_GAP for place in kept) <= width


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Places of the columns that fit side by side; optional ones make room."""
    kept = list(range(len(columns)))
    for place in reversed(range(len(columns))):
        if _fits(kept, columns, widths, width):
            break
        if columns[place].optional:
            kept.remove(place)
    return kept


def _build_records(columns: Sequence[Column], cells: Iterable[Sequence[str]], title: str | None) -> Group:
    """Each row as a block of lines, a name and a value in each."""
    blocks: list[RenderableType] = [Text(title, style="bold")] if title else []
    for row in cells:
        block = Table.grid(padding=(0, 2, 0, 0))
        for column, cell in zip(columns, row, strict=True):
            block.add_row(Text(column.name, style="bold"), Text(cell))
        blocks += [block, Text()]
    return Group(*blocks)
