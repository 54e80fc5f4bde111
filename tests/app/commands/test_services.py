"""`up`, `ingest` and `worker` as processes of their own, stopped as people and service managers stop them."""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from app.running import running_redis_url
from core.redis_server import EmbeddedRedis
from tests.app.conftest import Cli, clean_environment, framewatch
from tests.clips import write_clip
from tests.waiting import wait_until

pytestmark = pytest.mark.redis
STOPPED_WITHIN_S = 40


@contextmanager
def service(
    folder: Path, arguments: Sequence[str | Path], log: str, **variables: str
) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(
            framewatch(*arguments),
            cwd=folder,
            env=clean_environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    except BaseException:
        print((folder / log).read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def stop(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    """Sends a signal; the exit code, once every process of the service has gone."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    code = process.wait(STOPPED_WITHIN_S)
    assert psutil.wait_procs(family, timeout=10)[1] == []
    return code


def status(cli: Cli, *words: str) -> dict[str, Any]:
    done = cli("status", "--json", *words)
    return dict(json.loads(done.out)) if done.code == 0 else {}


def ledger(found: dict[str, Any], camera: str) -> dict[str, int]:
    return next((dict(one) for one in found.get("ledger", []) if one["camera"] == camera), {})


def stored(found: dict[str, Any], camera: str) -> int:
    return ledger(found, camera).get("stored", 0)


def test_up_runs_everything_and_the_other_commands_work_beside_it(
    cli: Cli, folder: Path, tiny_weights: Path
) -> None:
    write_clip(folder / "street.mp4", frames=50)
    (folder / "cameras.yml").write_text("cameras:\n  - {name: street, url: street.mp4, fps: 5}\n")
    with service(folder, ["up", "cameras.yml", "--model", tiny_weights], "up.log") as up:
        wait_until(lambda: running_redis_url(Path("framewatch-data")), 60, "up tells where its Redis is")
        second = cli("up", "--model", tiny_weights)
        assert second.code == 2
        assert "runs already on framewatch-data" in second.error
        write_clip(folder / "late.mp4", frames=20)
        assert cli("camera", "add", "late", "late.mp4").code == 0
        wait_until(lambda: stored(status(cli), "late") == 20, 90, "the late camera is stored")
        wait_until(lambda: stored(status(cli), "street") == 10, 30, "the first camera is stored")
        wait_until(lambda: status(cli)["workers"], 30, "the worker reports itself")
        found = status(cli)
        assert ledger(found, "street")["sampled_out"] == 40
        assert {camera["name"]: camera["state"] for camera in found["cameras"]} == {
            "street": "ended",
            "late": "ended",
        }
        assert len(found["workers"]) == 1
        write_clip(folder / "extra.mp4", frames=15)
        summary = cli("run", "extra.mp4", "--workers", "0", "--model", tiny_weights, "--json")
        assert json.loads(summary.out)["frames_stored"] == 15, "its workers serve a run too"
        assert json.loads(cli("counts", "--by", "camera", "--format", "json").out)
        assert stop(up, signal.SIGINT) == 0
    assert cli("status").code == 2, "its Redis is gone with it"
    assert cli("sql", "SELECT sum(captured), sum(stored) FROM frame_ledger", "--format", "csv").out.endswith(
        "85,45\n"
    )
    assert "Traceback" not in (folder / "up.log").read_text()


def test_up_starts_its_redis_again_when_that_is_killed(cli: Cli, folder: Path, tiny_weights: Path) -> None:
    write_clip(folder / "street.mp4", frames=20)
    with service(folder, ["up", "--model", tiny_weights], "up.log") as up:
        url = wait_until(
            lambda: running_redis_url(Path("framewatch-data")), 60, "up tells where its Redis is"
        )
        assert cli("camera", "add", "street", "street.mp4").code == 0
        wait_until(lambda: stored(status(cli), "street") == 20, 90, "the camera is stored")
        processes = psutil.Process(up.pid).children(recursive=True)
        (server,) = (one for one in processes if one.name() in ("valkey-server", "redis-server"))
        server.kill()
        wait_until(lambda: "starting it again" in (folder / "up.log").read_text(), 30, "up sees it")
        wait_until(lambda: stored(status(cli), "street") == 20, 30, "another has its data")
        assert running_redis_url(Path("framewatch-data")) == url
        assert cli("camera", "add", "late", "street.mp4").code == 0
        wait_until(lambda: stored(status(cli), "late") == 20, 90, "the pipeline goes on")
        assert stop(up, signal.SIGTERM) == 0


def test_up_outlives_a_redis_that_stays_away_until_its_workers_end(
    cli: Cli, folder: Path, tiny_weights: Path
) -> None:
    write_clip(folder / "street.mp4", frames=20)
    with EmbeddedRedis(folder / "redis", appendonly=True) as server:
        words = ["up", "--model", tiny_weights, "--redis-url", server.url]
        with service(folder, words, "up.log", FRAMEWATCH_BROKER_LOST_EXIT_S="2") as up:
            at = ("--redis-url", server.url)
            wait_until(lambda: status(cli, *at).get("workers"), 60, "the worker reports itself")
            (worker,) = (one for one in psutil.Process(up.pid).children() if "worker" in one.cmdline())
            server.kill()
            wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE, 60, "the worker gives up")
            for _ in range(20):
                time.sleep(0.1)
                assert worker.status() == psutil.STATUS_ZOMBIE, "no other is started yet"
            server.start()
            assert cli("camera", "add", "street", "street.mp4").code == 0
            wait_until(lambda: stored(status(cli, *at), "street") == 20, 90, "another worker stores")
            assert stop(up, signal.SIGTERM) == 0
    log = (folder / "up.log").read_text()
    assert "waiting for it" in log
    assert "worker1 ended with exit code 70; started again" in log


def test_up_leaves_out_the_cameras_of_weights_that_do_not_load(
    cli: Cli, folder: Path, tiny_weights: Path
) -> None:
    write_clip(folder / "street.mp4", frames=20)
    torch.save({"weight": torch.ones(1)}, folder / "yolo.pt")
    with safe_open(tiny_weights, "pt") as opened:  # a file of which only a worker sees that it is wrong
        save_file({"weight": torch.ones(1)}, folder / "odd.safetensors", opened.metadata())
    assert cli("db", "upgrade").code == 0
    assert cli("camera", "add", "street", "street.mp4").code == 0
    assert cli("camera", "add", "odd", "street.mp4", "--model", "odd.safetensors").code == 0
    assert cli("camera", "add", "other", "street.mp4", "--model", "yolo.pt").code == 0
    with service(folder, ["up", "--model", tiny_weights], "up.log") as up:
        wait_until(lambda: running_redis_url(Path("framewatch-data")), 60, "up tells where its Redis is")
        wait_until(lambda: stored(status(cli), "street") == 20, 120, "the good camera is stored")
        assert cli("camera", "add", "late", "street.mp4").code == 0
        wait_until(lambda: stored(status(cli), "late") == 20, 90, "and one that comes later")
        shutil.copy(tiny_weights, "odd.safetensors")
        wait_until(lambda: stored(status(cli), "odd") >= 20, 120, "a file that was mended is taken")
        assert stored(status(cli), "other") == 0
        assert stop(up, signal.SIGTERM) == 0
    log = (folder / "up.log").read_text()
    assert log.count("cameras of model yolo.pt are not read: yolo.pt: expected a torch file of one of") == 1
    assert log.count("cameras of model odd.safetensors are not read: ") == 1
    assert "Traceback" not in log


FILTERED = (("bikes", "--class", "bus,motorcycle", "--min-score", "0.5"), ("people", "--class", "person"))
"""The tiny detector takes whatever it sees for motorcycles, with scores from 0.3 to 0.9."""


def assert_only_what_was_asked_for_is_kept(cli: Cli) -> None:
    """The same frames for every camera; of what was seen in them, each camera's classes and scores."""
    frames = cli("sql", "SELECT camera_id, count(*) AS n FROM frames GROUP BY 1", "--format", "json")
    assert [row["n"] for row in json.loads(frames.out)] == [30, 30, 30]
    query = "SELECT camera, class_name, frame_index, score, x, y FROM detection_history ORDER BY 3, 4, 5, 6"
    rows = json.loads(cli("sql", query, "--format", "json").out)
    seen = {
        name: [list(row.values())[1:] for row in rows if row["camera"] == name]
        for name in ("street", "bikes", "people")
    }
    sure = [row for row in seen["street"] if row[2] >= 0.5]
    assert {row[0] for row in seen["street"]} == {"motorcycle"}
    assert 0 < len(sure) < len(seen["street"])
    assert seen["bikes"] == sure
    assert seen["people"] == []


def test_ingest_and_workers_scale_alone(cli: Cli, folder: Path, redis_url: str, tiny_weights: Path) -> None:
    write_clip(folder / "street.mp4", frames=30)
    common = ("--redis-url", redis_url, "--model", str(tiny_weights))
    assert cli("db", "upgrade").code == 0
    assert cli("camera", "add", "street", "street.mp4").code == 0
    for name, *options in FILTERED:
        assert cli("camera", "add", name, "street.mp4", *options).code == 0
    cameras = ["street", *(name for name, *_ in FILTERED)]

    def accounts(field: str) -> list[int]:
        found = status(cli, "--redis-url", redis_url)
        return [ledger(found, camera).get(field, 0) for camera in cameras]

    with service(folder, ["ingest", *common], "ingest.log") as ingest:
        wait_until(lambda: accounts("captured") == [30, 30, 30], 90, "frames wait without a worker")
        port = str(free_port())
        words = ["worker", *common, "--concurrency", "1", "--metrics-port", port]
        with service(folder, words, "worker.log") as worker:
            wait_until(lambda: accounts("stored") == [30, 30, 30], 90, "they are stored")
            beats = wait_until(
                lambda: status(cli, "--redis-url", redis_url)["workers"], 30, "the worker reports itself"
            )
            assert [beat["slots"] for beat in beats] == [1]
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                metrics = answer.read().decode()
            done = f'framewatch_worker_frames_total{{model="{tiny_weights}",outcome="stored"}} 90.0'
            assert done in metrics.splitlines()
            assert redis_url not in metrics
            second = cli("worker", *common, "--metrics-port", port)
            assert second.code == 2
            assert f"expected a free port of 127.0.0.1, got {port}" in second.error
            assert stop(worker, signal.SIGTERM) == 0
        assert stop(ingest, signal.SIGTERM) == 0
    assert_only_what_was_asked_for_is_kept(cli)
    assert "Traceback" not in (folder / "ingest.log").read_text() + (folder / "worker.log").read_text()
