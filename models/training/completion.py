"""Completes annotations with what a trained detector finds: labels where nobody labelled, and doubts.

Collections made for other classes show unlabelled people and vehicles. A detector that already knows the
classes labels what it is sure of, and marks what it doubts as crowds, which are neither learned nor
unlearned (self-training; Xie et al. 2020, arXiv:1911.04252).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Detections
from models.training.dataset import DetectionDataset, Picture
from models.training.evaluation import Predictor

BATCH = 8
KNOWN_SHARE = 0.5
"""A detection is nothing new when this share of it, or of a labelled box, lies in the other."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Scores from which a find is believed, or doubted."""

    sure: float = 0.5
    doubtful: float = 0.2


def complete(
    dataset: DetectionDataset,
    detector: Predictor,
    confidence: Confidence,
    absent: Mapping[str, Collection[str]],
) -> Iterator[list[dict[str, Any]]]:
    """Per picture, the COCO annotations to add, without `id`.

    Of a class that the picture's annotators left out, a sure find becomes a label and a doubtful one a crowd;
    of a class that they labelled, a sure find that touches no label becomes a crowd. `absent` names classes
    of which a source shows none: nothing of them is added there.
    """
    for start in range(0, len(dataset), BATCH):
        numbers = range(start, min(start + BATCH, len(dataset)))
        found = detector.predict([dataset.image(number) for number in numbers])
        for number, detections in zip(numbers, found, strict=True):
            picture = dataset.pictures[number]
            none = absent.get(picture.source, ())
            yield list(_additions(picture, detections, dataset.categories, confidence, none))


def _additions(
    picture: Picture,
    detections: Detections,
    categories: tuple[str, ...],
    confidence: Confidence,
    absent: Collection[str],
) -> Iterator[dict[str, Any]]:
    for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True):
        name = detections.categories[label]
        if name not in categories or name in absent or score < confidence.doubtful:
            continue
        sure = bool(score >= confidence.sure)
        is_labelled_here = bool(picture.labelled[categories.index(name)])
        if (is_labelled_here and not sure) or _is_known(box, picture):
            continue
        x1, y1, x2, y2 = (round(float(edge), 1) for edge in box)
        yield {
            "image_id": picture.image_id,
            "category": name,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(is_labelled_here or not sure),
            "score": round(float(score), 3),
        }


def _is_known(box: NDArray[np.float32], picture: Picture) -> bool:
    """Whether a box is (part of) something labelled, or the other way round."""
    low = np.maximum(picture.boxes[:, :2], box[:2])
    high = np.minimum(picture.boxes[:, 2:], box[2:])
    shared = (high - low).clip(0).prod(axis=1)  # (N,)
    areas = (picture.boxes[:, 2:] - picture.boxes[:, :2]).prod(axis=1)
    smaller = np.minimum(areas, (box[2:] - box[:2]).prod())
    return bool((shared > KNOWN_SHARE * smaller).any())
