"""Options that commands share: the settings, and groups of options that a dataclass holds together."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic_core import PydanticUndefined

from core.errors import SettingsError
from core.settings import PREFIX, Settings, load_settings

PANEL = "Settings (also FRAMEWATCH_* variables and framewatch.toml)"

Parameter = inspect.Parameter


def with_settings(*names: str, service: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function a command whose first argument is the settings, with the named ones as options.

    A parameter whose type is a dataclass stands for one option per field, annotated as typer wants it.
    `log_level` is an option of every command; unless it is set, a `service` logs what happens and other
    commands only warn. A value that Settings refuses ends the command with one line that names the option.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = list(inspect.signature(command).parameters.values())[1:]
        groups = {
            parameter.name: hints[parameter.name] for parameter in own if is_dataclass(hints[parameter.name])
        }
        settings_options = [_setting_option(name) for name in (*names, "log_level")]

        @functools.wraps(command)
        def run_command(**arguments: Any) -> None:
            settings = _load({option.name: arguments.pop(option.name) for option in settings_options})
            configure_logging(settings, service=service)
            for name, group in groups.items():
                arguments[name] = group(**{field.name: arguments.pop(field.name) for field in fields(group)})
            command(settings, **arguments)

        shown = [
            option
            for parameter in own
            for option in (
                _group_options(groups[parameter.name])
                if parameter.name in groups
                else [parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])]
            )
        ]
        shown += settings_options
        run_command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        run_command.__doc__ = format_help(inspect.getdoc(command) or "")
        return run_command

    return decorate


class _StandardError(logging.Handler):
    """Writes to whatever standard error is at the moment: a live display puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def is_given(settings: Settings, name: str) -> bool:
    """Whether a person set this setting, by option, environment or file, so that it is no default."""
    return name in settings.model_fields_set


def format_help(text: str) -> str:
    """A docstring for the terminal: prose in whole paragraphs, which it wraps, and examples line by line."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if any(line.startswith("framewatch ") for line in paragraph.splitlines()):
            paragraphs.append("\n".join(["Examples:", *(f"  {line}" for line in paragraph.splitlines())]))
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs).replace("[", "\\[")  # rich takes [words] for markup


def check_output(path: Path, suffix: str | None) -> None:
    """Refuses a file of `--output` before any work is done: one with another suffix, or in no folder.

    None takes any suffix. Raises SettingsError.
    """
    if suffix is not None:
        check_suffix(path, suffix)
    if not path.parent.is_dir():
        raise SettingsError(f"--output: expected a folder at {path.parent}, found none; create it")


def check_suffix(path: Path, suffix: str) -> None:
    """Refuses a file of `--output` with another suffix. Raises SettingsError."""
    if path.suffix != suffix:
        raise SettingsError(f"--output: expected a name that ends with {suffix}, got {str(path)!r}")


def flag(setting: str) -> str:
    """The option of a setting: `--redis-url` of `redis_url`."""
    return "--" + setting.replace("_", "-")


def _load(given: dict[str, Any]) -> Settings:
    with _naming_options(given):
        return load_settings(**given)


def configure_logging(settings: Settings, *, service: bool) -> None:
    """Log lines on standard error, with times for services, whose output is kept."""
    asked = service or is_given(settings, "log_level")
    level = logging.getLevelName(settings.log_level) if asked else logging.WARNING
    time = "%(asctime)s " if service else ""
    handler = _StandardError()
    logging.basicConfig(
        level=level, format=f"{time}%(levelname)s %(message)s", handlers=[handler], force=True
    )
    logging.getLogger("alembic").setLevel(logging.DEBUG if level <= logging.DEBUG else logging.WARNING)


@contextmanager
def _naming_options(given: dict[str, Any]) -> Iterator[None]:
    """Makes an error about a setting that came as an option name the option, not the variable."""
    try:
        yield
    except SettingsError as error:
        variable, _, rest = str(error).partition(":")
        name = variable.removeprefix(PREFIX).lower()
        if given.get(name) is None:
            raise
        raise SettingsError(f"{flag(name)}:{rest}") from error


def _group_options(group: type) -> list[Parameter]:
    """One parameter per field of a dataclass of options."""
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def _setting_option(name: str) -> Parameter:
    """An option whose text Settings checks, so that all sources of a setting give the same messages."""
    field = Settings.model_fields[name]
    default = field.get_default()
    shown = "" if default is None or default is PydanticUndefined else f" (default: {default})"
    is_switch = field.annotation is bool
    option = typer.Option(
        f"{flag(name)}/{flag('no_' + name)}" if is_switch else flag(name),
        help=f"{field.description}{shown}",
        metavar=None if is_switch else "TEXT",
        show_default=False,
        rich_help_panel=PANEL,
    )
    kind = bool if is_switch else str
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])
