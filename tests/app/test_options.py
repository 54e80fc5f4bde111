from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer

from app.options import format_help, with_settings
from core.errors import SettingsError
from core.settings import Settings

seen: list[object] = []
tree = typer.Typer()


@dataclass(frozen=True)
class Group:
    size: Annotated[int, typer.Option("--size")] = 3


@tree.command()
@with_settings("batch_size", "compile", "database_url")
def look(settings: Settings, group: Group, name: Annotated[str, typer.Option("--name")] = "x") -> None:
    """Looks."""
    seen.append((settings.batch_size, settings.compile, settings.log_level, group.size, name))


def run(*arguments: str) -> object:
    seen.clear()
    typer.main.get_command(tree).main(list(arguments), standalone_mode=False)
    return seen[0]


def test_options_win_over_the_environment_and_that_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == (8, False, "INFO", 3, "x")
    (folder / "framewatch.toml").write_text("batch_size = 2\ncompile = true\n")
    assert run() == (2, True, "INFO", 3, "x")
    monkeypatch.setenv("FRAMEWATCH_BATCH_SIZE", "4")
    assert run() == (4, True, "INFO", 3, "x")
    assert run("--batch-size", "6", "--no-compile", "--log-level", "ERROR") == (6, False, "ERROR", 3, "x")


def test_a_dataclass_stands_for_its_options(folder: Path) -> None:
    assert run("--size", "9", "--name", "y") == (8, False, "INFO", 9, "y")


def test_a_refused_value_names_where_it_came_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^--batch-size: .*got 'many'$"):
        run("--batch-size", "many")
    monkeypatch.setenv("FRAMEWATCH_BATCH_SIZE", "0")
    with pytest.raises(SettingsError, match=r"^FRAMEWATCH_BATCH_SIZE: "):
        run()


def test_help_keeps_examples_line_by_line_and_wraps_prose() -> None:
    assert format_help("Does\nit.\n\nframewatch run a\nframewatch run [b]") == (
        "Does it.\n\nExamples:\n  framewatch run a\n  framewatch run \\[b]"
    )
