"""COCO's average precision of one class, judged only where the annotators labelled it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from core.types import Detections
from models.training.dataset import DetectionDataset, Picture

MAX_DETECTIONS = 100
"""Per picture and class, as COCO counts."""
_AT_50, _ALL_SIZES, _LAST = 0, 0, -1
"""Places in COCO's tables: IoU 0.5, any size, the largest number of detections."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision at IoU 0.5 over recall, at COCO's 101 recalls from 0 to 1."""

    recall: NDArray[np.float64]
    """(101,)."""
    precision: NDArray[np.float64]
    """(101,): 0 where the recall is not reached."""
    score: NDArray[np.float64]
    """(101,): the threshold that gives this recall; 0 where it is not reached."""


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
    ap_small: float = float("nan")
    """`ap` of boxes below 32x32 pixels of their picture; nan without such boxes."""
    ap_medium: float = float("nan")
    """Of boxes up to 96x96."""
    ap_large: float = float("nan")
    curve: Curve | None = None
    """None without boxes or detections."""


def score_class(dataset: DetectionDataset, found: Mapping[int, Detections], label: int) -> ClassReport:
    """Score the detections of one class, keyed by the index of their picture."""
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
    small, medium, large = (_or_nan(value) for value in coco.stats[3:6])
    return ClassReport(
        name,
        len(judged),
        boxes,
        ap50=float(coco.stats[1]),
        ap=float(coco.stats[0]),
        ap_small=small,
        ap_medium=medium,
        ap_large=large,
        curve=Curve(
            np.asarray(coco.params.recThrs, np.float64),
            np.asarray(coco.eval["precision"][_AT_50, :, 0, _ALL_SIZES, _LAST], np.float64),
            np.asarray(coco.eval["scores"][_AT_50, :, 0, _ALL_SIZES, _LAST], np.float64),
        ),
    )


def _or_nan(value: float) -> float:
    """COCO says -1 where there is nothing to score."""
    return float(value) if value >= 0 else float("nan")


def _truth_of_class(judged: Mapping[int, Picture], label: int) -> dict[str, Any]:
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
