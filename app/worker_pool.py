"""Worker processes of this machine: started, watched, restarted a few times, and stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.child_processes import ending_with_parent
from core.errors import FramewatchError, UsageError
from core.settings import PREFIX, Settings, child_environment

MOST_RESTARTS = 3
"""Of one worker; what kills it so often will do so again."""
HEALTHY_AFTER_S = 60.0
"""A worker that lived for as long starts counting anew."""
STOP_GRACE_S = 20.0
"""For the batch in hand; frames of a worker that takes longer are claimed by another one later."""
LOG_TAIL_LINES = 5
_WRONG_USE = 2


class WorkersLostError(FramewatchError):
    """No worker runs any more, and starting them again does not help."""


@dataclass(slots=True)
class _Worker:
    name: str
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    restarts: int = 0


class WorkerPool:
    """`count` processes of `framewatch worker`, each with a log file in `log_dir`.

    They lead sessions of their own, so that Ctrl-C reaches them through us, after their frames; and they end
    when this process dies (Linux). Start the pool in the main thread.
    """

    def __init__(self, count: int, models: Sequence[str], settings: Settings, log_dir: Path) -> None:
        self._models = tuple(models)
        self._settings = settings
        self._started = False
        self._workers = [_Worker(f"worker{n}", log_dir / f"worker-{n}.log") for n in range(1, count + 1)]
        log_dir.mkdir(parents=True, exist_ok=True)

    @property
    def models(self) -> tuple[str, ...]:
        """Models that the workers serve."""
        return self._models

    @property
    def running(self) -> int:
        """Workers whose process lives."""
        return sum(worker.process is not None and worker.process.poll() is None for worker in self._workers)

    def process_ids(self) -> list[int]:
        """Of the living workers."""
        return [
            worker.process.pid for worker in self._workers if worker.process and worker.process.poll() is None
        ]

    def start(self) -> None:
        """Starts all workers; they need some seconds to load their models."""
        self._started = True
        for worker in self._workers:
            worker.log.write_bytes(b"")
            self._spawn(worker)

    def serve(self, models: Sequence[str]) -> None:
        """Makes the workers serve these models: starts those that do not, anew where they serve others."""
        if self._started and set(models) == set(self._models):
            return
        self.stop()
        self._models = tuple(models)
        if models:
            self.start()

    def check(self) -> list[str]:
        """Restarts workers that died; returns a line about each.

        Raises WorkersLostError when none is left, and UsageError when they end at once because a setting or a
        weights file is wrong.
        """
        events: list[str] = []
        for worker in self._workers:
            if worker.process is None or worker.process.poll() is None:
                continue
            events.append(self._replace(worker, worker.process.returncode))
        if self._workers and all(worker.process is None for worker in self._workers):
            logs = ", ".join(str(worker.log) for worker in self._workers)
            raise WorkersLostError(f"no worker stays alive: {_reason(self._workers[0].log)} (see {logs})")
        return events

    def _replace(self, worker: _Worker, exit_code: int) -> str:
        worker.process = None
        if exit_code == _WRONG_USE:
            raise UsageError(_reason(worker.log))
        if time.monotonic() - worker.started_at > HEALTHY_AFTER_S:
            worker.restarts = 0
        what = f"{worker.name} {_describe_exit(exit_code)}"
        if worker.restarts >= MOST_RESTARTS:
            return f"{what} for the {worker.restarts + 1}th time; giving it up ({worker.log})"
        worker.restarts += 1
        self._spawn(worker)
        return f"{what}; started again ({worker.log})"

    def _spawn(self, worker: _Worker) -> None:
        command = [sys.executable, "-P", "-m", "app.cli", "worker"]
        command += [f"--models={model}" for model in self._models]
        command += [f"--hostname=framewatch-{worker.name}@%h"]
        with worker.log.open("ab") as log:
            worker.process = subprocess.Popen(
                ending_with_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        worker.started_at = time.monotonic()

    def _environment(self) -> dict[str, str]:
        """The settings, and a share of the processors: workers that all use all of them spin."""
        environment = child_environment(self._settings)
        environment.pop(f"{PREFIX}METRICS_PORT", None)  # only one of them could have it
        share = max(1, (os.cpu_count() or 1) // len(self._workers))
        if len(self._workers) > 1:
            environment.setdefault("OMP_NUM_THREADS", str(share))
        return environment

    def stop(self) -> None:
        """Lets each worker finish the batch in hand; kills those that take too long."""
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_S
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for worker in self._workers:
            worker.process = None
        self._started = False


def _describe_exit(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _reason(log: Path) -> str:
    """The worker's own error line, else the end of its log."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if said:
        return said[-1]
    return " / ".join(lines[-LOG_TAIL_LINES:]) or "it left no log"
