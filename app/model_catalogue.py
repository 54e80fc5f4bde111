"""What is known about weights and backbones, without loading them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelNotFoundError, WeightsError
from models.architecture import Architecture
from models.catalogue import ONNX_SUFFIX, WeightsEntry, get_weights, list_weights, read_card


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A detector's line of `models list`."""

    name: str
    architecture: str
    classes: int
    canvas: str
    """Largest width x height of a landscape picture in the network."""
    licence: str
    available: str
    is_default: bool
    """Whether cameras that name no model get this one."""
    parameters: int | None = None
    gflops: float | None = None
    """At the canvas; a multiplication and its addition count as one."""
    source: str = "-"
    """Where the weights come from."""
    kind: str = "detector"


@dataclass(frozen=True, slots=True)
class BackboneRow:
    """A backbone's line of `models list`; training builds detectors on it."""

    name: str
    parameters: int
    """With its classifier."""
    gflops: float
    """At the canvas; a multiplication and its addition count as one."""
    canvas: str
    """Width x height of the pictures that it classifies."""
    channels: tuple[int, ...]
    """Of its feature levels, fine ones first."""
    strides: tuple[int, ...]
    """Input pixels per cell of each level."""
    source: str
    """Where weights come from that load as they are."""
    kind: str = "backbone"


def describe_models(default: str) -> list[ModelRow]:
    """All detectors that are known by name."""
    from models.figures import measure_detector  # with torch, which `models show` does without

    rows = []
    for name in list_weights():
        try:
            entry = get_weights(name)
        except WeightsError:
            rows.append(ModelRow(name, "-", 0, "-", "-", "missing or damaged", name == default))
            continue
        width, height = entry.canvas
        figures = measure_detector(entry)
        rows.append(
            ModelRow(
                name=name,
                architecture=str(entry.architecture),
                classes=len(entry.categories),
                canvas=f"{width}x{height}",
                licence=entry.licence,
                available=_availability(entry),
                is_default=name == default,
                parameters=figures.parameters,
                gflops=round(figures.gflops, 3),
                source=entry.source,
            )
        )
    return rows


def describe_backbones() -> list[BackboneRow]:
    """All backbones that a detector can stand on."""
    from models.backbones import backbone_info, list_backbones
    from models.figures import measure_backbone

    rows = []
    for name in list_backbones():
        info, figures = backbone_info(name), measure_backbone(name)
        rows.append(
            BackboneRow(
                name=name,
                parameters=figures.parameters,
                gflops=round(figures.gflops, 3),
                canvas=f"{info.side}x{info.side}",
                channels=tuple(level.channels for level in figures.features),
                strides=tuple(level.stride for level in figures.features),
                source=info.weights,
            )
        )
    return rows


def describe_weights(name_or_path: str) -> dict[str, Any]:
    """What weights say about themselves, as plain values. Raises ModelNotFoundError and WeightsError."""
    entry = find_weights(name_or_path)
    return {
        "name": entry.name,
        "architecture": str(entry.architecture),
        "categories": list(entry.categories),
        "canvas": f"{entry.canvas[0]}x{entry.canvas[1]}",
        "score_threshold": entry.score_threshold,
        "licence": entry.licence,
        "source": entry.source,
        "sha256": entry.sha256,
        "available": _availability(entry),
    }


def find_weights(name_or_path: str) -> WeightsEntry:
    """The description of a name or of a file that has one. Raises ModelNotFoundError and WeightsError."""
    if name_or_path in list_weights():
        return get_weights(name_or_path)
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        return read_card(path)
    if path.suffix == ONNX_SUFFIX:
        from models.onnx_detector import read_onnx_card  # with torch and ONNX Runtime

        return read_onnx_card(path)
    if path.is_file():
        raise WeightsError(
            f"{path}: expected a .safetensors or .onnx file, which describe themselves; got another kind"
        )
    raise ModelNotFoundError(
        f"model: expected one of {', '.join(list_weights())} or a weights file, got {name_or_path!r}"
    )


def require_model(name_or_path: str) -> None:
    """Raises ModelNotFoundError or WeightsError now for what a worker could not load some seconds later.

    Torch files do not describe themselves, so they are read whole.
    """
    path = Path(name_or_path)
    if path.suffix in (".pth", ".pt") and name_or_path not in list_weights():
        from models.detector import read_entry  # with torch

        read_entry(path)
        return
    find_weights(name_or_path)


def _availability(entry: WeightsEntry) -> str:
    if isinstance(entry.architecture, Architecture):
        return "shipped" if entry.name in list_weights() else "here"
    return f"downloaded on first use ({entry.source.split('/')[2]})"
