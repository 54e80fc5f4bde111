"""How fast detectors and backbones run here, against plain PyTorch and other libraries."""

import platform
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.model_training import EVALUATION_SCORE
from app.tables import stderr
from app.training_data import default_images
from core.errors import SettingsError
from core.process_memory import keep_freed_memory
from core.settings import Settings
from models.architecture import Architecture
from models.backbones import backbone_info
from models.catalogue import WeightsEntry
from models.detector import load_network
from models.device import choose_device, choose_precision
from models.engine import Execution
from models.network import DetectionNetwork
from models.one_stage import CanvasDetector, OneStageDetector
from models.onnx_detector import load_onnx_detector
from models.reference_bodies import reference_body
from models.speed import (
    EAGER,
    EXPORTED,
    OURS_READY,
    PLAIN,
    SERVED,
    Contender,
    PlainEngine,
    Timing,
    body_contenders,
    detector_contenders,
    exported_contender,
    measure,
    times_as_fast,
)
from models.training.evaluation import evaluate

DEFAULT_BATCHES = (1, 4, 8, 16)
DEFAULT_BODIES = ("resnet50", "dpn92")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often."""

    batches: tuple[int, ...] = DEFAULT_BATCHES
    rounds: int = 5
    bodies: tuple[str, ...] = DEFAULT_BODIES
    data: Path | None = None
    images: Path | None = None
    limit: int | None = None
    exported: Path | None = None
    """An ONNX file of the network."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one contender is as another, at each batch size."""

    what: str
    by_batch: dict[int, float]


@dataclass(frozen=True, slots=True)
class Precision:
    """COCO's average precision of the same weights in two ways of running."""

    what: str
    ap: float
    ap50: float


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured, on which machine."""

    machine: dict[str, Any]
    timings: tuple[Timing, ...]
    ratios: tuple[Ratio, ...]
    precisions: tuple[Precision, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        rows = [
            {
                "subject": timing.contender.subject,
                "implementation": timing.contender.implementation,
                "precision": timing.contender.precision,
                "batch": timing.batch,
                "ms_per_frame": round(timing.ms_per_frame, 3),
                "rounds_ms": [round(value, 3) for value in timing.rounds_ms],
            }
            for timing in self.timings
        ]
        ratios = [
            {
                "what": one.what,
                "times_as_fast": {batch: round(value, 3) for batch, value in one.by_batch.items()},
            }
            for one in self.ratios
        ]
        precisions = [
            {"what": one.what, "ap": round(one.ap, 4), "ap50": round(one.ap50, 4)} for one in self.precisions
        ]
        return {"machine": self.machine, "timings": rows, "ratios": ratios, "average_precision": precisions}


def bench(settings: Settings, plan: Plan, progress: Callable[[float], None]) -> BenchReport:
    """Measures the detector of the settings, and the bodies of the plan. Raises UsageError leaves."""
    if not plan.batches or min(plan.batches) < 1 or plan.rounds < 1:
        raise SettingsError("expected batches and rounds from 1 up")
    device = choose_device(settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    execution = Execution(device, choose_precision(settings.precision.value, device), settings.compile)
    network, entry = load_network(settings.model_name)
    entry = entry.adjusted(None, settings.canvas_size)
    assert isinstance(entry.architecture, Architecture)
    contenders = detector_contenders(network, entry, execution)
    if plan.exported is not None:
        exported = load_onnx_detector(plan.exported, settings.device, canvas=entry.canvas)
        contenders.append(exported_contender(exported, entry))
    own = entry.architecture.backbone
    if own not in plan.bodies and (reference := reference_body(own)) is not None:
        contenders += body_contenders(own, entry.canvas, execution, reference)
    for name in plan.bodies:
        side = backbone_info(name).side
        contenders += body_contenders(name, (side, side), execution, reference_body(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile has much to say on its way
        timings = tuple(measure(contenders, plan.batches, plan.rounds, progress))
    precisions = _score(network, entry, execution, plan, settings.batch_size)
    return BenchReport(describe_machine(execution), timings, tuple(_ratios(timings)), precisions)


def describe_machine(execution: Execution) -> dict[str, Any]:
    """What figures depend on."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        processor = found[1] if found else processor
    return {
        "processor": processor,
        "threads": torch.get_num_threads(),
        "device": str(execution.device),
        "precision": str(execution.dtype).removeprefix("torch."),
        "compile": execution.compile,
        "torch": torch.__version__,
    }


def _ratios(timings: Sequence[Timing]) -> list[Ratio]:
    """The detector against plain float32, and each body against the other library's in the same mode."""
    contenders = {}
    for one in (timing.contender for timing in timings):
        contenders[one.subject, one.implementation, one.precision] = one
    ratios = []
    for (subject, implementation, precision), contender in contenders.items():
        if implementation in (SERVED, EXPORTED):
            how = "by ONNX Runtime" if implementation == EXPORTED else "as workers run it"
            what = f"{subject}: {precision} {how}, against plain float32"
            other = contenders[subject, PLAIN, "fp32"]
            ratios.append(Ratio(what, _times_as_fast(contender, other, timings)))
        elif implementation.endswith(EAGER) and not implementation.startswith("ours"):
            for kind in (f"ours{EAGER}", OURS_READY):
                ours = contenders.get((subject, kind, precision))
                if ours is not None:
                    what = f"{subject}: {kind}, against {implementation}, {precision}"
                    ratios.append(Ratio(what, _times_as_fast(ours, contender, timings)))
    return ratios


def _times_as_fast(own: Contender, other: Contender, timings: Sequence[Timing]) -> dict[int, float]:
    mine = {timing.batch: timing for timing in timings if timing.contender is own}
    theirs = {timing.batch: timing for timing in timings if timing.contender is other}
    return {batch: times_as_fast(mine[batch], theirs[batch]) for batch in mine}


def _score(
    network: DetectionNetwork, entry: WeightsEntry, execution: Execution, plan: Plan, batch_size: int
) -> tuple[Precision, ...]:
    if plan.data is None:
        return ()
    detectors: dict[str, CanvasDetector] = {
        f"{str(execution.dtype).removeprefix('torch.')} as workers run it": OneStageDetector(
            network, entry, execution, EVALUATION_SCORE
        ),
        "plain float32": CanvasDetector(PlainEngine(network, execution.device), entry, EVALUATION_SCORE),
    }
    if plan.exported is not None:
        exported = load_onnx_detector(plan.exported, score_threshold=EVALUATION_SCORE, canvas=entry.canvas)
        detectors[f"{exported.precision} by ONNX Runtime"] = exported
    images = plan.images or default_images(plan.data)
    found = []
    for what, detector in detectors.items():
        report = evaluate(detector, plan.data, images, batch_size=batch_size, limit=plan.limit)
        found.append(Precision(what, report.ap, report.ap50))
    return tuple(found)


@contextmanager
def show_progress() -> Iterator[Callable[[float], None]]:
    """A bar on a terminal for the share that is done; nothing elsewhere."""
    console = stderr()
    columns = (TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=1.0)
        yield lambda share: progress.update(task, completed=share)
