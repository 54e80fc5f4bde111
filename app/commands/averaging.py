"""`framewatch models average`: one detector out of several."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.options import check_output, with_settings
from app.tables import print_hint
from core.errors import SettingsError
from core.settings import Settings


@with_settings()
def average(
    settings: Settings,  # noqa: ARG001 - its log level is set by now
    weights: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE[=SHARE]", help="Weights of one network; SHARE counts beside the others', 1."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Weights to write (.safetensors).")
    ],
    score_threshold: Annotated[
        float | None,
        typer.Option(
            "--score-threshold",
            min=0.0,
            max=1.0,
            help="Least score of a detection; travels with the weights (default: the first's).",
        ),
    ] = None,
) -> None:
    """Averages the weights of detectors that were trained on from the same start; often better than each.

    Made for runs with --freeze-batch-norm that keep the classes. Half of the new and half of the old forgets
    less of what the old knew. The description is the first one's, with the sources and licences of all.

    framewatch models average mine.safetensors resnet50_thin_fpn -o milder.safetensors
    framewatch models average first.safetensors=3 second.safetensors -o mean.safetensors
    """
    from models.averaging import average_networks
    from models.weights import save_checkpoint

    check_output(output, ".safetensors")
    network, entry = average_networks(parse_shares(weights))
    if score_threshold is not None:
        entry = replace(entry, score_threshold=score_threshold)
    save_checkpoint(output, network, replace(entry, name=output.stem))
    print_hint(f"weights written to {output}; score them with `framewatch models eval --model {output}`")


def parse_shares(words: list[str]) -> dict[str, float]:
    """Shares by name from `NAME` and `NAME=SHARE`; SettingsError for a share that is no number."""
    shares: dict[str, float] = {}
    for word in words:
        name, _, text = word.rpartition("=") if "=" in word else (word, "", "1")
        try:
            share = float(text)
        except ValueError:
            raise SettingsError(f"{word}: expected NAME=SHARE with a number, got {text!r}") from None
        if name in shares:
            raise SettingsError(f"{name}: expected each weights once, got it twice; give it a larger share")
        shares[name] = share
    return shares
