"""Training pictures composed on the fly: zoom, mosaic, flip, colour and camera noise.

Street cameras show people of 20 to 80 pixels, photographs show them large; shrinking pictures and
laying several of them side by side (mosaic, Bochkovskiy et al. 2020, arXiv:2004.10934) closes the gap.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.cutouts import Cutouts, paste
from models.training.dataset import DetectionDataset, Picture
from models.training.distractors import draw_distractors

MIN_VISIBLE = 0.35
"""Share of a box that must remain in the crop for it to be learned; less is ignored."""
MIN_BOX_PX = 5.0
"""Objects whose shorter side is below this are ignored: nothing can be told from them."""


@dataclass(frozen=True, slots=True)
class Example:
    """A composed picture with what is known about it, in canvas pixels."""

    image: NDArray[np.uint8]
    """(H, W, 3) BGR."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2."""
    labels: NDArray[np.int64]
    """(N,)."""
    ignored_boxes: NDArray[np.float32]
    """(R, 4): regions in which some classes are neither learned nor unlearned."""
    ignored_classes: NDArray[np.bool_]
    """(R, K): those classes."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How hard to augment."""

    mosaic: float = 0.6
    """Probability of a grid of 2x2 (or, half as often, 3x3) pictures."""
    min_zoom: float = 0.5
    max_zoom: float = 1.6
    """Range of picture size over the size that fits its place."""
    repaint: float = 0.0
    """Probability of channels in another order: paint of any colour, where no class is told by its colour."""
    pasted: int = 0
    """Most objects cut out of other pictures that are pasted into a picture."""
    distractors: int = 0
    """Most posts, signs, bicycles and the like that are drawn into a picture, unless they are a class."""
    colour: bool = True
    """Flip is always on; this switches colour jitter, blur, noise and JPEG artefacts."""


class _Canvas:
    """A picture under construction."""

    def __init__(self, size: tuple[int, int], class_count: int, rng: np.random.Generator) -> None:
        width, height = size
        grey = int(rng.integers(0, 256)) if rng.random() < 0.5 else 114
        self.image: NDArray[np.uint8] = np.full((height, width, 3), grey, np.uint8)
        self.class_count = class_count
        self.boxes: list[NDArray[np.float32]] = []
        self.labels: list[NDArray[np.int64]] = []
        self.ignored_boxes: list[NDArray[np.float32]] = []
        self.ignored_classes: list[NDArray[np.bool_]] = []

    def ignore(self, boxes: NDArray[np.float32], classes: NDArray[np.bool_]) -> None:
        self.ignored_boxes.append(boxes.reshape(-1, 4))
        self.ignored_classes.append(classes.reshape(-1, self.class_count))

    def finish(self) -> Example:
        return Example(
            self.image,
            np.concatenate([np.zeros((0, 4), np.float32), *self.boxes]),
            np.concatenate([np.zeros(0, np.int64), *self.labels]),
            np.concatenate([np.zeros((0, 4), np.float32), *self.ignored_boxes]),
            np.concatenate([np.zeros((0, self.class_count), np.bool_), *self.ignored_classes]),
        )


def compose(
    dataset: DetectionDataset,
    indices: NDArray[np.int64],
    size: tuple[int, int],
    strength: Strength,
    rng: np.random.Generator,
    cutouts: Cutouts | None = None,
) -> Example:
    """One training picture of `size` (w, h): `indices[0]` alone, or a mosaic of the nine `indices`.

    `cutouts` are the objects to paste.
    """
    canvas = _Canvas(size, len(dataset.categories), rng)
    for index, place in zip(indices, _places(size, strength, rng), strict=False):
        _paste(canvas, dataset.image(int(index)), dataset.pictures[int(index)], place, strength, rng)
    if strength.pasted and cutouts is not None:
        boxes, labels = paste(canvas.image, np.concatenate(canvas.boxes), cutouts, strength.pasted, rng)
        canvas.boxes.append(boxes)
        canvas.labels.append(labels)
    if strength.distractors:
        draw_distractors(
            canvas.image,
            np.concatenate(canvas.boxes),
            np.concatenate(canvas.labels),
            dataset.categories,
            strength.distractors,
            rng,
        )
    if strength.colour:
        canvas.image = distort(canvas.image, rng)
    if strength.repaint and rng.random() < strength.repaint:
        canvas.image = np.ascontiguousarray(canvas.image[..., rng.permutation(3)])
    return canvas.finish()


def _places(
    size: tuple[int, int], strength: Strength, rng: np.random.Generator
) -> list[tuple[int, int, int, int]]:
    """Where pictures go: x1, y1, x2, y2 of one place, of 2x2 or of 3x3, with jittered borders."""
    width, height = size
    if rng.random() >= strength.mosaic:
        return [(0, 0, width, height)]
    count = 3 if rng.random() < 0.35 else 2
    edges = []
    for side in (width, height):
        inner = np.arange(1, count) / count + rng.uniform(-0.12, 0.12, count - 1)
        edges.append([0, *(int(side * part) for part in inner), side])
    columns, rows = edges
    return [(columns[i], rows[j], columns[i + 1], rows[j + 1]) for j in range(count) for i in range(count)]


def _paste(
    canvas: _Canvas,
    image: NDArray[np.uint8],
    picture: Picture,
    place: tuple[int, int, int, int],
    strength: Strength,
    rng: np.random.Generator,
) -> None:
    """Scale, stretch, flip and shift a picture into its place, and its boxes with it."""
    x1, y1, x2, y2 = place
    height, width = image.shape[:2]
    fit = float(np.sqrt((x2 - x1) / width * (y2 - y1) / height))  # between contained and covering
    zoom = float(np.exp(rng.uniform(np.log(strength.min_zoom), np.log(strength.max_zoom))))
    stretch = float(np.exp(rng.uniform(-0.12, 0.12)))
    scale = np.array([fit * zoom * stretch, fit * zoom / stretch])
    room = np.array([x2 - x1, y2 - y1]) - scale * (width, height)
    shift = room * rng.uniform(0.0, 1.0, 2)  # negative room: a random crop
    flip = rng.random() < 0.5
    matrix = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    if flip:
        matrix[0] = [-scale[0], 0.0, shift[0] + scale[0] * width]
    target = canvas.image[y1:y2, x1:x2]
    shrunk, matrix_of_shrunk = _shrink_first(image, matrix)
    if strength.colour and rng.random() < 0.4:
        shrunk = _balance(shrunk, rng.uniform(0.3, 1.0))
    cv2.warpAffine(
        shrunk, matrix_of_shrunk, (x2 - x1, y2 - y1), dst=target, borderMode=cv2.BORDER_TRANSPARENT
    )
    _place_boxes(canvas, picture, matrix, place)


def _shrink_first(
    image: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Shrink by area first when the warp would shrink below two thirds: bilinear alone would alias."""
    factor = float(np.abs(matrix[:, :2]).sum(axis=1).max())
    if factor > 0.67:
        return image, matrix
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    adjusted = matrix.copy()
    adjusted[:, 0] *= width / small[0]
    adjusted[:, 1] *= height / small[1]
    return shrunk, adjusted


def _place_boxes(
    canvas: _Canvas, picture: Picture, matrix: NDArray[np.float64], place: tuple[int, int, int, int]
) -> None:
    x1, y1, x2, y2 = place
    scale, shift = matrix[:, :2].sum(axis=1), matrix[:, 2]
    corners = picture.boxes.reshape(-1, 2, 2) * scale + shift  # (N, 2, 2)
    full = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)  # (N, 4)
    size = (x2 - x1, y2 - y1)
    clipped = full.clip(0, np.array([*size, *size]))
    sides = (clipped[:, 2:] - clipped[:, :2]).clip(0)
    visible = sides.prod(axis=1) / np.maximum((full[:, 2:] - full[:, :2]).prod(axis=1), 1e-6)
    boxes = (clipped + np.array([x1, y1, x1, y1])).astype(np.float32)
    present = visible > 0.0
    learned = ~picture.crowd
    keep = learned & (visible >= MIN_VISIBLE) & (sides.min(axis=1, initial=np.inf) >= MIN_BOX_PX)
    canvas.boxes.append(boxes[keep])
    canvas.labels.append(picture.labels[keep])
    doubtful = boxes[present & learned & ~keep]
    canvas.ignore(doubtful, np.ones((len(doubtful), canvas.class_count), np.bool_))
    crowds = present & picture.crowd
    canvas.ignore(boxes[crowds], np.eye(canvas.class_count, dtype=np.bool_)[picture.labels[crowds]])
    if not picture.labelled.all():
        canvas.ignore(np.array(place, np.float32), ~picture.labelled)


def distort(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colour, contrast, grey, blur, noise and JPEG artefacts, as cameras and weather make them."""
    table = np.arange(256, dtype=np.float32)[:, None]
    gain = np.exp(rng.uniform(-0.35, 0.35)) * np.exp(rng.uniform(-0.15, 0.15, 3))
    gamma = np.exp(rng.uniform(-0.35, 0.35))
    curve = 255 * (table / 255) ** gamma * gain + rng.uniform(-20, 20)
    table_u8 = curve.clip(0, 255).astype(np.uint8)[:, None, :]  # (256, 1, 3)
    image = np.asarray(cv2.LUT(image, table_u8), np.uint8)
    if rng.random() < 0.35:
        image = _mix_with_grey(image, 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 1.8))
    if rng.random() < 0.15:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < 0.15:
        noise = rng.normal(0.0, rng.uniform(3, 14), image.shape[:2]).astype(np.int16)
        image = (image.astype(np.int16) + noise[..., None]).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = int(rng.integers(25, 80))
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return image


def _balance(image: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Take a colour cast (night vision, lamps) away by as much as `amount` in [0, 1]."""
    means = np.maximum(np.array(cv2.mean(image)[:3]), 1.0)
    gains = (means.mean() / means) ** amount
    table = (np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)[:, None, :]  # (256, 1, 3)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def _mix_with_grey(image: NDArray[np.uint8], saturation: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(image, saturation, grey, 1.0 - saturation, 0), np.uint8)
