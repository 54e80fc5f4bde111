"""`framewatch models label`: labels where nobody labelled, before training."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.filters import split_names
from app.options import check_output, with_settings
from app.tables import Column, print_hint, print_table
from core.settings import Settings


@with_settings("model", "device", "precision", "compile", "canvas")
def label(
    settings: Settings,
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="COCO annotations to complete (.json).")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="COCO annotations to write (.json).")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of the pictures (default: images/ beside --data)."
        ),
    ] = None,
    sure: Annotated[
        float, typer.Option("--sure", min=0.0, max=1.0, help="Score from which a find becomes a label.")
    ] = 0.55,
    doubtful: Annotated[
        float,
        typer.Option(
            "--doubtful", min=0.0, max=1.0, help="Score from which it becomes a region that is not judged."
        ),
    ] = 0.2,
    absent: Annotated[
        list[str] | None,
        typer.Option(
            "--absent",
            metavar="SOURCE=CLASS,CLASS",
            help="Classes of which a `source` shows none; repeat it for more.",
        ),
    ] = None,
    keep_unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-unlabelled", metavar="SOURCE", help="A `source` to leave as it is; repeat it for more."
        ),
    ] = None,
    sheets: Annotated[
        Path | None,
        typer.Option(
            "--sheets",
            metavar="DIR",
            help="New folder for pictures of all that was added, by source and class.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was added as JSON.")] = False,
) -> None:
    """Completes annotations with what a detector finds in pictures of which only some classes were labelled.

    Where a picture's `labelled_classes` leave a class out, a sure find becomes a label, and a doubtful one a
    crowd: neither learned nor called a mistake. Where they name it, a sure find that nobody labelled becomes
    a crowd. The detector's classes count as labelled afterwards. Look at the sheets before you learn from it.

    framewatch models label --data train.json --model resnet50_thin_fpn -o completed.json --sheets look/
    framewatch models label --data train.json --absent office=car --keep-unlabelled toll -o completed.json
    """
    from app.training_data import default_images
    from app.training_labels import LabelRequest, label_file, parse_absent
    from models.training.completion import Confidence

    check_output(output, None)
    request = LabelRequest(
        data,
        output,
        images or default_images(data),
        Confidence(sure, doubtful),
        parse_absent(absent or ()),
        split_names(keep_unlabelled),
        sheets,
    )
    rows, drawn = label_file(request, settings)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        columns = (
            Column("source"),
            Column("class"),
            Column("labels", numeric=True),
            Column("doubts", numeric=True),
        )
        print_table(columns, [(row.source or "-", row.class_name, row.labels, row.doubts) for row in rows])
    if sheets is not None:
        print_hint(f"{len(drawn)} sheets in {sheets}; take out of {output} what is wrong on them, by its id")
    print_hint(
        f"{sum(row.labels for row in rows)} labels and {sum(row.doubts for row in rows)} doubts added; learn "
        f"from it with `framewatch models train --data {output} --images {request.images}`"
    )
