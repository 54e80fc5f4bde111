"""Thin shells around the trainer and the evaluation: defaults, progress, and one line per error."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.tables import print_hint, stderr
from app.training_data import default_images
from app.training_run import finish_run, write_config
from core.errors import ModelNotFoundError, SettingsError
from core.settings import Settings
from models.architecture import Architecture
from models.backbones import list_backbones
from models.catalogue import get_weights, list_weights, shipped_file
from models.detector import load_detector
from models.necks import list_necks
from models.training.batches import Phase
from models.training.config import TrainingConfig, TrainingProgress
from models.training.evaluation import EvaluationReport, evaluate
from models.training.schedule import DEFAULT_PHASES
from models.training.trainer import train

EVALUATION_SCORE = 0.01
"""Precision and recall are judged over all scores; what lies below changes the third digit of AP at most."""
PLAIN_EVERY_STEPS = 50


def evaluate_detector(
    data: Path, images: Path | None, limit: int | None, settings: Settings
) -> EvaluationReport:
    """Scores the detector of the settings on a COCO file. Raises UsageError leaves."""
    words = settings.model_name, settings.device, settings.precision.value
    threshold = load_detector(*words, score_threshold=settings.score_threshold).score_threshold
    detector = load_detector(*words, score_threshold=EVALUATION_SCORE)
    detector.warm_up(settings.batch_size)
    return evaluate(
        detector,
        data,
        images or default_images(data),
        batch_size=settings.batch_size,
        limit=limit,
        score_threshold=threshold,
    )


def choose_network(name: str) -> tuple[str, str, int | None, Path | None]:
    """Backbone, neck, the neck's channels and start weights that --model names.

    Weights of the catalogue give their network and what it knows; BACKBONE and BACKBONE_NECK a fresh one.
    Raises SettingsError for weights of another kind and ModelNotFoundError for an unknown name.
    """
    if name in list_weights():
        parts = get_weights(name).architecture
        if not isinstance(parts, Architecture):
            raise SettingsError(f"--model {name}: expected a one-stage detector to train, got torchvision's")
        return parts.backbone, parts.neck, parts.neck_channels, shipped_file(name)
    known = list_backbones()
    if name in known:
        return name, "fpn", None, None
    backbone, _, neck = name.rpartition("_")
    if backbone in known and neck in list_necks():
        return backbone, neck, None, None
    raise ModelNotFoundError(
        f"--model: expected weights ({', '.join(list_weights())}), or a backbone ({', '.join(known)}) with "
        f"or without _{' or _'.join(list_necks())}; got {name!r}"
    )


def parse_canvas(text: str) -> dict[str, Any]:
    """Fields of a TrainingConfig for a canvas WxH: the first phase shrinks it. Raises SettingsError."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()) or min(int(width), int(height)) < 64:
        raise SettingsError(f"--canvas: expected WIDTHxHEIGHT from 64x64 up, such as 640x480; got {text!r}")
    size = (int(width), int(height))
    if size[0] % 32 or size[1] % 32:
        raise SettingsError(f"--canvas: expected multiples of 32, got {text}")
    small = (max(64, size[0] * 3 // 4 // 32 * 32), max(64, size[1] * 3 // 4 // 32 * 32))
    return {
        "canvas": size,
        "phases": tuple(
            Phase(phase.until, (small, size) if phase is DEFAULT_PHASES[0] else (size,), phase.strength)
            for phase in DEFAULT_PHASES
        ),
    }


def parse_source_weights(words: Sequence[str]) -> dict[str, float]:
    """SOURCE=WEIGHT of every word. Raises SettingsError."""
    weights = {}
    for word in words:
        source, _, weight = word.rpartition("=")
        try:
            weights[source] = float(weight)
        except ValueError:
            weights[source] = math.nan
        if not source or not weights[source] >= 0:
            raise SettingsError(
                f"--source-weight: expected SOURCE=WEIGHT with a weight from 0 up, got {word!r}"
            )
    return weights


def train_detector(config: TrainingConfig) -> Path | None:
    """Trains to the end of the schedule with a progress bar, or plain lines; returns the weights file.

    None in a process that helped another one, which writes the file.
    """
    if (config.steps is None) == (config.hours is None):
        raise SettingsError(
            "expected one of --steps and --hours, got " + ("neither" if config.steps is None else "both")
        )
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=1.0)

        def show(state: TrainingProgress) -> None:
            line = f"step {state.step}: loss {state.loss:.3f}, {state.pictures_per_s:.1f} pictures/s"
            progress.update(task, completed=state.share, description=line)
            if state.report is not None:
                print_hint(f"step {state.step}: AP50 {state.report.ap50:.3f}, AP {state.report.ap:.3f}")
            elif not console.is_terminal and state.step % PLAIN_EVERY_STEPS == 0:
                print_hint(f"{line}, {state.share:.0%}")

        write_config(config)
        path = train(config, show)
    if path is not None:
        report = finish_run(config)
        on = "validation pictures" if config.val_json else "the pictures that it was trained on"
        print_hint(
            f"AP50 {report.ap50:.3f}, AP {report.ap:.3f} on {on}; curves and pictures in {config.work_dir}"
        )
    return path
