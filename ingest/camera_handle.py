"""The supervisor's side of one camera process."""

import errno
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from core.camera_state import CameraActivity, CameraState, new_state
from ingest.messages import (
    Finished,
    Job,
    LogLine,
    Ring,
    StateReport,
    read_message,
    write_job,
)
from ingest.reader import CaptureReport

LOG = logging.getLogger(__name__)
SILENT_AFTER_S = 20.0
"""A process beats every 2 s from a thread of its own; silence means that it is stopped or stuck."""
STOP_GRACE_S = 6.0
"""The process itself gives up a stuck read after 3 s."""


class CameraHandle:
    """One started camera process; everything it says is read by a thread here."""

    def __init__(
        self,
        job: Job,
        ring: Callable[[str], None],
        *,
        on_state: Callable[[CameraState], None] = lambda _: None,
    ) -> None:
        """Starts the process, which loads its libraries and waits for `begin`.

        `ring` and `on_state`, which gets every report of the camera, are called from the thread. Raises
        OSError when the machine has no room for another process or thread.
        """
        self._job = job
        camera = self.camera = job.camera
        self.state: CameraState = new_state(camera.name, CameraActivity.CONNECTING)
        self.report: CaptureReport | None = None
        self.started_at = time.monotonic()
        self._ring, self._on_state = ring, on_state
        self._heard_at = self.started_at
        self._stop_asked_at: float | None = None
        # A session of its own: Ctrl-C must reach the camera through the supervisor, after it has counted.
        # -P keeps the working directory, with whatever modules lie there, off the import path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ingest.camera_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name=f"camera-{camera.name}", daemon=True)
        try:
            self._listener.start()
        except RuntimeError as error:
            self._process.kill()
            self._process.communicate()
            raise OSError(errno.EAGAIN, str(error)) from error

    def begin(self) -> None:
        """Gives the process its job: from now on it reads the camera."""
        self.started_at = self._heard_at = time.monotonic()
        self._tell(write_job(self._job))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the process runs; negative: ended by that signal."""
        return self._process.poll()

    @property
    def is_stopping(self) -> bool:
        return self._stop_asked_at is not None

    def is_silent(self) -> bool:
        """Whether nothing was heard for too long."""
        return time.monotonic() - self._heard_at > SILENT_AFTER_S

    def ask_to_stop(self) -> None:
        """Closes the process's stdin; it counts what it holds and ends."""
        if self._stop_asked_at is None:
            self._stop_asked_at = time.monotonic()
            self._close_stdin()

    def kill_if_overdue(self) -> None:
        """Ends a process that was asked to stop and did not within its grace."""
        overdue = self._stop_asked_at is not None and time.monotonic() - self._stop_asked_at > STOP_GRACE_S
        if overdue and self.exit_code is None:
            LOG.warning("camera %s: its process does not stop; killing it", self.camera.name)
            self.kill()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Takes leave of an ended process, after its last word."""
        self._process.wait()
        self._listener.join(timeout=5)
        self._close_stdin()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _tell(self, line: bytes) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:  # it died at once; its exit code will tell
            return

    def _close_stdin(self) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.close()
        except OSError:
            return

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._heard_at = time.monotonic()
            try:
                self._hear(line)
            except Exception as error:  # noqa: BLE001 - the listener must outlive one bad line
                LOG.error("camera %s: %s: %s", self.camera.name, type(error).__name__, error)

    def _hear(self, line: bytes) -> None:
        message = read_message(line)
        if isinstance(message, LogLine):
            LOG.log(message.level, "%s", message.text)
        elif isinstance(message, StateReport):
            self.state = message.state
            self._on_state(message.state)
        elif isinstance(message, Ring):
            self._ring(message.model)
        elif isinstance(message, Finished):
            self.report = message.report
