"""Objects cut out of their pictures, to stand in others: a truck in a street that shows cars alone.

Where one kind of picture shows one class and another kind another, a detector learns the surroundings
instead of the object. Objects pasted into pictures of all kinds part the two (Dwibedi et al. 2017,
arXiv:1708.01642; Ghiasi et al. 2021, arXiv:2012.07177). Outlines come from GrabCut (Rother et al. 2004),
as the annotations are boxes.

Objects of different classes that touch, such as a rider and a motorcycle, are cut out together. So is what
the annotations name and the detector is not to find: a bicycle, with or without its rider, is then seen
wherever a motorcycle is, and is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError
from models.training.dataset import DetectionDataset, Picture

LEAST_SIDE_PX = 40
"""Smaller objects have no outline to be found."""
MOST_SIDE_PX = 256
"""Larger ones are shrunk: they will be small in a street."""
OUTLINE_SIDE_PX = 112
"""Size at which GrabCut works: its time grows with the area."""
SURROUNDINGS = 0.2
"""Of the box's sides, around it: what GrabCut takes for background."""
FILLED = (0.4, 0.95)
"""Share of its box that a well found outline fills."""
REACH = 0.9
"""Share of the box's sides that its extent covers."""
GRABCUT_ROUNDS = 4
ALONE = 0.1
"""Share of a box that other boxes may cover."""
TOUCHING = 0.2
"""Boxes that share so much of the smaller one belong to one group."""
MOST_IN_GROUP = 3
GROUP_MARGIN = 0.08
"""Of a box's sides, around it: groups are cut out along their boxes, with round and soft corners."""
SHARES = (0.5, 0.25, 0.25)
"""How often objects that stand alone, groups, and what belongs to no class are pasted, if there are all."""
LEFT_OUT = -1
"""The label of what belongs to no class."""
LEAST_PASTED_PX = 28.0
MOST_PASTED_SHARE = 0.45
"""Height of a pasted object: from so many pixels to this share of the picture's."""
MOST_COVER = 0.3
"""An object that would cover more of another is not pasted; it may stand wholly before one."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object, or a group, without its surroundings."""

    image: NDArray[np.uint8]
    """(H, W, 3) BGR."""
    mask: NDArray[np.uint8]
    """(H, W): 255 where it is."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 of its objects in shares of width and height."""
    labels: NDArray[np.int64]
    """(N,): their classes. What belongs to no class has neither box nor label."""


@dataclass(frozen=True, slots=True)
class Cutouts:
    """What was cut out of a dataset."""

    alone: Mapping[int, Sequence[Cutout]]
    """By class."""
    groups: Sequence[Cutout]
    """Of objects of different classes that touch."""
    left_out: Sequence[Cutout]
    """What belongs to no class, alone or in a group with objects that do."""

    def draw(self, rng: np.random.Generator) -> Cutout:
        """One of a kind; of what stands alone, any class as often as any other."""
        kinds = list(self.alone.values()), [self.groups], [self.left_out]
        shares = np.array([share * any(kind) for share, kind in zip(SHARES, kinds, strict=True)])
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        cutouts = kind[int(rng.integers(len(kind)))]
        return cutouts[int(rng.integers(len(cutouts)))]


def cut_out(dataset: DetectionDataset, most: int, rng: np.random.Generator) -> Cutouts:
    """Up to `most` of each class, of groups, and of what belongs to no class.

    Objects that stand alone need an outline that can be found. Raises UsageError when there is nothing.
    """
    alone: dict[int, list[Cutout]] = {}
    groups: list[Cutout] = []
    left_out: list[Cutout] = []
    for index in rng.permutation(len(dataset)):
        picture = dataset.pictures[int(index)]
        for row in _candidates(picture):
            label = int(picture.labels[row])
            if len(alone.get(label, ())) < most:
                cutout = outline(dataset.image(int(index)), picture.boxes[row], label)
                if cutout is not None:
                    alone.setdefault(label, []).append(cutout)
        for boxes, labels in _groups(picture):
            found = left_out if LEFT_OUT in labels else groups
            if len(found) < most:
                found.append(cut_group(dataset.image(int(index)), boxes, labels))
    if not (alone or groups or left_out):
        raise UsageError(
            f"pasting: expected objects of {LEAST_SIDE_PX} pixels and more that stand free, got none; "
            "train without --paste"
        )
    return Cutouts(alone, groups, left_out)


def _candidates(picture: Picture) -> Iterator[int]:
    """Rows of objects that are large enough, cut by no edge and covered by no other box."""
    sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
    large = sides.min(axis=1, initial=np.inf) >= LEAST_SIDE_PX
    for row in np.flatnonzero(_are_whole(picture.boxes, picture) & large & ~picture.crowd):
        others = np.concatenate([np.delete(picture.boxes, row, axis=0), picture.left_out])
        if _shared(picture.boxes[row], others).sum() <= ALONE * _areas(picture.boxes[row]):
            yield int(row)


def _are_whole(boxes: NDArray[np.float32], picture: Picture) -> NDArray[np.bool_]:
    """(N,): whether no edge of the picture cuts the box; `boxes` (N, 4)."""
    size = np.array([picture.width, picture.height])
    return np.asarray(((boxes[:, :2] > 1) & (boxes[:, 2:] < size - 1)).all(axis=1))


def _groups(picture: Picture) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Boxes (N, 4) and labels (N,) of a few objects of different classes that touch each other and no other.

    What belongs to no class counts as a class, and is a group also by itself. Pictures on which not all
    classes are labelled have no groups: who rides there is not known.
    """
    if not picture.labelled.all():
        return
    boxes = np.concatenate([picture.boxes, picture.left_out])  # (N, 4)
    labels = np.concatenate([picture.labels, np.full(len(picture.left_out), LEFT_OUT)])
    fit = _are_whole(boxes, picture)
    fit[: len(picture.crowd)] &= ~picture.crowd
    shared = np.array([_shared(box, boxes) for box in boxes]).reshape(len(boxes), len(boxes))
    areas = _areas(boxes)
    touching = shared > TOUCHING * np.minimum(areas[:, None], areas)
    members = dict.fromkeys(tuple(np.flatnonzero(_reached(touching, row))) for row in range(len(boxes)))
    for rows in map(np.array, members):
        others = np.setdiff1d(np.arange(len(boxes)), rows)
        low, high = boxes[rows, :2].min(axis=0), boxes[rows, 2:].max(axis=0)
        classes = set(labels[rows].tolist())
        if (
            len(rows) <= MOST_IN_GROUP
            and (len(classes) > 1 or classes == {LEFT_OUT})
            and fit[rows].all()
            and (high - low).min() >= LEAST_SIDE_PX
            and (shared[np.ix_(rows, others)].sum(axis=1) <= ALONE * areas[rows]).all()
        ):
            yield boxes[rows], labels[rows]


def _reached(touching: NDArray[np.bool_], row: int) -> NDArray[np.bool_]:
    """(N,): what a row touches (N, N), or what that touches, and so on."""
    reached, before = np.asarray(touching[row]), 0
    while before < reached.sum():
        before, reached = int(reached.sum()), np.asarray(touching[reached].any(axis=0))
    return reached


def cut_group(image: NDArray[np.uint8], boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> Cutout:
    """Cut what is in `boxes` (N, 4) with `labels` (N,) out of `image` (H, W, 3), as one, along the boxes."""
    height, width = image.shape[:2]
    margins = GROUP_MARGIN * (boxes[:, 2:] - boxes[:, :2])
    low = np.floor((boxes[:, :2] - margins).min(axis=0).clip(0)).astype(int)
    high = np.ceil((boxes[:, 2:] + margins).max(axis=0).clip(0, (width, height))).astype(int)
    scale = min(1.0, MOST_SIDE_PX / int((high - low).max()))
    columns, rows = (max(1, round(int(side) * scale)) for side in high - low)
    y, x = np.mgrid[:rows, :columns]
    mask = np.zeros((rows, columns), np.float32)
    for x1, y1, x2, y2 in np.hstack([boxes[:, :2] - margins - low, boxes[:, 2:] + margins - low]) * scale:
        across = np.abs(2 * x - x1 - x2) / (x2 - x1)
        down = np.abs(2 * y - y1 - y2) / (y2 - y1)
        mask[across**5 + down**5 < 1] = 255
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.012 * max(rows, columns)))
    part = image[low[1] : high[1], low[0] : high[0]]
    belongs = labels != LEFT_OUT
    return Cutout(
        np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8),
        soft.astype(np.uint8),
        ((boxes - np.tile(low, 2)) / np.tile(high - low, 2))[belongs].astype(np.float32),
        labels[belongs],
    )


def outline(image: NDArray[np.uint8], box: NDArray[np.float32], label: int) -> Cutout | None:
    """Cut the object in `box` (4,) out of `image` (H, W, 3); None when no outline fits the box."""
    height, width = image.shape[:2]
    sides = box[2:] - box[:2]
    low = np.floor((box[:2] - SURROUNDINGS * sides).clip(0)).astype(int)
    high = np.ceil((box[2:] + SURROUNDINGS * sides).clip(0, (width, height))).astype(int)
    part, inner = image[low[1] : high[1], low[0] : high[0]], box - np.tile(low, 2)
    solid = _grabcut(part, inner)
    x1, y1, wide, tall = cv2.boundingRect(solid)
    filled = float(solid.sum()) / float(sides.prod())
    if not FILLED[0] <= filled <= FILLED[1] or ((wide, tall) < REACH * sides).any():
        return None
    scale = min(1.0, MOST_SIDE_PX / max(wide, tall))
    size = (max(1, round(wide * scale)), max(1, round(tall * scale)))
    own = slice(y1, y1 + tall), slice(x1, x1 + wide)
    return Cutout(
        np.asarray(cv2.resize(part[own], size, interpolation=cv2.INTER_AREA), np.uint8),
        np.asarray(cv2.resize(solid[own] * 255, size, interpolation=cv2.INTER_AREA), np.uint8),
        np.array([[0, 0, 1, 1]], np.float32),
        np.array([label]),
    )


def _grabcut(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The object in `box` (4,) as a mask (H, W) of 0 and 1, one part without holes; all 0 without one."""
    height, width = image.shape[:2]
    scale = min(1.0, OUTLINE_SIDE_PX / float((box[2:] - box[:2]).max()))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (round(float(edge) * scale) for edge in box)
    if not 0 < (x2 - x1) * (y2 - y1) < size[0] * size[1]:  # GrabCut fails without an inside and an outside
        return np.zeros((height, width), np.uint8)
    mask, background, foreground = np.zeros(small.shape[:2], np.uint8), np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # GrabCut draws from OpenCV's own numbers
    cv2.grabCut(
        small,
        mask,
        (x1, y1, x2 - x1, y2 - y1),
        background,
        foreground,
        GRABCUT_ROUNDS,
        cv2.GC_INIT_WITH_RECT,
    )
    solid = _largest_part(np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32))
    return (cv2.resize(solid, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)


def _largest_part(solid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest connected part of a mask of 0 and 1, without holes."""
    contours, _ = cv2.findContours(solid.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(solid)
    if contours:
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], 0, 1, cv2.FILLED)
    return filled


def paste(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    cutouts: Cutouts,
    most: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Paste up to `most` objects into `image` (H, W, 3), in place, beside those in `boxes` (N, 4).

    Returns boxes (M, 4) and labels (M,) of what was pasted.
    """
    height, width = image.shape[:2]
    pasted, labels = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int64)]
    for _ in range(int(rng.integers(0, most + 1))):
        cutout = cutouts.draw(rng)
        tall = float(np.exp(rng.uniform(np.log(LEAST_PASTED_PX), np.log(MOST_PASTED_SHARE * height))))
        rows, columns = cutout.mask.shape
        stretch = float(np.exp(rng.uniform(-0.1, 0.1)))
        size = (max(4, round(tall / rows * columns * stretch)), max(4, round(tall)))
        if size[0] >= width:
            continue
        left, top = int(rng.integers(width - size[0])), int(rng.integers(height - size[1]))
        others = np.concatenate([boxes, *pasted])
        place = np.array([left, top, left + size[0], top + size[1]], np.float32)
        if (_shared(place, others) > MOST_COVER * _areas(others)).any():
            continue
        if rng.random() < 0.5:
            cutout = _mirrored(cutout)
        _blend(image[top : top + size[1], left : left + size[0]], cutout, rng)
        pasted.append(cutout.boxes * np.tile(place[2:] - place[:2], 2) + np.tile(place[:2], 2))
        labels.append(cutout.labels)
    return np.concatenate(pasted), np.concatenate(labels)


def _mirrored(cutout: Cutout) -> Cutout:
    image, mask = (np.ascontiguousarray(array[:, ::-1]) for array in (cutout.image, cutout.mask))
    boxes = cutout.boxes.copy()
    boxes[:, [2, 0]] = 1 - boxes[:, [0, 2]]
    return Cutout(image, mask, boxes, cutout.labels)


def _blend(target: NDArray[np.uint8], cutout: Cutout, rng: np.random.Generator) -> None:
    """Lay a cutout over `target` (H, W, 3), at its size, in a light of its own."""
    height, width = target.shape[:2]
    shrinks = height < len(cutout.image)
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    pixels = cv2.resize(cutout.image, (width, height), interpolation=way)
    alpha = cv2.resize(cutout.mask, (width, height), interpolation=way).astype(np.float32) / 255
    soft = cv2.GaussianBlur(alpha, (3, 3), rng.uniform(0.4, 1.0))[..., None]  # (H, W, 1)
    light = pixels.astype(np.float32) * np.exp(rng.uniform(-0.3, 0.3)) + rng.uniform(-20, 20)
    target[:] = (target + soft * (light - target)).clip(0, 255).astype(np.uint8)


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Areas of boxes (..., 4)."""
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1), np.float32)


def _shared(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area (N,) that a box (4,) shares with each of `boxes` (N, 4)."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    return np.asarray(sides.clip(0).prod(axis=1), np.float32)
