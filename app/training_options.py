"""Options of `framewatch models train` that need more than a type: networks, canvases, classes, weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.filters import split_names
from core.errors import ModelNotFoundError, SettingsError
from core.settings import parse_size
from models.architecture import Architecture
from models.backbones import list_backbones
from models.catalogue import (
    DEFAULT_IOU_THRESHOLD,
    WeightsEntry,
    get_weights,
    list_weights,
    read_card,
    weights_file,
)
from models.necks import list_necks
from models.training.batches import Phase
from models.training.schedule import DEFAULT_PHASES


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """A network to train, and what it knows before."""

    backbone: str
    neck: str
    neck_channels: int
    weights: Path | None = None
    """None starts from noise."""
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Groups of the classes of `weights` of which one object can be only one."""
    iou_threshold: float = DEFAULT_IOU_THRESHOLD
    part_share: float | None = None
    """Both as in a WeightsEntry."""


def choose_start(name: str, neck_channels: int) -> StartingPoint:
    """What --model names: known weights, a weights file, or BACKBONE or BACKBONE_NECK of a fresh network.

    Raises SettingsError for weights of another kind and ModelNotFoundError for an unknown name.
    """
    if name in list_weights():
        return _from_weights(get_weights(name), weights_file(name))
    if name.endswith(".safetensors"):
        return _from_weights(read_card(Path(name)), Path(name))
    known = list_backbones()
    if name in known:
        return StartingPoint(name, "fpn", neck_channels)
    for neck in list_necks():
        backbone = name.removesuffix(f"_{neck}")
        if backbone in known:
            return StartingPoint(backbone, neck, neck_channels)
    raise ModelNotFoundError(
        f"--model: expected weights ({', '.join(list_weights())}, or a .safetensors file), or a backbone "
        f"({', '.join(known)}) with or without _{' or _'.join(list_necks())}; got {name!r}"
    )


def _from_weights(entry: WeightsEntry, path: Path) -> StartingPoint:
    parts = entry.architecture
    if not isinstance(parts, Architecture):
        raise SettingsError(
            f"--model {entry.name}: expected a one-stage detector to train, got torchvision's"
        )
    return StartingPoint(
        parts.backbone,
        parts.neck,
        parts.neck_channels,
        path,
        entry.exclusive,
        entry.iou_threshold,
        entry.part_share,
    )


def parse_canvas(text: str) -> dict[str, Any]:
    """Fields of a TrainingConfig for a canvas WxH: the first phase shrinks it. Raises SettingsError."""
    try:
        size = parse_size(text)
    except ValueError as error:
        raise SettingsError(f"--canvas: {error}; got {text!r}") from None
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


def with_additions(fields: dict[str, Any], pasted: int, distractors: int) -> dict[str, Any]:
    """The same fields of a TrainingConfig, with up to so many things added to every picture."""
    phases = fields.get("phases", DEFAULT_PHASES)
    added = (
        replace(phase, strength=replace(phase.strength, pasted=pasted, distractors=distractors))
        for phase in phases
    )
    return {**fields, "phases": tuple(added)}


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


def parse_exclusive(words: Sequence[str], classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """CLASS,CLASS of every word: groups of classes that shut each other out. Raises SettingsError."""
    groups = tuple(split_names([word]) for word in words)
    seen: set[str] = set()
    for word, group in zip(words, groups, strict=True):
        unknown = next((name for name in group if name not in classes), None)
        if len(group) < 2 or unknown is not None or seen.intersection(group):
            raise SettingsError(
                f"--exclusive: expected two or more of {', '.join(classes)}, each in one group; got {word!r}"
            )
        seen.update(group)
    return groups
