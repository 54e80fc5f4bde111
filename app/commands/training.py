"""`framewatch models train` and `eval`: detectors of a person's own, and how good they are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.filters import split_names
from app.options import check_suffix, with_settings
from app.tables import Column, print_hint, print_table
from core.settings import Precision, Settings

if TYPE_CHECKING:
    from models.training.average_precision import ClassReport
    from models.training.config import TrainingConfig
    from models.training.evaluation import EvaluationReport

WARM_UP_STEPS = 200
"""Or a tenth of a shorter run."""
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a training run is told."""

    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="FILE|DIR", help="COCO annotations (.json), or a folder of them and pictures."
        ),
    ]
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Weights to write (.safetensors).")
    ]
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of the pictures (default: images/ beside FILE)."
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE",
            help="Weights to go on from (known ones or a file), or BACKBONE[_NECK] of a fresh network.",
        ),
    ] = None
    val: Annotated[
        Path | None, typer.Option("--val", metavar="FILE", help="COCO annotations to score on.")
    ] = None
    val_images: Annotated[
        Path | None,
        typer.Option("--val-images", metavar="DIR", help="Folder of their pictures (default: --images)."),
    ] = None
    classes: Annotated[
        str | None, typer.Option("--classes", help="Class names, parted by commas (default: those of FILE).")
    ] = None
    exclusive: Annotated[
        list[str] | None,
        typer.Option(
            "--exclusive",
            metavar="CLASS,CLASS",
            help="Classes of which one object can be only one; repeat it (default: those of --model).",
        ),
    ] = None
    backbone: Annotated[str, typer.Option("--backbone", help="Backbone of the network, without --model.")] = (
        "resnet50_thin"
    )
    neck: Annotated[str, typer.Option("--neck", help="Neck of the network, without --model: fpn or csp.")] = (
        "fpn"
    )
    neck_channels: Annotated[int, typer.Option("--neck-channels", min=8, help="Channels of the neck.")] = 64
    canvas: Annotated[
        str | None,
        typer.Option(
            "--canvas",
            metavar="WxH",
            help="Size that pictures are scaled to, multiples of 32 (default: grows to 512x384).",
        ),
    ] = None
    paste: Annotated[
        int,
        typer.Option(
            "--paste",
            min=0,
            metavar="N",
            help="Paste up to N objects cut out of other pictures into one; what --classes leaves out, too.",
        ),
    ] = 0
    distractors: Annotated[
        int,
        typer.Option(
            "--distractors",
            min=0,
            metavar="N",
            help="Draw up to N posts, signs, bicycles and the like, if no class of yours, into a picture.",
        ),
    ] = 0
    freeze_stem: Annotated[
        bool, typer.Option("--freeze-stem", help="Keep what comes before the backbone's first stage.")
    ] = False
    freeze_batch_norm: Annotated[
        bool,
        typer.Option("--freeze-batch-norm", help="Keep all batch norms: for small batches, few pictures."),
    ] = False
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--start-from", metavar="FILE", help="Weights of a detector or a backbone, or open-nsfw.onnx."
        ),
    ] = None
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            metavar="FILE",
            help="A trained detector of the same neck to learn from, where a backbone starts from noise.",
        ),
    ] = None
    teacher_weight: Annotated[
        float, typer.Option("--teacher-weight", min=0.0, help="Weight of the teacher beside the labels.")
    ] = 6.0
    source_weights: Annotated[
        list[str] | None,
        typer.Option(
            "--source-weight",
            metavar="SOURCE=WEIGHT",
            help="How often pictures of a `source` are drawn, others being 1; repeat it for more.",
        ),
    ] = None
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Length in batches.")] = None
    hours: Annotated[float | None, typer.Option("--hours", min=0.001, help="Or length in hours.")] = None
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures per step.")] = 8
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Highest learning rate.")] = 1e-3
    save_every: Annotated[int, typer.Option("--save-every", min=1, help="Steps between checkpoints.")] = 200
    validate_every: Annotated[
        int, typer.Option("--validate-every", min=0, help="Steps between scores on --val; 0: at the end.")
    ] = 1000
    score_threshold: Annotated[
        float,
        typer.Option(
            "--score-threshold",
            min=0.0,
            max=1.0,
            help="Least score of a detection; travels with the weights.",
        ),
    ] = 0.35
    licence: Annotated[
        str, typer.Option("--licence", help="What the weights may be used for; travels with them.")
    ] = "unstated"
    source: Annotated[
        str, typer.Option("--source", help="Where data and weights come from; travels with the weights.")
    ] = "trained with framewatch models train"
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            metavar="DIR",
            help="Checkpoint and log; a run found there goes on (default: OUT.run).",
        ),
    ] = None

    def config(self, settings: Settings) -> "TrainingConfig":
        """The trainer's own form of it. Raises SettingsError for what it cannot train on or write."""
        from app.training_data import categories_of, find_training_data
        from app.training_options import (
            StartingPoint,
            choose_start,
            parse_canvas,
            parse_exclusive,
            parse_source_weights,
            with_additions,
        )
        from models.training.config import TrainingConfig

        check_suffix(self.output, ".safetensors")
        data = find_training_data(self.data)
        start = StartingPoint(self.backbone, self.neck, self.neck_channels)
        if self.model is not None:
            start = choose_start(self.model, self.neck_channels)
        classes = split_names([self.classes]) if self.classes else categories_of(data.train)
        return TrainingConfig(
            train_json=data.train,
            images_dir=self.images or data.images,
            output=self.output,
            work_dir=self.work_dir or self.output.with_suffix(".run"),
            categories=classes,
            exclusive=parse_exclusive(self.exclusive or (), classes) or start.exclusive,
            iou_threshold=start.iou_threshold,
            part_share=start.part_share,
            score_threshold=self.score_threshold,
            licence=self.licence,
            source=self.source,
            val_json=self.val or data.val,
            val_images_dir=self.val_images or (None if self.val or self.images else data.val_images),
            backbone=start.backbone,
            neck=start.neck,
            neck_channels=start.neck_channels,
            start_from=self.start_from or start.weights,
            freeze_stem=self.freeze_stem,
            freeze_batch_norm=self.freeze_batch_norm,
            teacher=self.teacher,
            teacher_weight=self.teacher_weight,
            source_weights=parse_source_weights(self.source_weights or ()),
            steps=self.steps,
            hours=self.hours,
            warm_up_steps=WARM_UP_STEPS if self.steps is None else min(WARM_UP_STEPS, 1 + self.steps // 10),
            save_every=self.save_every,
            validate_every=self.validate_every,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            device=settings.device,
            bf16=settings.precision is not Precision.FP32,
            **with_additions(parse_canvas(self.canvas) if self.canvas else {}, self.paste, self.distractors),
        )


@with_settings("device", "precision")
def train(settings: Settings, options: TrainOptions) -> None:
    """Trains a detector on COCO-format pictures; stop it at any time, the same command goes on from there.

    An image may list `labelled_classes`: the loss then leaves the other classes out. Several devices or
    machines train together through torchrun.

    framewatch models train --data mine/ --model resnet50_thin_fpn --hours 2 -o mine.safetensors
    framewatch models train --data train.json --images pictures/ --val val.json --hours 2 -o mine.safetensors
    """
    from app.model_training import train_detector

    path = train_detector(options.config(settings))
    if path is not None:
        print_hint(
            f"weights written to {path}; try them with `framewatch models detect SOURCE --model {path}`"
        )


@with_settings("model", "device", "precision", "batch_size", "score_threshold", "canvas")
def evaluate(
    settings: Settings,
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="COCO annotations to score on (.json).")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="Folder of the pictures or videos that FILE names (default: images/ beside FILE).",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Score so many pictures only, evenly spread.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for precision-recall.png and confusion.png."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Scores a detector: COCO's average precision per class and size, and what it does at its threshold.

    Classes are judged where `labelled_classes` names them. At the threshold it counts what is right, objects
    with two boxes, and ghosts: detections that stay at one place of a video where nothing is.

    framewatch models eval --data val.json --images pictures/ -o scores/
    framewatch models eval --data val.json --model my-weights.safetensors --json
    """
    from app.model_training import evaluate_detector
    from models.training.plots import draw_evaluation

    report = evaluate_detector(data, images, limit, settings)
    drawn = draw_evaluation(report, output) if output is not None else ()
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
        return
    _print_scores(report)
    for path in drawn:
        print_hint(f"drawn: {path}")


def _print_scores(report: "EvaluationReport") -> None:
    point = report.operating_point
    columns = (
        Column("class"),
        Column("pictures", numeric=True),
        Column("boxes", numeric=True),
        *(Column(name, digits=3) for name in ("AP", "AP50")),
        *(Column(name, digits=3, optional=True) for name in ("AP small", "medium", "large")),
        *(Column(name, digits=3) for name in ("precision", "recall")),
    )
    rows: list[tuple[object, ...]] = [
        (one.name, one.pictures, one.boxes, *_averages(one), counts.precision, counts.recall)
        for one, counts in zip(report.classes, point.classes, strict=True)
    ]
    together = point.together([counts.name for counts in point.classes])
    boxes = sum(one.boxes for one in report.classes)
    rows.append(("mean", report.pictures, boxes, *_averages(report), together.precision, together.recall))
    print_table(columns, [[None if value != value else value for value in row] for row in rows])
    print_hint(
        f"at threshold {point.score_threshold:g} (the last row counts all classes as one): "
        f"{point.doubled} detections too many of one object, {len(point.ghosts)} ghosts"
    )
    for ghost in point.ghosts:
        x1, y1, x2, y2 = ghost.box
        print_hint(
            f"ghost: a {ghost.class_name} at {x1:.0f},{y1:.0f},{x2:.0f},{y2:.0f} "
            f"on {ghost.pictures} frames of {ghost.video}"
        )
    print_hint(
        f"{report.ms_per_picture:.1f} ms per picture; mean AP leaves out classes with fewer than 30 boxes"
    )


def _averages(report: "EvaluationReport | ClassReport") -> tuple[float, ...]:
    return report.ap, report.ap50, report.ap_small, report.ap_medium, report.ap_large
