"""How long networks take, side by side: all take turns, so that none has the quiet minutes."""

import copy
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.types import Size
from models.backbones import create_backbone
from models.catalogue import WeightsEntry
from models.engine import Execution, speed_up
from models.network import DetectionNetwork, Predictions
from models.one_stage import CanvasDetector, OneStageDetector
from models.onnx_detector import OnnxDetector
from models.reference_bodies import ReferenceBody
from models.weights import load_state_dict

LEAST_FRAMES = 8
"""Small batches run several times in a row, so that each round times at least so many frames."""
SERVED = "detector, as workers run it"
EXPORTED = "detector, ONNX Runtime"
UNCOMPILED = "detector, not compiled"
PLAIN = "detector, plain eager"
BACKBONE = "its bare backbone"
OURS_READY = "ours, as workers run it"
EAGER = ", eager"
_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that works on batches."""

    subject: str
    """What it runs, and at which size."""
    implementation: str
    precision: str
    run: Callable[[int], object]
    """Takes the size of the batch; returns when the batch is done."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender at one batch size."""

    contender: Contender
    batch: int
    rounds_ms: tuple[float, ...]
    """Milliseconds per frame in each round."""

    @property
    def ms_per_frame(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds_ms)


def measure(
    contenders: Sequence[Contender],
    batches: Sequence[int],
    rounds: int,
    progress: Callable[[float], None] = lambda _share: None,
) -> list[Timing]:
    """Time every contender at every batch size, after one untimed run of each.

    One batch size after another, for oneDNN keeps a limited number of compiled operators; at each size all
    contenders run in every round, in ever new order, as the first of two equal networks warms the second's.
    `progress` hears the share that is done.
    """
    order = random.Random(0)
    timings, step = [], 0
    for batch in batches:
        rounds_ms: list[list[float]] = [[] for _ in contenders]
        for round_ in range(rounds + 1):
            repeats = max(1, LEAST_FRAMES // batch) if round_ else 1
            for index in order.sample(range(len(contenders)), len(contenders)):
                started = time.perf_counter()
                for _ in range(repeats):
                    contenders[index].run(batch)
                if round_:
                    rounds_ms[index].append(1000 * (time.perf_counter() - started) / (repeats * batch))
                step += 1
                progress(step / (len(batches) * (rounds + 1) * len(contenders)))
        timings += [
            Timing(contender, batch, tuple(own)) for contender, own in zip(contenders, rounds_ms, strict=True)
        ]
    return timings


def times_as_fast(timing: Timing, other: Timing) -> float:
    """By how much the first is faster: the median of the ratios of each round."""
    pairs = zip(timing.rounds_ms, other.rounds_ms, strict=True)
    return statistics.median(theirs / own for own, theirs in pairs)


class PlainEngine:
    """A detection network as PyTorch runs it by itself: float32, eager, batch norms in place."""

    multiple: int

    def __init__(self, network: DetectionNetwork, device: torch.device) -> None:
        self.device = device
        self.multiple = max(network.head.strides)
        self._network = network.eval().to(device)

    def __call__(self, pictures: Tensor) -> Predictions:
        """Predictions for BGR pictures, uint8 (B, H, W, 3)."""
        output = self._network(pictures.permute(0, 3, 1, 2).float().contiguous())
        return Predictions(output.logits, output.boxes)


def detector_contenders(
    network: DetectionNetwork, entry: WeightsEntry, execution: Execution
) -> list[Contender]:
    """A detector as workers run it, the same network as plain float32, and its bare backbone.

    Whole detectors start from pictures of the canvas's size, and end with boxes.
    """
    width, height = entry.canvas
    subject = f"{entry.name} at {width}x{height}"
    served = OneStageDetector(network, entry, execution)
    plain = CanvasDetector(PlainEngine(network, execution.device), entry)
    body = speed_up(network.backbone, execution)
    precision = _NAMES[execution.dtype]
    contenders = [
        Contender(subject, SERVED, precision, _predict(served, entry.canvas)),
        Contender(subject, PLAIN, "fp32", _predict(plain, entry.canvas)),
        Contender(subject, BACKBONE, precision, _forward(body, entry.canvas, execution)),
    ]
    if execution.compile:
        eager = Execution(execution.device, execution.dtype)
        uncompiled = OneStageDetector(network, entry, eager)
        contenders.insert(1, Contender(subject, UNCOMPILED, precision, _predict(uncompiled, entry.canvas)))
    return contenders


def exported_contender(detector: OnnxDetector, entry: WeightsEntry) -> Contender:
    """A detector of `models.export`, as workers run it, beside those of its network's entry."""
    width, height = entry.canvas
    subject = f"{entry.name} at {width}x{height}"
    return Contender(subject, EXPORTED, detector.precision, _predict(detector, entry.canvas))


def body_contenders(
    name: str, size: Size, execution: Execution, reference: ReferenceBody | None
) -> list[Contender]:
    """A classifier of ours and another library's with the same weights, in the same modes."""
    width, height = size
    subject = f"{name} at {width}x{height}"
    ours = create_backbone(name, include_top=True)
    others: list[tuple[str, nn.Module]] = []
    if reference is not None:
        load_state_dict(ours, reference.network.state_dict())
        others.append((reference.library, reference.network))
    single = Execution(execution.device, torch.float32)
    plain = {execution.dtype: execution, torch.float32: single}
    ready = _forward(speed_up(ours, execution), size, execution)
    contenders = [Contender(subject, OURS_READY, _NAMES[execution.dtype], ready)]
    for mode in plain.values():
        for owner, network in (("ours", ours), *others):
            run = _forward(_eager(network, mode), size, mode)
            contenders.append(Contender(subject, f"{owner}{EAGER}", _NAMES[mode.dtype], run))
    return contenders


def _eager(network: nn.Module, execution: Execution) -> nn.Module:
    """A copy in the mode's precision and channels_last, and nothing else."""
    moved = copy.deepcopy(network).eval().to(execution.device, execution.dtype)
    return moved.to(memory_format=torch.channels_last)


def _predict(detector: CanvasDetector, size: Size) -> Callable[[int], object]:
    pictures = _noise(size)

    def run(batch: int) -> object:
        return detector.predict([pictures] * batch)

    return run


def _forward(network: Any, size: Size, execution: Execution) -> Callable[[int], object]:
    picture = torch.from_numpy(_noise(size)).permute(2, 0, 1)[None]  # (1, 3, H, W), channels_last
    picture = (picture.to(execution.device).to(execution.dtype) - 128) / 64

    @torch.inference_mode()
    def run(batch: int) -> object:
        images = picture.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        output = network(images)
        if execution.device.type == "cuda":
            torch.cuda.synchronize(execution.device)
        return output

    return run


def _noise(size: Size) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture (H, W, 3) of coarse random patches, the same each time."""
    width, height = size
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width])
