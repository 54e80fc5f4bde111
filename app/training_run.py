"""What a finished training run leaves in its folder: configuration, curves, pictures, and a card."""

import csv
import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import cv2

from app.annotate import draw_boxes, labelled_boxes
from core.sampling import spread_evenly
from models.catalogue import read_card
from models.detector import Detector, load_detector
from models.training.config import TrainingConfig
from models.training.dataset import DetectionDataset, read_coco
from models.training.evaluation import EvaluationReport, evaluate_dataset
from models.training.plots import draw_evaluation, draw_training
from models.training.trainer import LOG

CONFIG = "config.json"
EXAMPLES = 8
SCORED_PICTURES = 500
"""At most so many pictures are scored at the end of a run."""
SCORE = 0.01
CARD_MARK = "<!-- Written by framewatch models train; take this line out to keep changes. -->"


def write_config(config: TrainingConfig) -> None:
    """`config.json`: all that the run depends on."""
    config.work_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"command": command_line(), **asdict(config)}, indent=2, default=str)
    (config.work_dir / CONFIG).write_text(text + "\n", encoding="utf-8")


def command_line() -> str:
    """What was typed."""
    return shlex.join(["framewatch", *sys.argv[1:]])


def finish_run(config: TrainingConfig) -> EvaluationReport:
    """Scores the written weights on the validation pictures, or without any on those it was trained on.

    Writes training.png, precision-recall.png, confusion.png and examples/ into the run's folder, and a card
    beside the weights.
    """
    learned = read_coco(config.train_json, config.images_dir, config.categories)
    scored = learned
    if config.val_json is not None:
        scored = read_coco(config.val_json, config.val_images_dir or config.images_dir, config.categories)
    detector = load_detector(config.output, config.device, score_threshold=SCORE)
    threshold = read_card(config.output).score_threshold
    report = evaluate_dataset(detector, scored, limit=SCORED_PICTURES, score_threshold=threshold)
    draw_evaluation(report, config.work_dir)
    rows = read_log(config.work_dir / LOG)
    if rows:
        draw_training(rows, config.work_dir / "training.png")
    draw_examples(detector, scored, threshold, config.work_dir / "examples")
    write_card(config, learned, report)
    return report


def read_log(path: Path) -> list[dict[str, float | None]]:
    """The rows of log.csv; of steps that were taken again after a kill, the last ones."""
    if not path.is_file():
        return []
    by_step: dict[float, dict[str, float | None]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_step[float(row["step"])] = {name: float(text) if text else None for name, text in row.items()}
    return [by_step[step] for step in sorted(by_step)]


def draw_examples(detector: Detector, dataset: DetectionDataset, threshold: float, folder: Path) -> None:
    """A few pictures, evenly spread, with what the detector finds in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in spread_evenly(len(dataset), EXAMPLES):
        image = dataset.image(number)
        found = detector.predict([image])[0]
        drawn = draw_boxes(image, labelled_boxes(found.select(found.scores >= threshold)))
        cv2.imwrite(str(folder / f"{dataset.pictures[number].path.stem}-{number}.jpg"), drawn)


def write_card(config: TrainingConfig, learned: DetectionDataset, report: EvaluationReport) -> None:
    """A page of markdown beside the weights; one that a person has taken over is left alone."""
    path = config.output.with_suffix(".md")
    if path.is_file() and CARD_MARK not in path.read_text(encoding="utf-8"):
        return
    entry = read_card(config.output)
    boxes = Counter(int(label) for picture in learned.pictures for label in picture.labels)
    names = ", ".join(f"{name} ({boxes[label]})" for label, name in enumerate(config.categories))
    width, height = config.canvas
    scored = config.val_json or config.train_json
    warning = "" if config.val_json is not None else "**These are the pictures it was trained on.** "
    lines = [
        CARD_MARK,
        f"# {entry.name}",
        "",
        "| | |",
        "|---|---|",
        f"| classes (boxes learned from) | {names} |",
        f"| network | {entry.architecture} |",
        f"| canvas | {width}x{height} |",
        f"| default score threshold | {entry.score_threshold:g} |",
        f"| data | {len(learned)} pictures of `{config.train_json}` |",
        f"| started from | {config.start_from or 'noise'} |",
        f"| licence | {entry.licence} |",
        f"| sha256 | {entry.sha256} |",
        f"| written | {datetime.now(UTC):%Y-%m-%d} |",
        "",
        f"{warning}Average precision on {report.pictures} pictures of `{scored}`, and precision and recall "
        "at the default threshold:",
        "",
        "| class | boxes | AP50 | AP | precision | recall |",
        "|---|---|---|---|---|---|",
    ]
    for one, counts in zip(report.classes, report.operating_point.classes, strict=True):
        figures = (one.ap50, one.ap, counts.precision, counts.recall)
        lines.append(f"| {one.name} | {one.boxes} | {' | '.join(map(_figure, figures))} |")
    lines += [f"| **mean** | | {_figure(report.ap50)} | {_figure(report.ap)} | | |", ""]
    lines += ["```", command_line(), "```", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _figure(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
