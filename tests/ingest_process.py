"""Real `framewatch ingest` processes for tests, and others that are started alike."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

STOP_TIMEOUT_S = 30.0


class IngestProcess:
    """One `framewatch ingest`, in a context that ends it and its camera processes; its log is in `log`."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *arguments: str, service: str = "ingest"
    ) -> None:
        self._environment, self._log = dict(environment), log
        self._arguments = (service, *arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._family: list[psutil.Process] = []

    def __enter__(self) -> "IngestProcess":
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "app.cli", *self._arguments],
                env=self._environment,
                cwd=self._log.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.family()
        for one in [psutil.Process(self.pid)] if self.process.poll() is None else []:
            one.kill()
        self.process.wait()
        _, left = psutil.wait_procs(self._family, timeout=10)  # they notice that their supervisor is gone
        for one in left:
            one.kill()
        if kind is not None:
            print(f"--- {self._log}\n{self.log}")
        assert not left, f"camera processes were left over: {left}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """The camera processes that it has now."""
        if self.process.poll() is None:
            self._family = psutil.Process(self.pid).children(recursive=True)
        return self._family

    def freeze(self) -> None:
        """SIGSTOP to it and all its camera processes."""
        for one in [psutil.Process(self.pid), *self.family()]:
            one.suspend()

    def thaw(self) -> None:
        """SIGCONT to all that was frozen; camera processes first."""
        for one in [*self._family, psutil.Process(self.pid)]:
            one.resume()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.family()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL to the service alone, as the kernel's out-of-memory killer does."""
        self.family()
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)
