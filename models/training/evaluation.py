"""Runs a detector over a COCO file and scores it: average precision, and what it does at its threshold."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError
from core.sampling import spread_evenly
from core.types import Detections
from models.training.average_precision import ClassReport, score_class
from models.training.dataset import DetectionDataset, read_coco
from models.training.operating_point import OperatingPoint, judge

MIN_BOXES = 30
"""Classes with fewer boxes are reported, but left out of the averages: their AP is mostly noise."""
DEFAULT_THRESHOLD = 0.35


class Predictor(Protocol):
    """What evaluation needs of a detector."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detections of each picture, boxes in its own pixels."""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What `evaluate` found out. Means are over the classes with at least MIN_BOXES boxes (over all that have
    any, if none has so many), and over those of them that have boxes of the size."""

    ap50: float
    ap: float
    classes: tuple[ClassReport, ...]
    pictures: int
    ms_per_picture: float
    """Mean wall-clock time of `predict`, letterboxing and postprocessing included."""
    operating_point: OperatingPoint
    ap_small: float = float("nan")
    ap_medium: float = float("nan")
    ap_large: float = float("nan")

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, without the curves; nan becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [plain(item) for item in value]
            return None if isinstance(value, float) and np.isnan(value) else value

        without_curves = replace(self, classes=tuple(replace(one, curve=None) for one in self.classes))
        content = dict(plain(asdict(without_curves)))
        for one in content["classes"]:
            del one["curve"]
        counted = content["operating_point"]["classes"]
        for entry, counts in zip(counted, self.operating_point.classes, strict=True):
            entry.update(plain({"precision": counts.precision, "recall": counts.recall}))
        return content


def evaluate(
    detector: Predictor,
    coco_json: Path,
    images_dir: Path,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    score_threshold: float = DEFAULT_THRESHOLD,
) -> EvaluationReport:
    """Run a detector over a COCO file (or `limit` of its pictures, evenly spread) and score it.

    A class is judged on the pictures whose `labelled_classes` name it. The detector should keep low
    scores (threshold 0.01 or less): the precision-recall curve needs them; `score_threshold` is the one that
    the operating point is judged at. Raises UsageError.
    """
    dataset = read_coco(coco_json, images_dir, detector.categories)
    return evaluate_dataset(
        detector, dataset, batch_size=batch_size, limit=limit, score_threshold=score_threshold
    )


def evaluate_dataset(
    detector: Predictor,
    dataset: DetectionDataset,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    score_threshold: float = DEFAULT_THRESHOLD,
) -> EvaluationReport:
    """`evaluate` on a dataset that was read already."""
    indices = spread_evenly(len(dataset), len(dataset) if limit is None else limit)
    found: dict[int, Detections] = {}
    seconds = 0.0
    for group in _groups(indices, batch_size):
        images = [dataset.image(index) for index in group]
        started = time.perf_counter()
        results = detector.predict(images)
        seconds += time.perf_counter() - started
        found.update(zip(group, results, strict=True))
    ms_per_picture = 1000 * seconds / len(indices)
    return score(dataset, found, ms_per_picture=ms_per_picture, score_threshold=score_threshold)


def score(
    dataset: DetectionDataset,
    found: Mapping[int, Detections],
    *,
    ms_per_picture: float = 0.0,
    score_threshold: float = DEFAULT_THRESHOLD,
) -> EvaluationReport:
    """Score detections, keyed by the index of their picture, against the annotations of those pictures."""
    classes = tuple(score_class(dataset, found, label) for label in range(len(dataset.categories)))
    counted = [report for report in classes if report.boxes >= MIN_BOXES]
    counted = counted or [report for report in classes if report.boxes > 0]
    if not counted:
        raise UsageError("evaluation: expected pictures with boxes, got none; check the annotation file")

    def mean(of: Callable[[ClassReport], float]) -> float:
        values = [of(report) for report in counted if not np.isnan(of(report))]
        return float(np.mean(values)) if values else float("nan")

    return EvaluationReport(
        ap50=mean(lambda report: report.ap50),
        ap=mean(lambda report: report.ap),
        classes=classes,
        pictures=len(found),
        ms_per_picture=ms_per_picture,
        operating_point=judge(dataset, found, score_threshold),
        ap_small=mean(lambda report: report.ap_small),
        ap_medium=mean(lambda report: report.ap_medium),
        ap_large=mean(lambda report: report.ap_large),
    )


def _groups(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
