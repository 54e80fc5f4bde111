"""`framewatch run` as a process of its own: real Redis, real workers, a real if tiny detector."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from storage.database import open_database
from storage.readonly_sql import run_readonly_sql
from tests.app.conftest import Cli, clean_environment, framewatch
from tests.clips import write_clip
from tests.waiting import wait_until

pytestmark = pytest.mark.redis
METADATA = {"creation_time": "2026-11-23T08:00:00.000000Z"}


def ask(sql: str) -> list[tuple[object, ...]]:
    database = open_database("sqlite:///framewatch.db")
    try:
        return list(run_readonly_sql(database, sql).rows)
    finally:
        database.close()


@contextmanager
def running(folder: Path, arguments: Sequence[str | Path]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        framewatch(*arguments),
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def stored_frames(folder: Path) -> int:
    return int(str(ask("SELECT count(*) FROM frames")[0][0])) if (folder / "framewatch.db").exists() else 0


def wait_for_frames(folder: Path, count: int) -> None:
    def enough() -> bool:
        try:
            return stored_frames(folder) >= count
        except Exception:  # noqa: BLE001 - the tables are being made just now
            return False

    wait_until(enough, 60, f"{count} frames are stored")


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "worker" in child.cmdline() and child.is_running()]


def test_every_readable_frame_is_stored_once_however_often_it_runs(
    process: Cli, folder: Path, tiny_weights: Path
) -> None:
    write_clip(folder / "street.mp4", frames=40, fps=10, metadata=METADATA)
    write_clip(folder / "other.mp4", frames=15, fps=5, metadata=METADATA)
    (folder / "text.mp4").write_text("hello")
    words = ("run", "street.mp4", "yard=other.mp4", "--model", tiny_weights)
    first = process(*words, "text.mp4", "--json")
    assert first.code == 2, first.err
    assert first.error == "error: text.mp4: expected a video, got a text file"
    summary = json.loads(first.out)
    assert (summary["balanced"], summary["frames_stored"]) == (True, 55)
    assert summary["database_url"] == "sqlite:///framewatch.db"
    street, yard = summary["cameras"]
    assert (street["camera"], street["captured"], street["stored"], street["in_flight"]) == (
        "street",
        40,
        40,
        0,
    )
    assert (yard["camera"], yard["captured"], yard["stored"]) == ("yard", 15, 15)
    rows = ask("SELECT count(*) FROM detections")[0][0]
    assert rows == summary["detections"] > 0
    times = ask(
        "SELECT f.captured_at FROM frames f JOIN cameras c ON c.id = f.camera_id "
        "WHERE c.name = 'street' ORDER BY f.frame_index"
    )
    assert [str(row[0])[17:21] for row in times] == [f"{number / 10:04.1f}" for number in range(40)]
    assert ask("SELECT sum(captured), sum(stored) FROM frame_ledger") == [(55, 55)]

    again = process(*words)
    assert again.code == 0, again.err
    lines = [line.split() for line in again.out.splitlines()]
    assert lines[0] == ["camera", "captured", "stored", "in", "flight", "detections", "frames/s"]
    assert [line[:5] for line in lines[1:3]] == [
        ["street", "40", "40", "0", str(street["detections"])],
        ["yard", "15", "15", "0", str(yard["detections"])],
    ]
    assert ask("SELECT count(*) FROM frames") == [(55,)]
    assert ask("SELECT count(*) FROM detections") == [(rows,)]


def test_a_worker_killed_in_the_middle_loses_nothing(folder: Path, tiny_weights: Path) -> None:
    write_clip(folder / "street.mp4", frames=600, metadata=METADATA)
    words = (
        "run",
        "street.mp4",
        "--model",
        tiny_weights,
        "--json",
        "--batch-size",
        "2",
        "--claim-timeout-s",
        "3",
    )
    with running(folder, words) as run:
        wait_for_frames(folder, 20)
        for worker in workers_of(run):
            worker.kill()
        out, err = run.communicate(timeout=100)
    assert run.returncode == 0, err
    summary = json.loads(out)
    assert (summary["frames_stored"], summary["balanced"]) == (600, True)
    assert stored_frames(folder) == 600
    assert "was ended by SIGKILL; started again" in err


def test_ctrl_c_stores_what_was_captured_and_leaves_no_process(folder: Path, tiny_weights: Path) -> None:
    write_clip(folder / "street.mp4", frames=3000)
    words = ("run", "street.mp4", "--model", tiny_weights, "--json", "--batch-size", "1")
    with running(folder, words) as run:
        wait_for_frames(folder, 5)
        family = psutil.Process(run.pid).children(recursive=True)
        os.kill(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    summary = json.loads(out)
    assert (summary["interrupted"], summary["balanced"]) == (True, True)
    assert 5 <= summary["frames_stored"] < 3000
    assert summary["frames_stored"] == stored_frames(folder)
    assert "Traceback" not in err
    assert psutil.wait_procs(family, timeout=10)[1] == []
