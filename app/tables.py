"""Tables that people read: aligned, numbers to the right, whole when the output goes to a file or a pipe."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from app.times import format_moment

PIPE_WIDTH = 10_000
"""Characters: nothing is folded or cut where no terminal sets a width."""


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
        Column(name, numeric=all(value is None or isinstance(value, int | float) for value in column))
        for name, column in zip(names, values, strict=True)
    ]


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[Any]], title: str | None = None, *, wrap: bool = False
) -> None:
    """Prints rows on standard output; `wrap` folds long cells on a narrow terminal, not cuts."""
    show(build_table(columns, rows, title, wrap=wrap, framed=stdout().is_terminal))


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
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    title: str | None = None,
    *,
    wrap: bool = False,
    framed: bool = True,
) -> Table:
    """The rich table of some rows."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD if framed else None,
        pad_edge=framed,
        header_style="bold",
    )
    for column in columns:
        table.add_column(
            Text(column.name),
            justify="right" if column.right else "left",
            no_wrap=column.right or not wrap,
            overflow="fold" if wrap else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(column.format(value)) for column, value in zip(columns, row, strict=True)))
    return table
