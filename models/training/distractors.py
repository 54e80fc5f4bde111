"""Things that are none of the classes, drawn into training pictures: posts, shrubs, windows, bicycles.

Few annotated pictures show street furniture, so that a detector takes upright things for people. Drawn
ones are cheap, and teach what holds for real ones too: that an outline which stands out is not enough.
Random drawings beside which the real thing is learned are known from domain randomisation (Tobin et al.
2017, arXiv:1703.06907).
"""

import re
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from core.types import Size

LEAST_HEIGHT_PX = 10.0
MOST_HEIGHT_SHARE = 0.6
"""Of the picture's height."""
MOST_COVER = 0.15
"""A distractor that would cover more of an object is left out: objects stay recognisable."""
TEXTURED = 0.5
"""Share that wears a part of the picture, enlarged: leaves, bark, walls and whatever else is there."""
AT_THE_EDGE = 0.2
"""Share that the left or right edge cuts, as it cuts what stands near to a camera."""
IN_FRONT = 0.25
"""Share that stands before an object, unless it would cover too much of it."""
RIDDEN = 0.6
"""Share of bicycles that are drawn below a person who stands free: a cyclist is no motorcycle."""
UPRIGHT = 1.3
"""Height over width from which a person stands."""
PEOPLE = frozenset(["person", "people", "pedestrian", "man", "woman", "child"])
"""Words in the names of categories that can ride."""
MOST_COVER_OF_RIDER = 0.3
"""As `MOST_COVER`: a bicycle hides legs."""
MARGIN_PX = 2
"""Around the drawing, for its soft edge."""

Image = NDArray[np.uint8]
Paint = NDArray[np.float32]
"""(H, W, 3), 0..255."""
Mask = NDArray[np.uint8]
"""(H, W): 255 where the thing is."""
Shape = Callable[[float, np.random.Generator], tuple[Mask, Paint]]
"""Draws one kind of thing at a height in pixels, flat ones at a width."""


def draw_distractors(
    image: Image,
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    categories: tuple[str, ...],
    most: int,
    rng: np.random.Generator,
) -> None:
    """Draw up to `most` of them into `image` (H, W, 3) in place.

    They leave the objects recognisable: `boxes` (N, 4) with `labels` (N,), which index `categories`. What
    one of the categories names is not drawn.
    """
    shapes = shapes_beside(categories)
    riders = _riders(boxes, labels, categories)
    for _ in range(int(rng.integers(0, most + 1)) if shapes else 0):
        _draw(image, boxes, riders, shapes[int(rng.integers(len(shapes)))], rng)


@cache
def shapes_beside(categories: tuple[str, ...]) -> tuple[Shape, ...]:
    """What may be drawn where `categories` are to be found."""
    words = frozenset[str]().union(*map(_words, categories))
    return tuple(shape for shape, names in _SHAPES if words.isdisjoint(names))


@cache
def _can_ride(categories: tuple[str, ...]) -> NDArray[np.bool_]:
    """(K,): which of the categories are people."""
    return np.array([not PEOPLE.isdisjoint(_words(name)) for name in categories], np.bool_)


def _words(name: str) -> frozenset[str]:
    """Words of a category's name as they stand and in the singular: `TrafficLights` has `light`."""
    words = [word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return frozenset(
        single for word in words for single in (word, word.removesuffix("s"), word.removesuffix("es"))
    )


def _riders(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], categories: tuple[str, ...]
) -> NDArray[np.float32]:
    """Those of the boxes (N, 4) whom no other box touches, and who stand and are people: (R, 4)."""
    sides = boxes[:, 2:] - boxes[:, :2]
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    alone = (high > low).all(axis=2).sum(axis=1) == 1  # (N,): touched by itself
    upright = sides[:, 1] > UPRIGHT * sides[:, 0]
    return np.asarray(boxes[_can_ride(categories)[labels] & alone & upright])


def _draw(
    image: Image,
    boxes: NDArray[np.float32],
    riders: NDArray[np.float32],
    shape: Shape,
    rng: np.random.Generator,
) -> None:
    """Draw one shape beside the objects (N, 4), a bicycle perhaps below one of the riders (R, 4)."""
    height, width = image.shape[:2]
    tall = float(np.exp(rng.uniform(np.log(LEAST_HEIGHT_PX), np.log(MOST_HEIGHT_SHARE * height))))
    rider = None
    if shape is _bicycle and len(riders) and rng.random() < RIDDEN:
        rider = riders[int(rng.integers(len(riders)))]
        tall = float(rider[3] - rider[1]) * rng.uniform(0.45, 0.7)
    mask, paint = shape(tall, rng)
    rows, columns = mask.shape
    if rng.random() < TEXTURED:
        paint = _texture(image, mask, rng)
    if rider is None:
        left, top = _place((width, height), (columns, rows), boxes, rng)
    else:
        left, top = _below(rider, (columns, rows), rng)
    x1, y1, x2, y2 = max(0, left), max(0, top), min(width, left + columns), min(height, top + rows)
    filled = float(mask.mean()) / 255
    limit = MOST_COVER if rider is None else MOST_COVER_OF_RIDER
    if x2 <= x1 or y2 <= y1 or _covers(np.array([x1, y1, x2, y2], np.float32), boxes, limit / filled):
        return
    seen = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
    soft = cv2.GaussianBlur(mask, (3, 3), rng.uniform(0.4, 1.0))[seen].astype(np.float32) / 255  # (h, w)
    target = image[y1:y2, x1:x2]
    mixed = target + soft[..., None] * (paint[seen] - target)
    target[:] = mixed.clip(0, 255).astype(np.uint8)


def _place(
    picture: Size, thing: Size, objects: NDArray[np.float32], rng: np.random.Generator
) -> tuple[int, int]:
    """Left and top of a thing: anywhere, cut by an edge, or before one of the objects (N, 4)."""
    (width, height), (columns, rows) = picture, thing
    left, top = int(rng.integers(-columns // 2, width)), int(rng.integers(-rows // 2, height))
    choice = rng.random()
    if choice < AT_THE_EDGE:
        hidden = int(columns * rng.uniform(0, 0.6))
        left = -hidden if rng.random() < 0.5 else width - columns + hidden
    elif choice < AT_THE_EDGE + IN_FRONT and len(objects):
        x1, y1, x2, y2 = objects[int(rng.integers(len(objects)))]
        left = int(rng.uniform(x1, x2) - columns / 2)
        top = int(y2 - rows + rng.uniform(-0.2, 0.4) * (y2 - y1))
    return left, top


def _below(rider: NDArray[np.float32], thing: Size, rng: np.random.Generator) -> tuple[int, int]:
    """Left and top of a bicycle under a rider (4,): its wheels reach below the feet."""
    x1, y1, x2, y2 = rider
    left = (x1 + x2 - thing[0]) / 2 + rng.uniform(-0.2, 0.2) * (x2 - x1)
    return int(left), int(y2 - thing[1] + rng.uniform(0.0, 0.25) * (y2 - y1))


def _texture(image: Image, mask: Mask, rng: np.random.Generator) -> Paint:
    """A random part of the picture at the mask's size, in another light."""
    (height, width), (rows, columns) = image.shape[:2], mask.shape
    zoom = rng.uniform(1.0, 4.0)
    high, wide = min(height, max(1, int(rows / zoom))), min(width, max(1, int(columns / zoom)))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    part = cv2.resize(image[top : top + high, left : left + wide], (columns, rows)).astype(np.float32)
    light = np.linspace(-1, 1, columns)[None, :, None] * rng.uniform(-40, 40)
    return np.asarray(part * rng.uniform(0.4, 1.3) + light, np.float32)


def _covers(box: NDArray[np.float32], objects: NDArray[np.float32], most: float) -> bool:
    """Whether a box (4,) covers more than a share of one of the objects (N, 4)."""
    sides = (np.minimum(objects[:, 2:], box[2:]) - np.maximum(objects[:, :2], box[:2])).clip(0)
    areas = (objects[:, 2:] - objects[:, :2]).prod(axis=1)
    return bool((sides.prod(axis=1) > most * areas).any())


def _blank(tall: float, wide: float) -> tuple[Mask, tuple[int, int, int, int]]:
    """An empty mask with margins, and the rectangle inside them: x1, y1, x2, y2."""
    height, width = max(3, round(tall)), max(2, round(wide))
    mask = np.zeros((height + 2 * MARGIN_PX, width + 2 * MARGIN_PX), np.uint8)
    return mask, (MARGIN_PX, MARGIN_PX, MARGIN_PX + width - 1, MARGIN_PX + height - 1)


def _paint(mask: Mask, rng: np.random.Generator) -> Paint:
    """A colour with light from one side, and rough to some degree."""
    height, width = mask.shape
    grey = rng.uniform(10, 245)
    colour = grey + rng.normal(0, 1, 3) * (60 if rng.random() < 0.4 else 6)  # (3,)
    light = np.linspace(-1, 1, width)[None, :] * rng.uniform(-50, 50)  # (1, W)
    light = light + np.linspace(-1, 1, height)[:, None] * rng.uniform(-30, 30)  # (H, W)
    rough = cv2.resize(
        rng.normal(0, rng.uniform(2, 12), (max(1, height // 3), max(1, width // 3))), (width, height)
    )
    return np.asarray(colour + (light + rough)[..., None], np.float32)


def _post(tall: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A post, pole, bollard or trunk, perhaps leaning, perhaps with a sign or lamp."""
    thick = max(1.5, tall * rng.uniform(0.03, 0.25))
    has_sign = rng.random() < 0.45
    sign = tall * rng.uniform(0.12, 0.4) if has_sign else 0.0
    mask, (x1, y1, x2, y2) = _blank(tall, max(thick * 1.7, sign))
    middle, lean = (x1 + x2) / 2, rng.uniform(-0.15, 0.15) * thick
    foot = thick * rng.uniform(0.9, 1.5)
    outline = [
        (middle + lean - thick / 2, y1),
        (middle + lean + thick / 2, y1),
        (middle + foot / 2, y2),
        (middle - foot / 2, y2),
    ]
    _fill(mask, outline)
    paint = _paint(mask, rng)
    if has_sign:
        plate = np.zeros_like(mask)
        centre = (round(middle), round(y1 + sign / 2))
        if rng.random() < 0.5:
            cv2.circle(plate, centre, max(1, round(sign / 2)), 255, -1)
        else:
            wide, high = (max(1, round(sign / 2 * share)) for share in (1.0, rng.uniform(0.5, 1)))
            x, y = centre
            cv2.rectangle(plate, (x - wide, y - high), (x + wide, y + high), 255, -1)
        paint = np.where(plate[..., None] > 0, _paint(mask, rng), paint)
        mask = np.maximum(mask, plate)
    return mask, paint


def _cone(tall: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A cone, hydrant or pyramid with a stripe."""
    mask, (x1, y1, x2, y2) = _blank(tall, tall * rng.uniform(0.4, 0.9))
    middle, tip = (x1 + x2) / 2, (x2 - x1) * rng.uniform(0.02, 0.2)
    _fill(mask, [(middle - tip, y1), (middle + tip, y1), (x2, y2), (x1, y2)])
    paint = _paint(mask, rng)
    stripe = slice(round(y1 + tall * rng.uniform(0.2, 0.4)), round(y1 + tall * rng.uniform(0.5, 0.7)))
    paint[stripe] = _paint(mask, rng)[stripe]
    return mask, paint


def _bin(tall: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A bin, cabinet, crate or door, perhaps with a frame."""
    mask, (x1, y1, x2, y2) = _blank(tall, tall * rng.uniform(0.35, 1.6))
    cv2.rectangle(mask, (x1, y1), (x2, y2), 255, -1)
    paint = _paint(mask, rng)
    if rng.random() < 0.6:
        rim = max(1, round(tall * rng.uniform(0.04, 0.15)))
        inner = slice(y1 + rim, max(y1 + rim, y2 - rim)), slice(x1 + rim, max(x1 + rim, x2 - rim))
        paint[inner] = _paint(mask, rng)[inner]
    return mask, paint


def _window(tall: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A window or shop window: panes that mirror something, between bars, perhaps below an arch."""
    mask, (x1, y1, x2, y2) = _blank(tall, tall * rng.uniform(0.5, 2.2))
    arch = round(tall * rng.uniform(0.1, 0.4)) if rng.random() < 0.4 else 0
    cv2.rectangle(mask, (x1, y1 + arch), (x2, y2), 255, -1)
    if arch:
        half = (max(1, (x2 - x1) // 2), arch)
        cv2.ellipse(mask, ((x1 + x2) // 2, y1 + arch), half, 0, 180, 360, 255, -1)
    bar = max(1, round(tall * rng.uniform(0.02, 0.08)))
    panes = np.zeros_like(mask)
    cv2.rectangle(panes, (x1 + bar, y1 + bar), (x2 - bar, y2 - bar), 255, -1)
    for x in np.linspace(x1, x2, int(rng.integers(2, 6)))[1:-1]:
        cv2.line(panes, (round(x), y1), (round(x), y2), 0, bar)
    for y in np.linspace(y1, y2, int(rng.integers(2, 4)))[1:-1]:
        cv2.line(panes, (x1, round(y)), (x2, round(y)), 0, bar)
    bright = np.zeros_like(mask)
    for _ in range(int(rng.integers(0, 4))):
        left, right = np.sort(rng.uniform(x1, x2, 2))
        low, lean = rng.uniform(y1, y2), tall * rng.uniform(-0.5, 0.5)
        _fill(bright, [(left, y1), (right, y1), (right + lean, low), (left + lean, low)])
    frame, glass, mirrored = (_paint(mask, rng) for _ in range(3))
    glass = glass * np.float32(rng.uniform(0.2, 1.0))
    glass = np.where(bright[..., None] > 0, (glass + mirrored) / 2, glass)
    return mask, np.where(panes[..., None] > 0, glass, frame)


def _shrub(tall: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A shrub, a crown of a tree or a heap: uneven in outline and inside, dark below."""
    mask, (x1, y1, x2, y2) = _blank(tall, tall * rng.uniform(0.4, 1.5))
    centre, half = np.array([x1 + x2, y1 + y2]) / 2, np.array([x2 - x1, y2 - y1]) / 2
    angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    reach = rng.uniform(0.55, 1.0, 18)[:, None]
    _fill(mask, centre + half * reach * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    height, width = mask.shape
    leaves = cv2.resize(
        rng.normal(0, rng.uniform(15, 55), (max(2, height // 4), max(2, width // 4))), (width, height)
    )
    green = np.array([0.6, 1.0, 0.8]) * rng.uniform(25, 120)
    below = np.linspace(15, -25, height)[:, None]  # (H, 1)
    return mask, np.asarray(green + (leaves + below)[..., None], np.float32)


def _patch(wide: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A manhole cover, puddle, shadow or mark on the ground: flat, perhaps with a rim."""
    mask, (x1, y1, x2, y2) = _blank(wide / rng.uniform(1.2, 4.0), wide)
    centre, half = ((x1 + x2) // 2, (y1 + y2) // 2), (max(1, (x2 - x1) // 2), max(1, (y2 - y1) // 2))
    lean = rng.uniform(-0.4, 0.4) * (x2 - x1)
    if rng.random() < 0.6:
        cv2.ellipse(mask, centre, half, 0, 0, 360, 255, -1)
    else:
        _fill(mask, [(x1 + max(0, lean), y1), (x2 + min(0, lean), y1), (x2 - max(0, lean), y2), (x1, y2)])
    paint = _paint(mask, rng)
    if rng.random() < 0.5:
        inner = np.zeros_like(mask)
        cv2.ellipse(inner, centre, (max(1, half[0] * 3 // 4), max(1, half[1] * 3 // 4)), 0, 0, 360, 255, -1)
        paint = np.where(inner[..., None] > 0, _paint(mask, rng), paint)
    return mask, paint


def _bicycle(tall: float, rng: np.random.Generator) -> tuple[Mask, Paint]:
    """A bicycle from the side or at an angle: two thin wheels, a frame, a saddle and a handlebar."""
    turned = rng.uniform(0.15, 1.0)  # of its length that is seen
    mask, (x1, y1, x2, y2) = _blank(tall, tall * 1.65 * turned)
    wheel = (y2 - y1) * rng.uniform(0.3, 0.36)  # radius
    half = max(1.0, wheel * turned)
    thin = max(1, round(tall * rng.uniform(0.015, 0.05)))
    length = x2 - x1 - 2 * half

    def at(along: float, up: float) -> tuple[int, int]:
        """A point by its share of the wheel base from the rear hub, and of the height over the hubs."""
        return max(x1, round(x1 + half + along * length)), max(y1, round(y2 - wheel - up * tall))

    rear, front, crank, saddle, head = at(0, 0), at(1, 0), at(0.42, -0.02), at(0.28, 0.52), at(0.85, 0.5)
    bar = head[0], y1 + thin

    tyres = np.zeros_like(mask)
    for hub in (rear, front):
        axes = (max(1, round(half) - thin), max(1, round(wheel) - thin))
        cv2.ellipse(tyres, hub, axes, 0, 0, 360, 255, thin + 1)
        cv2.ellipse(mask, hub, axes, 0, 0, 360, int(rng.integers(0, 70)), -1)  # spokes
    for start, end in (
        (rear, crank),
        (rear, saddle),
        (crank, saddle),
        (crank, head),
        (at(0.31, 0.42), head),
        (head, front),
        (head, bar),
    ):
        cv2.line(mask, start, end, 255, thin)
    cv2.line(mask, at(0.18, 0.52), at(0.38, 0.52), 255, 2 * thin)
    cv2.line(mask, (at(0.73, 0)[0], bar[1]), (at(0.93, 0)[0], bar[1]), 255, thin)
    paint = np.where(tyres[..., None] > 0, np.float32(rng.uniform(10, 70)), _paint(mask, rng))
    way = 1 if rng.random() < 0.5 else -1
    return np.ascontiguousarray(np.maximum(mask, tyres)[:, ::way]), np.ascontiguousarray(paint[:, ::way])


def _fill(mask: Mask, outline: object) -> None:
    cv2.fillPoly(mask, [np.round(np.asarray(outline)).astype(np.int32)], 255)


_SHAPES: tuple[tuple[Shape, frozenset[str]], ...] = tuple(
    (shape, frozenset(names.split()))
    for shape, often, names in (
        (_post, 2, "post pole bollard trunk tree sign lamp light"),
        (_cone, 1, "cone hydrant pyramid"),
        (_bin, 1, "bin cabinet crate box container door"),
        (_window, 2, "window door shop facade"),
        (_shrub, 1, "shrub bush plant tree heap"),
        (_patch, 1, "manhole puddle pothole shadow crack"),
        (_bicycle, 2, "bicycle bike cycle cyclist"),
    )
    for _ in range(often)
)
"""As often as they are drawn, with words for what each may be taken for."""
