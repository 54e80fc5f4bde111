"""`framewatch demo`: the whole pipeline, shown on a real clip."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.run import end_run, print_summary, quieten_cameras
from app.options import with_settings
from app.tables import Column, infer_columns, print_table
from core.settings import Settings

if TYPE_CHECKING:
    from app.demo import DemoResult

ORIGIN = (
    "The demo's two street clips are test data of the PyPI package otanalytics 0.6.13 (GPL-3.0), fetched by "
    "pip; they are used as data on this machine and not redistributed."
)


@with_settings(
    *("redis_url", "database_url", "model", "device", "precision", "batch_size", "score_threshold", "canvas"),
    "data_dir",
)
def demo(
    settings: Settings,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="A video, folder of pictures or camera of your own."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, help="How long to watch a live camera.")
    ] = 20.0,
) -> None:
    """Shows the whole pipeline on a real clip, ends by itself, and prints what is in the database then.

    Without SOURCE it fetches two street clips of 3 seconds with pip (0.9 MB) and treats them as two cameras.

    framewatch demo
    framewatch demo street.mp4
    framewatch demo rtsp://192.0.2.10/stream1 --seconds 60
    """
    from app.demo import run_demo

    quieten_cameras(settings)
    if source is None:
        print(ORIGIN, flush=True)
    result = run_demo(source, seconds, settings)
    print_demo(result)
    end_run(result.summary)


def print_demo(result: "DemoResult") -> None:
    """The ledger, rows read back with SQL, counts, the picture, and how to go on."""
    print("\nEvery frame is accounted for:")
    print_summary(result.summary)
    print("\nThe best detections, read back with SQL:\n")
    print("\n".join(f"  {line}" for line in result.sql.splitlines()), end="\n\n")
    print_table(
        [
            Column(column.name, digits=_DIGITS.get(column.name), numeric=column.numeric)
            for column in infer_columns(result.columns, result.rows)
        ],
        result.rows,
    )
    print("\nDetections per class and camera:")
    columns = (Column("class"), Column("camera"), Column("detections", numeric=True))
    print_table(columns, [(row.class_name, row.camera, row.count) for row in result.counts])
    if result.picture is not None:
        print(f"\nAnnotated picture: {result.picture}")
    print(f'\nAsk it yourself: framewatch sql --database-url {result.summary.database_url} "SELECT ..."')


_DIGITS = {"score": 2, "x": 1, "y": 1, "width": 1, "height": 1}
