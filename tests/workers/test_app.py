import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from core.frame_queue import FrameQueue
from core.settings import DEFAULT_MODEL, load_settings
from models.catalogue import DEFAULT_WEIGHTS
from tests.waiting import wait_until
from tests.worker_process import ROOT, WorkerProcess, celery_command, worker_environment
from tests.workers.rig import publish
from workers.app import create_app

pytestmark = pytest.mark.redis

START_TIMEOUT_S = 60


def run(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=START_TIMEOUT_S
    )


def test_importing_the_app_brings_neither_torch_nor_weights() -> None:
    code = "import sys, workers.app, workers.bell, workers.tasks; print('torch' in sys.modules)"
    done = run([sys.executable, "-c", code], worker_environment())
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


def test_a_plain_celery_worker_has_the_defaults_that_detection_needs() -> None:
    conf = create_app(load_settings(namespace="fleet", worker_concurrency=3)).conf
    assert conf.worker_pool == "threads"
    assert conf.worker_concurrency == 3
    assert conf.worker_prefetch_multiplier == 1
    assert conf.accept_content == ["json"]
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert conf.task_default_queue == f"detect.{DEFAULT_MODEL}"
    options = conf.broker_transport_options
    assert options["global_keyprefix"] == "fleet:celery:"
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (1, 1)


def test_workers_and_models_agree_on_the_default_weights() -> None:
    assert DEFAULT_MODEL == DEFAULT_WEIGHTS


def test_a_worker_that_cannot_be_made_ends_and_says_why() -> None:
    code = (
        "from workers.app import create_app, load_settings\n"
        "def fail(settings, identity): raise RuntimeError('no such device')\n"
        "create_app(load_settings(), fail).worker_main(['worker'])"
    )
    done = run([sys.executable, "-c", code], worker_environment())
    assert done.returncode == 1, done.stderr
    assert "RuntimeError: no such device" in done.stderr


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"model": "resnet51"}, [], "error: model: expected one of .*; got 'resnet51'"),
        ({"batch_size": "many"}, [], "error: FRAMEWATCH_BATCH_SIZE: .*got 'many'"),
        ({}, ["--pool=processes"], "error: .*expected --pool threads .*got prefork"),
        ({}, ["--queues=celery"], "error: .*expected --queues such as detect.MODEL, got celery"),
    ],
    ids=["model", "setting", "pool", "queue"],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    settings: dict[str, str], arguments: list[str], message: str, redis_url: str, database_url: str
) -> None:
    given = {"redis_url": redis_url, "database_url": database_url} | settings
    done = run(celery_command("worker", *arguments), worker_environment(**given))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert re.match(message, lines[0])


def test_ping_and_flower_see_the_worker_and_its_tasks(
    redis_url: str, database_url: str, queue: FrameQueue, tiny_weights: Path, tmp_path: Path
) -> None:
    environment = worker_environment(redis_url=redis_url, database_url=database_url, model=tiny_weights)
    node = f"celery@{socket.gethostname()}"
    with (
        WorkerProcess(environment, tmp_path / "worker.log") as worker,
        Flower(environment, tmp_path) as flower,
    ):
        worker.wait_ready(queue)
        ping = run(celery_command("inspect", "ping", "--destination", node), environment)
        assert ping.returncode == 0, ping.stdout + ping.stderr
        assert f"{node}: OK" in ping.stdout
        wait_until(lambda: node in (flower.ask("workers?refresh=true") or {}), 30.0, "Flower sees the worker")
        publish(queue, tiny_weights, 3)
        wait_until(flower.finished_drains, 20.0, "Flower sees a finished drain", poll_s=0.5)


class Flower:
    """A Flower process and its HTTP interface."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._environment = environment | {"FLOWER_UNAUTHENTICATED_API": "true"}
        self._log = folder / "flower.log"

    def __enter__(self) -> "Flower":
        command = celery_command("flower", "--address=127.0.0.1", f"--port={self._port}")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(lambda: self.ask("workers?refresh=true") is not None, 60.0, "Flower answers", poll_s=0.5)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, what: str) -> Any:
        """JSON of `/api/WHAT`; None while Flower does not answer."""
        assert self._process.poll() is None, self._log.read_text()
        try:
            url = f"http://127.0.0.1:{self._port}/api/{what}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, TimeoutError):
            return None

    def finished_drains(self) -> bool:
        tasks = (self.ask("tasks") or {}).values()
        return any(task["name"] == "workers.tasks.detect" and task["state"] == "SUCCESS" for task in tasks)
