"""Average precision of a detector on a COCO file, judged only where the annotators labelled."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from core.errors import UsageError
from core.types import Detections
from models.training.dataset import DetectionDataset, Picture, read_coco

MIN_BOXES = 30
"""Classes with fewer boxes are reported, but left out of the averages: their AP is mostly noise."""
MAX_DETECTIONS = 100
"""Per picture and class, as COCO counts."""


class Predictor(Protocol):
    """What evaluation needs of a detector."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detections of each picture, boxes in its own pixels."""


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class on the pictures where it was labelled."""

    name: str
    pictures: int
    boxes: int
    ap50: float
    """Average precision at IoU 0.5; nan without boxes."""
    ap: float
    """The same averaged over IoU 0.50 to 0.95."""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What `evaluate` found out."""

    ap50: float
    """Mean over the classes with at least MIN_BOXES boxes (over all that have any, if none has so many)."""
    ap: float
    classes: tuple[ClassReport, ...]
    pictures: int
    ms_per_picture: float
    """Mean wall-clock time of `predict`, letterboxing and postprocessing included."""

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; nan becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [plain(item) for item in value]
            return None if isinstance(value, float) and np.isnan(value) else value

        return dict(plain(asdict(self)))


def evaluate(
    detector: Predictor, coco_json: Path, images_dir: Path, *, batch_size: int = 8, limit: int | None = None
) -> EvaluationReport:
    """Run a detector over a COCO file (or its first `limit` pictures, evenly spread) and score it.

    A class is judged on the pictures whose `labelled_classes` name it. The detector should keep low
    scores (threshold 0.01 or less): the precision-recall curve needs them. Raises UsageError.
    """
    dataset = read_coco(coco_json, images_dir, detector.categories)
    return evaluate_dataset(detector, dataset, batch_size=batch_size, limit=limit)


def evaluate_dataset(
    detector: Predictor, dataset: DetectionDataset, *, batch_size: int = 8, limit: int | None = None
) -> EvaluationReport:
    """`evaluate` on a dataset that was read already."""
    stride = 1 if limit is None else max(1, len(dataset) // max(1, limit))
    indices = range(0, len(dataset), stride)
    found: dict[int, Detections] = {}
    seconds = 0.0
    for group in _groups(indices, batch_size):
        images = [dataset.image(index) for index in group]
        started = time.perf_counter()
        results = detector.predict(images)
        seconds += time.perf_counter() - started
        found.update(zip(group, results, strict=True))
    return score(dataset, found, ms_per_picture=1000 * seconds / len(indices))


def score(
    dataset: DetectionDataset, found: dict[int, Detections], *, ms_per_picture: float = 0.0
) -> EvaluationReport:
    """Score detections, keyed by the index of their picture, against the annotations of those pictures."""
    classes = tuple(_score_class(dataset, found, label) for label in range(len(dataset.categories)))
    counted = [report for report in classes if report.boxes >= MIN_BOXES]
    counted = counted or [report for report in classes if report.boxes > 0]
    if not counted:
        raise UsageError("evaluation: expected pictures with boxes, got none; check the annotation file")
    return EvaluationReport(
        ap50=float(np.mean([report.ap50 for report in counted])),
        ap=float(np.mean([report.ap for report in counted])),
        classes=classes,
        pictures=len(found),
        ms_per_picture=ms_per_picture,
    )


def _groups(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _score_class(dataset: DetectionDataset, found: dict[int, Detections], label: int) -> ClassReport:
    judged = {index: dataset.pictures[index] for index in found if dataset.pictures[index].labelled[label]}
    boxes = sum(int(((picture.labels == label) & ~picture.crowd).sum()) for picture in judged.values())
    name = dataset.categories[label]
    if boxes == 0:
        return ClassReport(name, len(judged), 0, float("nan"), float("nan"))
    truth = COCO(_truth_of_class(judged, label))
    detected = [entry for index in judged for entry in _detections_of_class(index, found[index], label)]
    if not detected:
        return ClassReport(name, len(judged), boxes, 0.0, 0.0)
    coco = COCOeval_faster(truth, truth.loadRes(detected), iouType="bbox")
    coco.params.maxDets = [1, 10, MAX_DETECTIONS]
    coco.evaluate()
    coco.accumulate()
    coco.summarize()
    return ClassReport(name, len(judged), boxes, ap50=float(coco.stats[1]), ap=float(coco.stats[0]))


def _truth_of_class(judged: dict[int, Picture], label: int) -> dict[str, Any]:
    images = [{"id": i + 1, "width": p.width, "height": p.height} for i, p in judged.items()]
    annotations: list[dict[str, Any]] = []
    for index, picture in judged.items():
        of_class = picture.labels == label
        crowds = picture.crowd[of_class].tolist()
        for (x1, y1, x2, y2), crowd in zip(picture.boxes[of_class].tolist(), crowds, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(crowd),
                }
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def _detections_of_class(index: int, detections: Detections, label: int) -> Iterator[dict[str, Any]]:
    of_class = detections.select(detections.labels == label)
    for (x1, y1, x2, y2), confidence in zip(of_class.boxes.tolist(), of_class.scores.tolist(), strict=True):
        yield {
            "image_id": index + 1,
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": confidence,
        }
