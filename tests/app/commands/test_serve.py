"""`framewatch serve` is started and stopped as people and service managers do it."""

import signal
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.app.api.conftest import serving
from tests.app.conftest import Cli


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_on_this_machine_and_stops_with_code_0(folder: Path, number: signal.Signals) -> None:
    with serving(folder) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.get("/api/health") == {"status": "ok"}
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log


@pytest.mark.redis
def test_it_stops_while_somebody_looks(folder: Path, redis_url: str) -> None:
    with serving(folder, FRAMEWATCH_REDIS_URL=redis_url) as server:
        with urlopen(f"{server.url}/api/live/detections", timeout=60) as stream:
            assert stream.readline() == b": ping\n"
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
        assert "Traceback" not in server.log


def test_an_address_in_use_is_one_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", "--port", str(port), "--log-level", "ERROR")
    assert done.code == 2
    assert f"127.0.0.1 port {port}" in done.error
    assert "--port" in done.error


@pytest.mark.parametrize("words", [("--host", "0.0.0.0"), ("--require-token",)])
def test_without_any_token_it_refuses_to_serve_others(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli("serve", "--port", "0", "--log-level", "ERROR", *words)
    assert done.code == 2
    assert "framewatch token add" in done.error


def test_a_short_api_token_is_refused_without_being_repeated(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEWATCH_API_TOKEN", "opensesame")
    done = cli("serve", "--port", "0")
    assert done.code == 2
    assert "FRAMEWATCH_API_TOKEN" in done.error
    assert "opensesame" not in done.err
