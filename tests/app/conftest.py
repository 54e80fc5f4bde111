"""The command line as a person uses it: in an empty folder, without settings from outside."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.types import WeightsInfo
from storage.database import Database, open_database
from storage.writer import Writer
from tests.fakes import save_tiny_detector
from tests.storage.results import WEIGHTS, make_result


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one error line; fails the test when there is any other number of lines, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, f"expected one line, got:\n{self.err}"
        assert lines[0].startswith("error: ")
        return lines[0]


Cli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """The levels that a command sets for its process end with its test."""
    loggers = [logging.getLogger(name) for name in (None, "alembic", "ingest")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without FRAMEWATCH_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FRAMEWATCH_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def cli(folder: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process, as the console script does."""

    def run(*arguments: str | Path) -> Outcome:
        from app.cli import main

        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment of a child without settings but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEWATCH_")}
    return {**kept, **variables}


def framewatch(*arguments: str | Path) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-P", "-m", "app.cli", *(str(argument) for argument in arguments)]


@pytest.fixture
def process(folder: Path) -> Cli:
    """Runs a command line in a process of its own, to its end."""

    def run(*arguments: str | Path, **variables: str) -> Outcome:
        done = subprocess.run(
            framewatch(*arguments),
            cwd=folder,
            env=clean_environment(**variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real detector file that takes about a millisecond per picture."""
    return save_tiny_detector(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def history(folder: Path) -> Iterator[Database]:
    """`framewatch.db` with five detections: a person and cars at the gate, a bus in the yard."""
    database = open_database("sqlite:///framewatch.db")
    database.upgrade()
    weights = WeightsInfo(WEIGHTS.name, WEIGHTS.sha256, WEIGHTS.categories)
    results = [
        make_result("gate", 0, [(10, 20, 50, 120), (200, 300, 300, 360)], labels=[0, 1], scores=[0.9, 0.6]),
        make_result("gate", 1, [(12, 20, 52, 120), (210, 300, 310, 360)], labels=[0, 1], scores=[0.8, 0.5]),
        make_result("yard", 0, [(400, 100, 700, 300)], labels=[2], scores=[0.7]),
    ]
    Writer(database).write(results, weights)
    yield database
    database.close()
