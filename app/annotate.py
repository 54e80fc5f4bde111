"""Draws detections onto pictures: a colour per class, labels that stay readable at any resolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.types import Detections

Color = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""
Area = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels."""

# Okabe and Ito's palette, told apart with any colour vision (jfly.uni-koeln.de/color), without black.
_PALETTE: tuple[Color, ...] = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (0, 94, 213),
    (167, 121, 204),
    (178, 114, 0),
)
_FAMILIAR = ("person", "car", "truck", "bicycle", "bus", "motorcycle")
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK_DARK, _INK_LIGHT = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """One detection to draw, in pixels of the picture."""

    x1: float
    y1: float
    x2: float
    y2: float
    class_name: str
    score: float


def labelled_boxes(detections: Detections) -> list[LabelledBox]:
    """A detector's answer as boxes to draw."""
    return [
        LabelledBox(x1, y1, x2, y2, detections.categories[label], score)
        for (x1, y1, x2, y2), label, score in zip(
            detections.boxes.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True
        )
    ]


def class_color(class_name: str) -> Color:
    """The colour of a class: always the same one, whatever model names it."""
    if class_name in _FAMILIAR:
        return _PALETTE[_FAMILIAR.index(class_name)]
    return _PALETTE[sum(class_name.encode()) % len(_PALETTE)]


def draw_boxes(image: NDArray[np.uint8], boxes: Sequence[LabelledBox]) -> NDArray[np.uint8]:
    """A copy of `image` (H, W, 3) BGR with the boxes and their labels; the best scores are drawn last."""
    canvas = image.copy()
    unit = max(1.0, max(image.shape[:2]) / 800)
    """Line width in pixels: 1 up to 800 pixels, 2.4 at full HD."""
    ordered = sorted(boxes, key=lambda box: box.score)
    for box in ordered:
        corners = (round(box.x1), round(box.y1)), (round(box.x2), round(box.y2))
        cv2.rectangle(canvas, *corners, class_color(box.class_name), round(2 * unit), cv2.LINE_AA)
    taken: list[Area] = []
    for box in reversed(ordered):
        taken.append(_draw_label(canvas, box, unit, taken))
    return canvas


def _draw_label(canvas: NDArray[np.uint8], box: LabelledBox, unit: float, taken: Sequence[Area]) -> Area:
    text = f"{box.class_name} {box.score:.2f}"
    scale, thickness = 0.45 * unit, max(1, round(unit))
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = round(3 * unit)
    size = (width + 2 * margin, height + baseline + margin)
    x1, y1, x2, y2 = area = _place_label(box, size, canvas.shape, taken)
    color = class_color(box.class_name)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, cv2.FILLED)
    luminance = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]  # ITU-R BT.601
    ink = _INK_DARK if luminance > 110 else _INK_LIGHT
    cv2.putText(canvas, text, (x1 + margin, y1 + height + margin), _FONT, scale, ink, thickness, cv2.LINE_AA)
    return area


def _place_label(
    box: LabelledBox, size: tuple[int, int], shape: tuple[int, ...], taken: Sequence[Area]
) -> Area:
    """Above the box, else below, else inside it: the first place in the picture that no label has yet."""
    width, height = size
    left = min(max(0, round(box.x1)), max(0, shape[1] - width))
    tops = (round(box.y1) - height, round(box.y2), round(box.y1), round(box.y2) - height)
    places = [(left, top, left + width, top + height) for top in tops if 0 <= top <= shape[0] - height]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    if free or places:
        return (free or places)[0]
    top = min(max(0, tops[0]), max(0, shape[0] - height))
    return left, top, left + width, top + height


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
