from datetime import UTC, datetime

import pytest
from rich.console import Console

from app.tables import Column, build_table, infer_columns, print_table

WIDE = (
    Column("camera", flexible=True),
    Column("captured_at (UTC)"),
    Column("score", digits=2),
    Column("model", optional=True),
    Column("latency_ms", digits=0, optional=True),
)
ROWS = [
    ("gate", datetime(2026, 11, 23, tzinfo=UTC), 0.5, "resnet50_thin_fpn", None),
    ("yard", None, 1, "x", 12.4),
]


def render(width: int) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(build_table(WIDE, ROWS, width=width))
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


def test_a_wide_terminal_shows_every_column() -> None:
    assert render(100)[0].split() == ["camera", "captured_at", "(UTC)", "score", "model", "latency_ms"]


def test_optional_columns_make_room_from_the_last_one_on() -> None:
    assert render(66)[0].split() == ["camera", "captured_at", "(UTC)", "score", "model"]
    assert render(50)[0].split() == ["camera", "captured_at", "(UTC)", "score"]


def test_rows_stand_below_each_other_where_no_table_fits() -> None:
    lines = [line.split() for line in render(38)]
    assert lines[0] == ["camera", "gate"]
    assert lines.index(["latency_ms", "-"]) < lines.index(["camera", "yard"])


def test_numbers_stand_to_the_right_of_their_column() -> None:
    header, _, first, second = render(100)
    end = header.index("score") + len("score")
    assert first[:end].endswith("0.50")
    assert second[:end].endswith("1.00")


def test_a_pipe_gets_whole_lines_without_frame_or_blanks_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "x" * 300
    print_table([Column("name"), Column("text", flexible=True)], [("a", long), ("bb", "y")])
    assert capsys.readouterr().out.splitlines() == ["name  text", f"a     {long}", "bb    y"]


def test_unknown_columns_are_numeric_when_all_their_values_are() -> None:
    columns = infer_columns(["a", "b"], [(1, "x"), (2.5, 3), (None, 4)])
    assert [column.right for column in columns] == [True, False]


def test_square_brackets_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column("error")], [("[bold]it[/bold] failed [1]",)])
    assert "[bold]it[/bold] failed [1]" in capsys.readouterr().out
