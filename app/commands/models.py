"""`framewatch models`: the detectors themselves, without cameras, queue or database."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.commands import averaging, inference, labelling, training
from app.options import with_settings
from app.tables import Column, print_hint, print_table
from core.settings import Settings

group = typer.Typer(no_args_is_help=True, help="List, try, train, score, measure and export detectors.")

NameOption = Annotated[
    str | None, typer.Argument(metavar="[NAME|FILE]", help="Weights (default: the --model setting).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


@group.command(name="list")
@with_settings()
def list_(settings: Settings, as_json: JsonOption = False) -> None:
    """Lists the detectors known by name, and the backbones that training can build others on.

    A command that takes a model also takes a weights file. GFLOPs count a multiplication with its addition
    as one, for one picture of the canvas; parameters are in millions.

    framewatch models list
    framewatch models list --json | jq -r '.[] | select(.kind == "detector").name'
    """
    from app.model_catalogue import describe_backbones, describe_models
    from app.model_tables import print_backbones, print_detectors

    detectors, backbones = describe_models(settings.model_name), describe_backbones()
    if as_json:
        rows = [asdict(row) for row in detectors] + [asdict(row) for row in backbones]
        print(json.dumps(rows, indent=2))
        return
    print_detectors(detectors)
    print()
    print_backbones(backbones)


@group.command()
@with_settings("model")
def show(settings: Settings, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Shows what is known about weights: architecture, classes, canvas, licence, where they come from.

    framewatch models show
    framewatch models show my-weights.safetensors --json
    """
    from app.model_catalogue import describe_weights

    facts = describe_weights(name or settings.model_name)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        rows = [
            (key, ", ".join(value) if isinstance(value, list) else str(value)) for key, value in facts.items()
        ]
        print_table((Column("what"), Column("value", flexible=True)), rows)


@group.command()
@with_settings("model", "device", "precision", "compile", "batch_size", "score_threshold", "canvas")
def detect(
    settings: Settings,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A picture, a folder of pictures, or a video.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Annotated picture (.jpg, .png), video (.mp4) or folder."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the detections, a JSON object per picture.")
    ] = False,
) -> None:
    """Detects in a picture, a folder or a video and draws what was found. Needs no queue and no database.

    framewatch models detect street.jpg -o found.jpg
    framewatch models detect street.mp4 -o found.mp4 --score-threshold 0.4
    framewatch models detect pictures/ -o found/ --json > found.jsonl
    """
    from app.offline_detection import detect_offline

    summary = detect_offline(source, output, settings, as_json=as_json)
    print_hint(summary)


group.command()(labelling.label)
group.command()(training.train)
group.command()(averaging.average)
group.command(name="eval")(training.evaluate)
group.command()(inference.bench)
group.command()(inference.export)
