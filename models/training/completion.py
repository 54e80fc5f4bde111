"""Completes annotations with what a trained detector finds: labels where nobody labelled, and doubts.

Collections made for other classes show unlabelled people and vehicles. A detector that already knows the
classes labels what it is sure of, and marks what it doubts as crowds, which are neither learned nor
unlearned (self-training; Xie et al. 2020, arXiv:1911.04252).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import SettingsError
from core.types import Detections
from models.training.dataset import DetectionDataset, Picture
from models.training.evaluation import Predictor

BATCH = 8
KNOWN_SHARE = 0.5
"""A detection is nothing new when this share of it, or of a labelled box, lies in the other."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Scores from which a find is believed, or doubted. Raises SettingsError unless they are in order."""

    sure: float = 0.55
    doubtful: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 < self.doubtful <= self.sure <= 1.0:
            raise SettingsError(
                f"confidence: expected 0 < doubtful <= sure <= 1, got doubtful {self.doubtful:g} and "
                f"sure {self.sure:g}"
            )


def complete(
    dataset: DetectionDataset,
    detector: Predictor,
    confidence: Confidence,
    absent: Mapping[str, Collection[str]],
    exclusive: Sequence[Collection[str]] = (),
) -> Iterator[list[dict[str, Any]]]:
    """Per picture, the COCO annotations to add, without `id` and with `category` instead of `category_id`.

    Of a class that the picture's annotators left out, a sure find becomes a label and a doubtful one a crowd;
    of a class that they labelled, a sure find that touches no label becomes a crowd. `absent` names classes
    of which a source shows none: nothing of them is added there. `exclusive` groups classes of which one
    object can be only one: a find is nothing new where a class of its group is labelled already, while a
    rider is one on a labelled motorcycle.
    """
    group_of = {name: frozenset(group) for group in exclusive for name in group}
    rivals = {name: group_of.get(name, frozenset()) | {name} for name in dataset.categories}
    for start in range(0, len(dataset), BATCH):
        numbers = range(start, min(start + BATCH, len(dataset)))
        found = detector.predict([dataset.image(number) for number in numbers])
        for number, detections in zip(numbers, found, strict=True):
            picture = dataset.pictures[number]
            none = absent.get(picture.source, ())
            known = _Known(picture, dataset.categories, rivals)
            yield list(_additions(known, detections, confidence, none))


def _additions(
    known: "_Known", detections: Detections, confidence: Confidence, absent: Collection[str]
) -> Iterator[dict[str, Any]]:
    for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True):
        name = detections.categories[label]
        if name not in known.categories or name in absent or score < confidence.doubtful:
            continue
        sure = bool(score >= confidence.sure)
        is_labelled_here = known.sets_out_to_label(name)
        if (is_labelled_here and not sure) or known.covers(box, name):
            continue
        x1, y1, x2, y2 = (round(float(edge), 1) for edge in box)
        yield {
            "image_id": known.picture.image_id,
            "category": name,
            "bbox": [x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)],
            "area": round((x2 - x1) * (y2 - y1), 1),
            "iscrowd": int(is_labelled_here or not sure),
            "score": round(float(score), 3),
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """What the annotators say of one picture."""

    picture: Picture
    categories: tuple[str, ...]
    rivals: Mapping[str, Collection[str]]
    """Per class, those that an object of it cannot be labelled as beside it, itself among them."""

    def sets_out_to_label(self, name: str) -> bool:
        return bool(self.picture.labelled[self.categories.index(name)])

    def covers(self, box: NDArray[np.float32], name: str) -> bool:
        """Whether a box (4,) of a class is (part of) something labelled, or the other way round."""
        wanted = [self.categories.index(rival) for rival in self.rivals[name] if rival in self.categories]
        labelled = self.picture.boxes[np.isin(self.picture.labels, wanted)]  # (N, 4)
        low = np.maximum(labelled[:, :2], box[:2])
        high = np.minimum(labelled[:, 2:], box[2:])
        shared = (high - low).clip(0).prod(axis=1)  # (N,)
        areas = (labelled[:, 2:] - labelled[:, :2]).prod(axis=1)
        smaller = np.minimum(areas, (box[2:] - box[:2]).prod())
        return bool((shared > KNOWN_SHARE * smaller).any())
