"""Objects cut out of their pictures, to stand in others: a truck in a street that shows cars alone.

Where one kind of picture shows one class and another kind another, a detector learns the surroundings
instead of the object. Objects pasted into pictures of all kinds part the two (Dwibedi et al. 2017,
arXiv:1708.01642; Ghiasi et al. 2021, arXiv:2012.07177). Outlines come from GrabCut (Rother et al. 2004),
as the annotations are boxes.
"""

from collections.abc import Iterator
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
LEAST_PASTED_PX = 28.0
MOST_PASTED_SHARE = 0.45
"""Height of a pasted object: from so many pixels to this share of the picture's."""
MOST_COVER = 0.3
"""An object that would cover more of another is not pasted; it may stand wholly before one."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object without its surroundings, filling its array."""

    image: NDArray[np.uint8]
    """(H, W, 3) BGR."""
    mask: NDArray[np.uint8]
    """(H, W): 255 where the object is."""


class Cutouts:
    """What was cut out of a dataset, by class."""

    def __init__(self, by_class: dict[int, list[Cutout]]) -> None:
        self.by_class = {label: cutouts for label, cutouts in by_class.items() if cutouts}

    def draw(self, rng: np.random.Generator) -> tuple[int, Cutout]:
        """A class, each as often as any other, and one of its objects."""
        label = int(rng.choice(sorted(self.by_class)))
        cutouts = self.by_class[label]
        return label, cutouts[int(rng.integers(len(cutouts)))]


def cut_out(dataset: DetectionDataset, most: int, rng: np.random.Generator) -> Cutouts:
    """Up to `most` objects of each class that stand alone and free, and whose outline was found.

    Raises UsageError when there is none.
    """
    by_class: dict[int, list[Cutout]] = {label: [] for label in range(len(dataset.categories))}
    for index in rng.permutation(len(dataset)):
        picture = dataset.pictures[int(index)]
        for row in _candidates(picture):
            found = by_class[int(picture.labels[row])]
            if len(found) < most:
                cutout = outline(dataset.image(int(index)), picture.boxes[row])
                found += [] if cutout is None else [cutout]
    cutouts = Cutouts(by_class)
    if not cutouts.by_class:
        raise UsageError(
            f"pasting: expected objects of {LEAST_SIDE_PX} pixels and more that stand free, got none; "
            "train without --paste"
        )
    return cutouts


def _candidates(picture: Picture) -> Iterator[int]:
    """Rows of objects that are large enough, cut by no edge and covered by no other box."""
    x1, y1, x2, y2 = picture.boxes.T
    free = (x1 > 1) & (y1 > 1) & (x2 < picture.width - 1) & (y2 < picture.height - 1)
    large = np.minimum(x2 - x1, y2 - y1) >= LEAST_SIDE_PX
    for row in np.flatnonzero(free & large & ~picture.crowd):
        others = np.delete(picture.boxes, row, axis=0)
        if _shared(picture.boxes[row], others).sum() <= ALONE * _areas(picture.boxes[row]):
            yield int(row)


def outline(image: NDArray[np.uint8], box: NDArray[np.float32]) -> Cutout | None:
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
    )


def _grabcut(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The object in `box` (4,) as a mask (H, W) of 0 and 1, one part without holes."""
    height, width = image.shape[:2]
    scale = min(1.0, OUTLINE_SIDE_PX / float((box[2:] - box[:2]).max()))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (round(float(edge) * scale) for edge in box)
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
    pasted: list[NDArray[np.float32]] = []
    labels: list[int] = []
    for _ in range(int(rng.integers(0, most + 1))):
        label, cutout = cutouts.draw(rng)
        tall = float(np.exp(rng.uniform(np.log(LEAST_PASTED_PX), np.log(MOST_PASTED_SHARE * height))))
        rows, columns = cutout.mask.shape
        stretch = float(np.exp(rng.uniform(-0.1, 0.1)))
        size = (max(4, round(tall / rows * columns * stretch)), max(4, round(tall)))
        if size[0] >= width:
            continue
        left, top = int(rng.integers(width - size[0])), int(rng.integers(height - size[1]))
        box = np.array([left, top, left + size[0], top + size[1]], np.float32)
        others = np.concatenate([boxes, *(one[None] for one in pasted)])
        if (_shared(box, others) > MOST_COVER * _areas(others)).any():
            continue
        _blend(image[top : top + size[1], left : left + size[0]], cutout, rng)
        pasted.append(box)
        labels.append(label)
    return np.array(pasted, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def _blend(target: NDArray[np.uint8], cutout: Cutout, rng: np.random.Generator) -> None:
    """Lay a cutout over `target` (H, W, 3), at its size, mirrored or not, in a light of its own."""
    height, width = target.shape[:2]
    step = -1 if rng.random() < 0.5 else 1
    image, mask = (np.ascontiguousarray(array[:, ::step]) for array in (cutout.image, cutout.mask))
    shrinks = height < len(image)
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    pixels = cv2.resize(image, (width, height), interpolation=way)
    alpha = cv2.resize(mask, (width, height), interpolation=way).astype(np.float32) / 255
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
