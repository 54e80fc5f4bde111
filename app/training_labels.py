"""Completes a COCO file with what a detector finds, and says what was added."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from app.filters import split_names
from app.label_sheets import draw_sheets, prepare_folder
from app.model_catalogue import find_weights
from app.tables import stderr
from app.training_data import default_images
from core.errors import SettingsError
from core.settings import Settings
from models.catalogue import ONNX_SUFFIX, list_weights
from models.detector import Detector, load_detector
from models.training.completion import Confidence, complete
from models.training.dataset import DetectionDataset, read_coco, read_json

LABELLED = "labelled_classes"
TORCHVISIONS = "fcos_resnet50_fpn"
"""Its entry stands for all torch files."""


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """What to complete, and how."""

    data: Path
    output: Path
    images: Path | None = None
    """Unset takes `images/` beside the file, or its own folder."""
    confidence: Confidence = field(default_factory=Confidence)
    absent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Classes of which a source shows none."""
    kept: Sequence[str] = ()
    """Sources that stay as they are."""
    sheets: Path | None = None
    """Folder for pictures of what was added; unset draws none."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What was added for one class of one source."""

    source: str
    class_name: str
    labels: int
    doubts: int
    """Crowds: regions that are neither learned nor unlearned."""


def label_file(request: LabelRequest, settings: Settings) -> tuple[list[LabelRow], list[Path]]:
    """Write the completed file, and return what was added and its sheets; progress goes to standard error.

    Raises UsageError leaves.
    """
    if request.output.resolve() == request.data.resolve():
        raise SettingsError(f"--output {request.output}: expected another file than --data, got the same")
    if request.sheets is not None:
        prepare_folder(request.sheets)
    content = dict(read_json(request.data))
    numbers = category_numbers(content, request.data)
    images = request.images or default_images(request.data)
    dataset = read_coco(request.data, images, tuple(numbers))
    detector = _load(request, settings)
    _check(request, dataset, detector)
    found = list(_find(request, dataset, detector, settings.model_name))
    first = 1 + max((int(annotation["id"]) for annotation in content["annotations"]), default=0)
    added = [{"id": number, **one} for number, one in enumerate(found, first)]
    sheets = draw_sheets(added, dataset, request.sheets) if request.sheets is not None else []
    content["annotations"] = content["annotations"] + [
        {"category_id": numbers[one["category"]], "labelled_by": detector.name}
        | {key: value for key, value in one.items() if key != "category"}
        for one in added
    ]
    content["images"] = [
        image if image.get("source", "") in request.kept else _completed(image, request, dataset, detector)
        for image in content["images"]
    ]
    partial = request.output.with_name(f".{request.output.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(request.output)
    return _count(found, dataset), sheets


def parse_absent(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """SOURCE=CLASS,CLASS of every word. Raises SettingsError."""
    absent: dict[str, tuple[str, ...]] = {}
    for word in words:
        source, _, names = word.partition("=")
        classes = split_names([names])
        if not source or not classes:
            raise SettingsError(f"--absent: expected SOURCE=CLASS,CLASS, got {word!r}")
        absent[source] = (*absent.get(source, ()), *classes)
    return absent


def category_numbers(content: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Category ids of a COCO file by name. Raises SettingsError."""
    try:
        return {str(entry["name"]): int(entry["id"]) for entry in content["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: expected categories with id and name, got others: {error}") from error


def _load(request: LabelRequest, settings: Settings) -> Detector:
    return load_detector(
        settings.model_name,
        settings.device,
        settings.precision.value,
        compile=settings.compile,
        score_threshold=request.confidence.doubtful,
        canvas=settings.canvas_size,
    )


def _check(request: LabelRequest, dataset: DetectionDataset, detector: Detector) -> None:
    sources = {picture.source for picture in dataset.pictures}
    for option, names in (("--absent", request.absent), ("--keep-unlabelled", request.kept)):
        unknown = next((name for name in names if name not in sources), None)
        if unknown is not None:
            raise SettingsError(
                f"{option}: expected a source of {request.data.name} ({', '.join(sorted(sources))}), "
                f"got {unknown!r}"
            )
    for name in (name for classes in request.absent.values() for name in classes):
        if name not in dataset.categories:
            raise SettingsError(
                f"--absent: expected classes out of {', '.join(dataset.categories)}, got {name!r}"
            )
    if not set(detector.categories) & set(dataset.categories):
        raise SettingsError(
            f"--model {detector.name}: expected a detector of {', '.join(dataset.categories)}, "
            f"got one of {', '.join(detector.categories)}"
        )


def _find(
    request: LabelRequest, dataset: DetectionDataset, detector: Detector, model: str
) -> Iterator[dict[str, Any]]:
    """Annotations to add, as `complete` gives them, with a progress bar."""
    wanted = [picture for picture in dataset.pictures if picture.source not in request.kept]
    chosen = DetectionDataset(dataset.categories, wanted)
    additions = complete(chosen, detector, request.confidence, request.absent, _exclusive(model))
    console = stderr()
    shown = track(
        additions, "labelling", len(wanted), console=console, disable=not console.is_terminal, transient=True
    )
    for annotations in shown:
        yield from annotations


def _exclusive(model: str) -> tuple[tuple[str, ...], ...]:
    describes_itself = model in list_weights() or Path(model).suffix in (".safetensors", ONNX_SUFFIX)
    return find_weights(model if describes_itself else TORCHVISIONS).exclusive


def _completed(
    image: Mapping[str, Any], request: LabelRequest, dataset: DetectionDataset, detector: Detector
) -> dict[str, Any]:
    """The image, with the classes that the detector knows or that are absent as labelled ones."""
    labelled = {
        *image.get(LABELLED, dataset.categories),
        *detector.categories,
        *request.absent.get(image.get("source", ""), ()),
    }
    names = [name for name in dataset.categories if name in labelled]
    kept = {key: value for key, value in image.items() if key != LABELLED}
    return kept if len(names) == len(dataset.categories) else {**kept, LABELLED: names}


def _count(found: Sequence[Mapping[str, Any]], dataset: DetectionDataset) -> list[LabelRow]:
    source_of = {picture.image_id: picture.source for picture in dataset.pictures}
    counted = Counter(
        (source_of[one["image_id"]], str(one["category"]), int(one["iscrowd"])) for one in found
    )
    pairs = sorted({(source, name) for source, name, _ in counted})
    return [LabelRow(*pair, counted[(*pair, 0)], counted[(*pair, 1)]) for pair in pairs]
