"""What a detector does at the threshold that it runs with: what it finds, misses, doubles and imagines."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.types import Detections
from models.training.dataset import DetectionDataset, Picture

MATCH_IOU = 0.5
"""A detection finds an object of its class from this overlap on, as in AP50."""
DOUBLE_SHARE = 0.7
"""A second box of the class is one too many when this share of the smaller lies in the other."""
GHOST_SHARE = 0.3
"""Nothing labelled covers more than this share of a ghost."""
GHOST_PICTURES = 2
"""A ghost stays: it is there in at least so many labelled frames of a video."""

Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Counts:
    """Objects and detections of one class, or of several together."""

    name: str
    correct: int
    """Detections that found an object of their class."""
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the detections that are right; nan without any."""
        return _share(self.correct, self.correct + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the objects that were found; nan without any."""
        return _share(self.correct, self.correct + self.missed)


@dataclass(frozen=True, slots=True)
class Ghost:
    """A detection that stays at one place of a fixed camera's pictures where nothing is."""

    class_name: str
    video: str
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels, where it was first seen."""
    pictures: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A detector's answers at its threshold, against the labels."""

    score_threshold: float
    classes: tuple[Counts, ...]
    confusion: tuple[tuple[int, ...], ...]
    """(K + 1, K + 1): labelled class by detected class; the last row counts detections of nothing, the last
    column objects that were missed."""
    doubled: int
    """Detections of an object that another detection has found already, whatever class they name."""
    ghosts: tuple[Ghost, ...]

    def together(self, names: Sequence[str]) -> Counts:
        """The counts of several classes as one."""
        chosen = [counts for counts in self.classes if counts.name in names]
        return Counts(
            " and ".join(counts.name for counts in chosen),
            sum(counts.correct for counts in chosen),
            sum(counts.wrong for counts in chosen),
            sum(counts.missed for counts in chosen),
        )


def judge(
    dataset: DetectionDataset, found: Mapping[int, Detections], score_threshold: float
) -> OperatingPoint:
    """Compare detections, keyed by the index of their picture, with the labels of those pictures.

    Classes that were not labelled on a picture are left out there; crowds are neither found nor missed.
    """
    count = len(dataset.categories)
    confusion = np.zeros((count + 1, count + 1), np.int64)
    matched = [
        _match(dataset.pictures[index], detections, score_threshold, confusion)
        for index, detections in found.items()
    ]
    diagonal = confusion.diagonal()
    classes = tuple(
        Counts(
            name,
            correct=int(diagonal[label]),
            wrong=int(confusion[:, label].sum() - diagonal[label]),
            missed=int(confusion[label].sum() - diagonal[label]),
        )
        for label, name in enumerate(dataset.categories)
    )
    ghosts = _ghosts((seen for picture in matched for seen in picture.of_nothing), dataset.categories)
    return OperatingPoint(
        score_threshold,
        classes,
        tuple(tuple(row) for row in confusion.tolist()),
        sum(picture.doubled for picture in matched),
        ghosts,
    )


@dataclass(frozen=True, slots=True)
class _OfNothing:
    """A detection on a video's frame with nothing labelled below it."""

    video: Path
    label: int
    box: Boxes
    """(4,)."""


@dataclass(frozen=True, slots=True)
class _Matched:
    doubled: int
    of_nothing: tuple[_OfNothing, ...]


def _match(
    picture: Picture, detections: Detections, score_threshold: float, confusion: NDArray[np.int64]
) -> _Matched:
    """Count one picture into `confusion` (K + 1, K + 1)."""
    kept = detections.select(
        (detections.scores >= score_threshold) & picture.labelled[detections.labels]  # (N,)
    )
    solid = ~picture.crowd
    truth, truth_labels = picture.boxes[solid], picture.labels[solid]  # (M, 4), (M,)
    iou = _overlap(kept.boxes, truth)  # (N, M)
    same = kept.labels[:, None] == truth_labels
    owner = _assign(iou * same)  # (N,): index of the object, -1 without one
    left = (owner < 0) & ~_in_crowds(kept, picture)
    other = np.full(len(kept), -1)
    free = np.setdiff1d(np.arange(len(truth)), owner)
    if left.any() and len(free):
        rows = np.flatnonzero(left)
        chosen = _assign(iou[np.ix_(rows, free)])
        other[rows] = np.where(chosen >= 0, free[chosen], -1)
    nothing = confusion.shape[0] - 1
    for detection, label in enumerate(kept.labels):
        owned = max(owner[detection], other[detection])
        if owned >= 0:
            confusion[truth_labels[owned], label] += 1
        elif left[detection]:
            confusion[nothing, label] += 1
    for missed in np.setdiff1d(np.arange(len(truth)), np.concatenate([owner, other])):
        confusion[truth_labels[missed], nothing] += 1
    stray = left & (other < 0)
    has_box = np.isin(np.arange(len(truth)), np.concatenate([owner, other]))  # (M,)
    smaller = _overlap(kept.boxes, truth, over="smaller")
    again = ((np.where(same, smaller >= DOUBLE_SHARE, iou >= MATCH_IOU)) & has_box).any(axis=1)  # (N,)
    covered = _overlap(kept.boxes, picture.boxes, over="first").max(axis=1, initial=0.0)
    ghostly = stray & ~again & (covered < GHOST_SHARE)
    return _Matched(
        int((stray & again).sum()),
        tuple(
            _OfNothing(picture.path, int(kept.labels[row]), kept.boxes[row])
            for row in np.flatnonzero(ghostly)
            if picture.frame is not None
        ),
    )


def _assign(iou: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N,) the object of each detection, best scores first, or -1; `iou` (N, M), rows by falling score."""
    owner = np.full(len(iou), -1, np.int64)
    free = np.ones(iou.shape[1], np.bool_)
    for row in range(len(iou)):
        candidates = np.where(free, iou[row], 0.0)
        if len(candidates) and candidates.max() >= MATCH_IOU:
            owner[row] = candidates.argmax()
            free[owner[row]] = False
    return owner


def _in_crowds(detections: Detections, picture: Picture) -> NDArray[np.bool_]:
    """(N,): lies by half or more in a crowd of its class."""
    share = _overlap(detections.boxes, picture.boxes[picture.crowd], over="first")  # (N, R)
    same = detections.labels[:, None] == picture.labels[picture.crowd]
    return np.asarray(((share >= MATCH_IOU) & same).any(axis=1))


def _overlap(first: Boxes, second: Boxes, over: str = "union") -> NDArray[np.float32]:
    """Intersection (N, M) of boxes (N, 4) and (M, 4), over their union, the smaller one, or the first one."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = (first[:, 2:] - first[:, :2]).prod(axis=1)[:, None], (second[:, 2:] - second[:, :2]).prod(axis=1)
    whole = {
        "union": areas[0] + areas[1] - shared,
        "smaller": np.minimum(*areas),
        "first": np.broadcast_to(areas[0], shared.shape),
    }[over]
    return np.asarray(shared / np.maximum(whole, 1e-6), np.float32)


def _ghosts(strays: Iterable[_OfNothing], categories: tuple[str, ...]) -> tuple[Ghost, ...]:
    """Detections of one class that recur at one place of a video."""
    places: dict[tuple[Path, int], list[list[Boxes]]] = defaultdict(list)
    for stray in strays:
        known = places[stray.video, stray.label]
        for place in known:
            if _overlap(stray.box[None], place[0][None])[0, 0] >= MATCH_IOU:
                place.append(stray.box)
                break
        else:
            known.append([stray.box])
    return tuple(
        Ghost(categories[label], video.name, _as_tuple(boxes[0]), len(boxes))
        for (video, label), known in places.items()
        for boxes in known
        if len(boxes) >= GHOST_PICTURES
    )


def _as_tuple(box: Boxes) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(side), 1) for side in box)
    return x1, y1, x2, y2


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
