"""`framewatch serve` as a process of its own, and the application in this process."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.app.conftest import clean_environment, framewatch
from tests.waiting import wait_until


class Server:
    """A running `framewatch serve`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        """Where it listens, which its log tells."""

        def listening() -> "re.Match[str] | None":
            assert self.process.poll() is None, f"it ended at once:\n{self.log}"
            return re.search(r"serving on (http://\S+)", self.log)

        return wait_until(listening, 60, "serve says where it listens")[1]

    def get(self, path: str, **headers: str) -> Any:
        """The JSON of a GET; urllib's HTTPError for any other code than 2xx."""
        with urlopen(Request(self.url + path, headers=headers), timeout=30) as answer:
            return json.load(answer)


@contextmanager
def serving(folder: Path, *arguments: str | Path, **variables: str) -> Iterator[Server]:
    """`framewatch serve` on a free port of this machine."""
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            framewatch("serve", "--port", "0", *arguments),
            cwd=folder,
            env=clean_environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, log)
    except BaseException:
        print(log.read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
