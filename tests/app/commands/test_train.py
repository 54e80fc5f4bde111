"""`framewatch models train` as a person uses it: classes of their own, a kill, and a worker at the end."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest
import torch

from models.catalogue import read_card
from models.training.trainer import CHECKPOINT
from models.weights import read_state_dict
from storage.database import open_database
from storage.readonly_sql import run_readonly_sql
from tests.app.conftest import Cli, clean_environment, framewatch
from tests.models.training.pictures import write_shapes
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
PICTURES = 20
WORDS = ("--data", "shapes", "--model", "resnet50_thin_fpn", "--canvas", "96x96", "--learning-rate", "0.002")
LENGTH = ("--steps", "100", "--batch-size", "4", "--save-every", "5")


@pytest.fixture
def shapes(folder: Path) -> Path:
    """A folder as labelling tools export it: 20 pictures with a square and a disc each, and their boxes."""
    annotations = write_shapes(folder / "shapes", PICTURES)
    annotations.rename(annotations.with_name("train.json"))
    return folder / "shapes"


def saved_step(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["step"]) if checkpoint.is_file() else 0


def to_its_end(folder: Path, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """A process of its own; training may take minutes on a machine that is busy."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def train_until_killed(folder: Path, arguments: Sequence[str]) -> int:
    """Starts training and kills it with SIGKILL once step 20 is saved; returns the step that is saved."""
    checkpoint = folder / "mine.run" / CHECKPOINT
    with (folder / "killed.txt").open("w") as errors:
        process = subprocess.Popen(
            framewatch(*arguments), cwd=folder, env=clean_environment(OMP_NUM_THREADS="1"), stderr=errors
        )
    try:
        wait_until(
            lambda: saved_step(checkpoint) >= 20 or process.poll() is not None,
            timeout_s=150,
            what="20 steps are saved",
            poll_s=0.3,
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, (folder / "killed.txt").read_text()
    return saved_step(checkpoint)


def trained_tensors(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / CHECKPOINT, weights_only=True)
    assert state["step"] == 3
    return {name: tensor for name, tensor in state["network"].items() if tensor.is_floating_point()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_of_torchrun_learn_what_one_learns(
    cli: Cli, folder: Path, shapes: Path, tiny_weights: Path
) -> None:
    """With batch norms kept, gradients of a shared batch are those of a whole one."""
    arguments = ("models", "train", "--data", "shapes", "--model", str(tiny_weights), "--freeze-batch-norm")
    arguments += ("--canvas", "96x96", "--steps", "3", "--batch-size", "4", "--precision", "fp32")
    assert cli(*arguments, "-o", "one.safetensors").code == 0
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = to_its_end(folder, [*launcher, *framewatch(*arguments, "-o", "two.safetensors")[2:]])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("weights written to two.safetensors") == 1, "the leader alone writes and tells"
    one, two = trained_tensors(folder / "one.run"), trained_tensors(folder / "two.run")
    start = read_state_dict(tiny_weights)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-4, msg=name)
    names = [name for name in start if name.startswith("head.box_")]
    moved = max(float((one[name] - start[name]).abs().max()) for name in names)
    assert moved > 10 * 1e-4, "more was learned than the two may differ by"


def test_pasting_says_that_it_starts_and_what_it_needs(cli: Cli, shapes: Path, tiny_weights: Path) -> None:
    """Here the largest object has 32 pixels."""
    words = ("--data", shapes, "--model", tiny_weights, "--canvas", "96x96", "--steps", "1", "--paste", "2")
    done = cli("models", "train", *words, "-o", "mine.safetensors")
    assert done.code == 2
    told, error = done.err.splitlines()
    assert told == "cutting out up to 300 objects of each class before the first step"
    assert "expected objects of 40 pixels and more that stand free, got none" in error


def write_clip_of(pictures: Path, clip: Path) -> Path:
    """Every picture of the folder as a frame, at five a second."""
    with av.open(str(clip), "w") as container:
        container.metadata["creation_time"] = "2026-11-23T08:00:00.000000Z"
        stream = container.add_stream("libx264", rate=5)
        stream.pix_fmt = "yuv444p"
        stream.width = stream.height = 96
        stream.options = {"preset": "ultrafast", "crf": "10", "bf": "0"}
        for number in range(PICTURES):
            image = cv2.imread(str(pictures / f"{number}.png"))
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return clip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.redis
def test_two_classes_of_ones_own_are_learned_through_a_kill_and_found_by_a_worker(
    process: Cli, folder: Path, shapes: Path
) -> None:
    arguments = ("models", "train", *WORDS, *LENGTH, "-o", "mine.safetensors")
    step = train_until_killed(folder, arguments)
    assert step >= 20

    done = to_its_end(folder, framewatch(*arguments))
    assert done.returncode == 0, done.stderr
    assert f"going on after step {step} of mine.run" in done.stderr
    score = re.search(r"AP50 (\d\.\d+), AP .* on the pictures that it was trained on", done.stderr)
    assert score is not None
    assert float(score[1]) > 0.9
    left = {path.name for path in (folder / "mine.run").iterdir()}
    assert left == {
        "checkpoint.pt", "config.json", "confusion.png", "examples", "log.csv", "precision-recall.png",
        "training.png",
    }  # fmt: skip
    assert len(list((folder / "mine.run" / "examples").glob("*.jpg"))) >= 8
    assert json.loads((folder / "mine.run" / "config.json").read_text())["categories"] == ["square", "disc"]
    assert read_card(folder / "mine.safetensors").categories == ("square", "disc")
    assert "square (20), disc (20)" in (folder / "mine.md").read_text()

    write_clip_of(shapes, folder / "shapes.mp4")
    run = process("run", "shapes.mp4", "--model", "mine.safetensors", OMP_NUM_THREADS="1")
    assert run.code == 0, run.err
    database = open_database("sqlite:///framewatch.db")
    rows = run_readonly_sql(
        database, "SELECT class_name, count(DISTINCT frame_index) FROM detection_history GROUP BY class_name"
    ).rows
    database.close()
    seen = {str(name): int(str(frames)) for name, frames in rows}
    assert set(seen) == {"square", "disc"}
    assert min(seen.values()) >= 0.9 * PICTURES, "in nearly every frame"
