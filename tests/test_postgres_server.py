import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.postgres_server import PostgresServer
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres


def _connect(server: PostgresServer) -> psycopg.Connection:
    return psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True)


@pytest.mark.parametrize("interruption", ["stop", "kill"])
def test_the_server_keeps_its_data_and_its_port_when_it_comes_back(tmp_path: Path, interruption: str) -> None:
    with PostgresServer(tmp_path) as server:
        port = server.port
        with _connect(server) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        getattr(server, interruption)()
        with pytest.raises(psycopg.OperationalError):
            _connect(server)
        server.start()
        with _connect(server) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert server.port == port


def test_the_server_ends_with_its_context(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        _connect(server).close()
    with pytest.raises(psycopg.OperationalError):
        _connect(server)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_the_server_ends_with_a_test_run_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.postgres_server import PostgresServer\n"
        "server = PostgresServer(Path(sys.argv[1])); server.start()\n"
        "print(server.port, server.scratch or '-', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        port, scratch = run.stdout.readline().decode().split()
        run.kill()

    def gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(port))) != 0

    wait_until(gone, 30, "the server ends")
    shutil.rmtree(scratch, ignore_errors=True)  # nobody was left to do it


def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server, pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", password="wrong")
