"""What the system tests share: commands as processes, and rows read with plain SQL."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

FRAMEWATCH = str(Path(sys.executable).parent / "framewatch")
STREET_FRAMES = 795


def framewatch(environment: Mapping[str, str], folder: Path, *words: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [FRAMEWATCH, *words], env=dict(environment), cwd=folder, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


@contextmanager
def start_framewatch(
    environment: Mapping[str, str], folder: Path, *words: str
) -> "Iterator[subprocess.Popen[str]]":
    """A command that goes on in the background, and is killed if it is still there at the end."""
    with subprocess.Popen(
        [FRAMEWATCH, *words],
        env=dict(environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def select(database_url: str, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """Rows of a statement, through SQLAlchemy alone."""
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]
    finally:
        engine.dispose()
