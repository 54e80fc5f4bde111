"""Real worker processes for tests: `celery -A workers.app worker`, started, stopped and killed by pid."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from core.frame_queue import FrameQueue
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def worker_environment(**settings: object) -> dict[str, str]:
    """This process' environment with the given settings, e.g. `redis_url`; no others reach the worker."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEWATCH_")}
    # One thread: two workers beside each other would spin against one another on a small machine.
    threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    given = {f"FRAMEWATCH_{name.upper()}": str(value) for name, value in settings.items()}
    return inherited | threads | given


def celery_command(*words: str, app: str = "workers.app") -> list[str]:
    """`celery -A APP WORDS` of this interpreter."""
    return [sys.executable, "-m", "celery", "-A", app, *words]


class WorkerProcess:
    """One worker process, in a context that ends it; its log stands in `log`."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, *arguments: str, app: str = "workers.app"
    ) -> None:
        self._environment = dict(environment)
        self._log = log
        self._arguments = arguments
        self._app = app
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WorkerProcess":
        words = ("worker", "--loglevel=INFO", "--without-mingle", *self._arguments)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                celery_command(*words, app=self._app),
                env=self._environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(f"--- {self._log}\n{self.log}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The started process."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_ready(self, queue: FrameQueue) -> "WorkerProcess":
        """Returns when the worker takes bells, which its heartbeat tells."""
        wait_until(
            lambda: self.process.poll() is not None or self.pid in {beat.pid for beat in queue.workers()},
            READY_TIMEOUT_S,
            f"worker {self.pid} reports for duty",
        )
        assert self.process.poll() is None, f"the worker ended at once:\n{self.log}"
        return self

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer does."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)
