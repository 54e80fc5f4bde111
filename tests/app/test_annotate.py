import numpy as np
import pytest

from app.annotate import LabelledBox, class_color, draw_boxes, labelled_boxes
from core.types import Detections


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_boxes_are_drawn_in_the_colour_of_their_class_on_a_copy() -> None:
    image = grey(768, 576)
    drawn = draw_boxes(image, [LabelledBox(100, 200, 300, 400, "car", 0.9)])
    assert (image == 128).all()
    assert tuple(drawn[300, 100]) == class_color("car")
    assert tuple(drawn[400, 200]) == class_color("car")
    assert tuple(drawn[300, 200]) == (128, 128, 128)


def test_familiar_classes_have_colours_of_their_own() -> None:
    names = ("person", "car", "truck", "bicycle", "bus", "motorcycle")
    assert len({class_color(name) for name in names}) == len(names)
    assert class_color("zebra") == class_color("zebra")


def label_height(width: int, height: int) -> int:
    """Rows of the label above a box in the middle of a picture."""
    box = LabelledBox(width * 0.4, height * 0.5, width * 0.6, height * 0.9, "car", 0.5)
    drawn = draw_boxes(grey(width, height), [box])
    column = drawn[: int(height * 0.5), int(width * 0.4) + 2]
    return int((column != 128).any(axis=1).sum())


def test_labels_grow_with_the_picture() -> None:
    small, large = label_height(800, 600), label_height(3200, 2400)
    assert 10 <= small <= 30
    assert 3.2 <= large / small <= 4.8


@pytest.mark.parametrize(
    "box",
    [(0, 0, 767, 575), (-20, -20, 50, 50), (700, 500, 800, 600), (760, 0, 768, 10), (0, 570, 5, 576)],
)
def test_labels_stay_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    drawn = draw_boxes(grey(768, 576), [LabelledBox(*box, "motorcycle", 0.87)])
    filled = (drawn == class_color("motorcycle")).all(axis=2)
    assert filled.sum() > 900, "the label's area is not to be seen"


def test_labels_of_boxes_on_top_of_each_other_do_not_cover_each_other() -> None:
    boxes = [LabelledBox(100, 200, 200, 300, name, score) for name, score in (("car", 0.9), ("truck", 0.5))]
    drawn = draw_boxes(grey(768, 576), boxes)
    assert (drawn[185:195, 100:150] == class_color("car")).all(axis=2).any()
    assert (drawn[305:315, 100:150] == class_color("truck")).all(axis=2).any()


def test_a_picture_smaller_than_a_label_is_no_error() -> None:
    assert draw_boxes(grey(20, 10), [LabelledBox(1, 1, 15, 9, "person", 0.5)]).shape == (10, 20, 3)


def test_a_detectors_answer_becomes_boxes() -> None:
    found = Detections(
        np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([1], np.int64), ("a", "b")
    )
    assert labelled_boxes(found) == [LabelledBox(1.0, 2.0, 3.0, 4.0, "b", 0.5)]
