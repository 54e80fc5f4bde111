"""The documentation is tested: every command, option and setting stands in it, and what it shows is right."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import tree
from core.settings import Settings

ROOT = Path(__file__).parents[2]
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text()
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def walk(command: Any, path: tuple[str, ...] = ("framewatch",)) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its whole name."""
    below = getattr(command, "commands", {})
    if not below:
        yield " ".join(path), command
    for name, one in below.items():
        yield from walk(one, (*path, name))


ALL = dict(walk(typer.main.get_command(tree)))


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", COMMANDS_PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section {name!r}"
    return found[1]


def options(command: Any) -> set[str]:
    return {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    }


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_is_in_the_page_and_no_other(name: str) -> None:
    said = set(re.findall(r"`(--?[a-z][a-z0-9-]*)`", section(name)))
    own = {one for one in options(ALL[name]) if not one.startswith("--no-")} - {"--help", "-h"}
    assert own <= said, f"undocumented: {own - said}"
    unknown = said - options(ALL[name])
    assert not unknown, f"documented, but not there: {unknown}"


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    help_text = ALL[name].help or ""
    assert len(help_text.splitlines()[0]) > 10
    assert f"Examples:\n  {name}" in help_text
    for parameter in ALL[name].params:
        assert getattr(parameter, "help", "") or "--help" in parameter.opts, f"{name} {parameter.name}"


def test_the_page_has_no_command_that_does_not_exist() -> None:
    assert set(re.findall(r"^## (framewatch .*)$", COMMANDS_PAGE, re.MULTILINE)) == set(ALL)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_settings_page_with_its_default(name: str) -> None:
    field = Settings.model_fields[name]
    default = "" if field.default in (None, "") else f"`{field.default}`"
    assert f"| `{name}` | {default} | {field.description} |" in SETTINGS_PAGE


def test_the_settings_page_has_no_setting_that_does_not_exist() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", SETTINGS_PAGE, re.MULTILINE)) == set(Settings.model_fields)


def shown_lines() -> Iterator[tuple[str, str]]:
    """Command lines of the shell blocks of all pages, with continued lines joined."""
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            yield from ((page.name, line) for line in join_lines(block) if line.startswith("framewatch "))


def join_lines(block: str) -> list[str]:
    """The lines of a block; a quotation may go on over several."""
    lines: list[str] = []
    for line in block.replace("\\\n", " ").splitlines():
        if lines and lines[-1].count('"') % 2:
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return lines


@pytest.mark.parametrize(("page", "line"), list(shown_lines()))
def test_command_lines_in_the_pages_are_right(page: str, line: str) -> None:
    words = shlex.split(line.split(" | ")[0], comments=True)
    name = next((" ".join(words[:count]) for count in (3, 2) if " ".join(words[:count]) in ALL), None)
    assert name, f"{page}: no such command: {line}"
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= options(ALL[name]), f"{page}: {line}"
