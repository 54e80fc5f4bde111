"""The compose files say what Compose understands, and their commands run as they stand there."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
OVERLAY = ROOT / "docker-compose.nvidia.yml"
OUR_SERVICES = ["migrate", "ingest", "worker"]


def services(path: Path = COMPOSE) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["services"]
    return found


def test_both_files_satisfy_the_compose_schema() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, COMPOSE, OVERLAY], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_overlay_changes_only_services_that_exist() -> None:
    assert set(services(OVERLAY)) <= set(services())


def test_every_setting_that_compose_gives_exists() -> None:
    from core.settings import PREFIX, Settings

    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {
        name
        for path in (COMPOSE, OVERLAY)
        for service in services(path).values()
        for name in service.get("environment", {})
        if name.startswith(PREFIX)
    }
    assert given
    assert given <= known


def test_no_port_is_open_beyond_this_host() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


@pytest.fixture
def environment(redis_url: str, postgres_url: str, tmp_path: Path) -> dict[str, str]:
    """What the containers see, with the two hosts of the compose network on loopback."""
    given: dict[str, str] = services()["worker"]["environment"]
    urls = {"FRAMEWATCH_REDIS_URL": redis_url, "FRAMEWATCH_DATABASE_URL": postgres_url}
    for name, real in urls.items():
        assert given[name].split("://")[0] == real.split("://")[0]
    bin_dir = str(Path(sys.executable).parent)
    return {
        **os.environ,
        **urls,
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FRAMEWATCH_DATA_DIR": str(tmp_path),
        "HOSTNAME": socket.gethostname(),
    }


@pytest.fixture
def started(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """Migrate to its end, then ingest and worker, each by the very words of the compose file."""
    migrate = subprocess.run(
        services()["migrate"]["command"], env=environment, cwd=tmp_path, capture_output=True, timeout=60
    )
    assert migrate.returncode == 0, migrate.stderr.decode()
    processes = {}
    for name in ("ingest", "worker"):
        with (tmp_path / f"{name}.log").open("wb") as log:
            processes[name] = subprocess.Popen(
                services()[name]["command"], env=environment, cwd=tmp_path, stdout=log, stderr=log
            )
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


def run_healthcheck(name: str, environment: dict[str, str], cwd: Path) -> int:
    kind, *words = services()[name]["healthcheck"]["test"]
    command = words if kind == "CMD" else ["sh", "-c", words[0].replace("$$", "$")]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, timeout=60).returncode


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.postgres
def test_the_container_commands_run_healthy_and_stop_on_sigterm(
    started: dict[str, "subprocess.Popen[bytes]"], environment: dict[str, str], tmp_path: Path
) -> None:
    for name, process in started.items():
        wait_until(lambda name=name: run_healthcheck(name, environment, tmp_path) == 0, 90, f"{name} healthy")
        assert process.poll() is None, (tmp_path / f"{name}.log").read_text()
    for name, process in started.items():
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / f"{name}.log").read_text()


def test_the_image_copies_every_package_and_no_secret() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    assert copied == {"core", "ingest", "models", "workers", "storage", "app"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert not any(".env" in line for line in ignored[1:])
    assert shlex.split(re.search(r"^USER (.+)$", dockerfile, re.MULTILINE)[1]) == ["framewatch"]  # type: ignore[index]
