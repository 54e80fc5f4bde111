"""The `framewatch` command: its sub-commands, and how every failure becomes one line and an exit code."""

import logging
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from app.commands import camera, db, dead, demo, history, models, run, serve, services, status, token, up
from core.errors import FramewatchError, UsageError

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

logger = logging.getLogger(__name__)

tree = typer.Typer(
    help="Camera streams in, a SQL history of every detection out.",
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@tree.callback(invoke_without_command=True)
def framewatch(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Camera streams in, a SQL history of every detection out.

    framewatch demo                    two street clips through the whole pipeline; ends by itself
    framewatch run street.mp4          a file to its end, every frame accounted for
    framewatch up cameras.yml          cameras on this machine until Ctrl-C
    framewatch detections --since 2h   what was seen
    """
    if show_version:
        typer.echo(f"framewatch {version('framewatch')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


WATCH, SERVICES, HISTORY, UPKEEP = "Watch", "Services", "History", "Upkeep"

tree.command(rich_help_panel=WATCH)(demo.demo)
tree.command(rich_help_panel=WATCH)(up.up)
tree.command(rich_help_panel=WATCH)(run.run)
tree.add_typer(camera.group, name="camera", rich_help_panel=WATCH)
tree.command(rich_help_panel=HISTORY)(history.detections)
tree.command(rich_help_panel=HISTORY)(history.counts)
tree.command(rich_help_panel=HISTORY)(history.sql)
tree.command(rich_help_panel=SERVICES)(services.ingest)
tree.command(rich_help_panel=SERVICES)(services.worker)
tree.command(rich_help_panel=SERVICES)(serve.serve)
tree.command(rich_help_panel=UPKEEP)(status.status)
tree.add_typer(token.group, name="token", rich_help_panel=UPKEEP)
tree.add_typer(models.group, name="models", rich_help_panel=UPKEEP)
tree.add_typer(db.group, name="db", rich_help_panel=UPKEEP)
tree.add_typer(dead.group, name="dead", rich_help_panel=UPKEEP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (default: this process's) and returns its exit code.

    0 done, 1 failed, 2 wrong use or configuration, 130 interrupted. An error is one line on standard error;
    with `--log-level DEBUG` a traceback stands above it.
    """
    command = typer.main.get_command(tree)
    try:
        outcome = command.main(
            None if arguments is None else list(arguments), prog_name="framewatch", standalone_mode=False
        )
    except typer.TyperException as error:
        if not error.format_message():  # a group without a sub-command: its help was the answer
            return error.exit_code
        return _fail(_with_help(error), error.exit_code)
    except UsageError as error:
        return _fail(str(error), WRONG_USE)
    except FramewatchError as error:
        return _fail(str(error), FAILED)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost loop of the program: never a traceback
        return _fail(f"{type(error).__name__}: {error} (--log-level DEBUG shows where)", FAILED)
    return outcome if isinstance(outcome, int) else 0


def _with_help(error: typer.TyperException) -> str:
    """A message about wrong use, and where the right use stands."""
    context = getattr(error, "ctx", None)  # only errors about one command have it
    path = context.command_path if context is not None else "framewatch"
    return f"{error.format_message().rstrip('.')}; see `{path} --help`"


def _fail(message: str, code: int) -> int:
    if logger.isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    print("error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
