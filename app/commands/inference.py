"""`framewatch models bench` and `export`: how fast detectors run, and how they run elsewhere."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.options import check_output, with_settings
from app.tables import print_hint, stderr
from core.errors import SettingsError
from core.settings import Settings

if TYPE_CHECKING:
    from models.catalogue import WeightsEntry
    from models.network import DetectionNetwork


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What `models bench` measures."""

    batches: Annotated[str, typer.Option("--batches", metavar="N,N,..", help="Batch sizes.")] = "1,4,8,16"
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Rounds of all contenders; the median is shown.")
    ] = 5
    backbones: Annotated[
        str, typer.Option("--backbones", metavar="NAME,NAME,..", help="Bodies to compare; empty for none.")
    ] = "resnet50,dpn92"
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FILE", help="Compare the AP on COCO annotations, too.")
    ] = None
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Folder of the pictures or videos that FILE names."),
    ] = None
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Score so many pictures only, evenly spread.")
    ] = None
    exported: Annotated[
        Path | None, typer.Option("--exported", metavar="FILE", help="Its ONNX file: measured beside it.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines.")] = False


@with_settings("model", "device", "precision", "compile", "batch_size", "canvas")
def bench(settings: Settings, options: BenchOptions) -> None:
    """Measures ms per frame, beside plain PyTorch, torchvision and timm. Takes about three minutes.

    The detector of --model as workers run it, against the same network in plain eager float32 and against
    its bare backbone; backbones against torchvision's and timm's own in the same mode. All take turns in
    every round; figures are medians. Quiet the machine first.

    framewatch models bench
    framewatch models bench --compile --batches 8 --backbones "" --json
    framewatch models bench --data val.json --images pictures/
    framewatch models bench --exported resnet50_thin_fpn_int8.onnx --batches 8
    """
    from app.bench_tables import print_bench
    from app.model_bench import Plan, show_progress
    from app.model_bench import bench as measure

    plan = Plan(
        tuple(_whole_numbers(options.batches)),
        options.rounds,
        tuple(name for name in options.backbones.split(",") if name),
        options.data,
        options.images,
        options.limit,
        options.exported,
    )
    with show_progress() as progress:
        report = measure(settings, plan, progress)
    if options.as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print_bench(report)


def _whole_numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdigit() and int(word) > 0 for word in words):
        raise SettingsError(f"--batches: expected batch sizes such as 1,4,8,16; got {text!r}")
    return [int(word) for word in words]


@with_settings("model")
def export(
    settings: Settings,
    to: Annotated[str, typer.Option("--to", metavar="onnx|torchscript", help="Format of the file.")] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to (default: after the weights' name)."),
    ] = None,
    int8: Annotated[
        str | None,
        typer.Option(
            "--int8",
            metavar="SOURCE",
            help="8-bit integers, fitted to these pictures: a folder of them, or a video.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines.")] = False,
) -> None:
    """Writes a detector of framewatch's own for other runtimes, and compares it with the network first.

    Batch size and the pictures' height and width are free. A worker takes an ONNX file as its --model.
    With --int8 it is faster on CPUs without bf16; give it a video or pictures of your own cameras.

    framewatch models export --to onnx -o street.onnx
    framewatch models export --int8 street.mp4 && framewatch up --model resnet50_thin_fpn_int8.onnx
    framewatch models export --model my-weights.safetensors --to torchscript
    """
    from models.detector import load_network
    from models.export import ExportFormat, default_path
    from models.export import export as write

    if to not in {one.value for one in ExportFormat}:
        raise SettingsError(f"--to: expected onnx or torchscript, got {to!r}")
    network, entry = load_network(settings.model_name)
    format_ = ExportFormat(to)
    if int8 is not None and to != "onnx":
        raise SettingsError(f"--int8: expected --to onnx, got {to}")
    path = output or default_path(entry, format_, int8=int8 is not None)
    check_output(path, ".onnx" if to == "onnx" else None)
    if int8 is not None:
        _export_int8(network, entry, int8, path, as_json=as_json)
        return
    report = write(network, entry, format_, path)
    if as_json:
        facts = {
            "path": str(report.path),
            "bytes": report.path.stat().st_size,
            "score_difference": report.score_difference,
            "box_difference_px": report.box_difference_px,
        }
        print(json.dumps(facts, indent=2))
        return
    print(report.path)
    print_hint(
        f"{report.path.stat().st_size / 1e6:.1f} MB; scores within {report.score_difference:.1g} and boxes "
        f"within {report.box_difference_px:.1g} pixels of the network's own"
    )


def _export_int8(
    network: "DetectionNetwork", entry: "WeightsEntry", source: str, path: Path, *, as_json: bool
) -> None:
    from app.offline_detection import sample_pictures
    from models.export import export_int8

    with stderr().status("fitting 8-bit integers to the pictures, and comparing; a minute or two"):
        report = export_int8(network, entry, sample_pictures(source, max(entry.canvas)), path)
    size = path.stat().st_size
    if as_json:
        print(json.dumps({**asdict(report), "path": str(path), "bytes": size}, indent=2))
        return
    print(path)
    print_hint(
        f"{size / 1e6:.1f} MB; finds {report.found} of the network's {report.objects} objects in "
        f"{report.pictures} pictures, and {report.added} others"
    )
