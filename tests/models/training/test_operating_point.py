from pathlib import Path

import numpy as np
import pytest

from core.types import Detections
from models.training.dataset import DetectionDataset, Picture
from models.training.operating_point import OperatingPoint, judge

CATEGORIES = ("person", "car", "motorcycle")
PERSON, CAR, MOTORCYCLE = range(3)
Box = tuple[float, float, float, float]
WALKER: Box = (10, 10, 30, 60)
PARKED: Box = (100, 20, 160, 60)


def frame(
    *objects: tuple[int, Box],
    crowds: tuple[tuple[int, Box], ...] = (),
    number: int | None = None,
    labelled: tuple[bool, bool, bool] = (True, True, True),
) -> Picture:
    everything = [*objects, *crowds]
    return Picture(
        image_id=number or 0,
        path=Path("street.avi"),
        width=320,
        height=240,
        source="",
        boxes=np.array([box for _, box in everything], np.float32).reshape(-1, 4),
        labels=np.array([label for label, _ in everything], np.int64),
        crowd=np.array([False] * len(objects) + [True] * len(crowds), np.bool_),
        labelled=np.array(labelled),
        frame=number,
    )


def seen(*found: tuple[int, Box, float]) -> Detections:
    ordered = sorted(found, key=lambda one: -one[2])
    return Detections(
        np.array([box for _, box, _ in ordered], np.float32).reshape(-1, 4),
        np.array([score for *_, score in ordered], np.float32),
        np.array([label for label, *_ in ordered], np.int64),
        CATEGORIES,
    )


def judged(*pictures: tuple[Picture, Detections]) -> OperatingPoint:
    dataset = DetectionDataset(CATEGORIES, [picture for picture, _ in pictures])
    return judge(dataset, {index: found for index, (_, found) in enumerate(pictures)}, 0.5)


def test_right_wrong_and_missed_are_counted_at_the_threshold() -> None:
    found = seen((PERSON, WALKER, 0.9), (CAR, PARKED, 0.49), (PERSON, (200, 100, 220, 150), 0.6))
    point = judged((frame((PERSON, WALKER), (CAR, PARKED)), found))
    person, car, _ = point.classes
    assert (person.correct, person.wrong, person.missed) == (1, 1, 0)
    assert (car.correct, car.wrong, car.missed) == (0, 0, 1)
    assert (person.precision, person.recall, car.recall) == (0.5, 1.0, 0.0)
    assert np.isnan(car.precision)
    both = point.together(("person", "car"))
    assert (both.precision, both.recall) == (0.5, 0.5)
    assert point.confusion == ((1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (1, 0, 0, 0))


def test_an_object_of_another_class_is_confused_and_not_doubled() -> None:
    point = judged((frame((CAR, PARKED)), seen((MOTORCYCLE, PARKED, 0.9))))
    assert point.confusion[CAR] == (0, 0, 1, 0)
    assert (point.classes[CAR].missed, point.classes[MOTORCYCLE].wrong, point.doubled) == (1, 1, 0)


@pytest.mark.parametrize(
    ("second", "doubled"),
    [
        pytest.param((MOTORCYCLE, (10, 12, 30, 60), 0.6), 1, id="the same box as another class"),
        pytest.param((PERSON, (10, 10, 30, 35), 0.6), 1, id="half of the same person"),
        pytest.param((PERSON, (8, 8, 52, 62), 0.6), 1, id="around two persons"),
        pytest.param((MOTORCYCLE, (10, 45, 30, 62), 0.6), 0, id="something else at the feet"),
        pytest.param((PERSON, (31, 10, 51, 60), 0.6), 0, id="the next person"),
    ],
)
def test_an_object_with_two_boxes_is_doubled(second: tuple[int, Box, float], doubled: int) -> None:
    truth = frame((PERSON, WALKER), (PERSON, (31, 10, 51, 60)))
    assert judged((truth, seen((PERSON, WALKER, 0.9), second))).doubled == doubled


def test_crowds_and_classes_nobody_labelled_count_for_nothing() -> None:
    crowd = frame(crowds=((PERSON, (0, 0, 60, 60)),), labelled=(True, False, True))
    point = judged((crowd, seen((PERSON, WALKER, 0.9), (CAR, PARKED, 0.9))))
    assert sum(map(sum, point.confusion)) == 0
    assert judged((crowd, seen((MOTORCYCLE, WALKER, 0.9)))).classes[MOTORCYCLE].wrong == 1


def test_a_detection_that_stays_where_nothing_is_is_a_ghost() -> None:
    hedge, beside = (200.0, 100.0, 220.0, 150.0), (202.0, 101.0, 221.0, 150.0)
    stays = [
        (frame((PERSON, WALKER), number=0), seen((PERSON, hedge, 0.6))),
        (frame((PERSON, WALKER), number=40), seen((PERSON, beside, 0.7), (PERSON, (60, 100, 80, 150), 0.6))),
    ]
    point = judged(*stays)
    assert [(ghost.class_name, ghost.video, ghost.pictures) for ghost in point.ghosts] == [
        ("person", "street.avi", 2)
    ]
    assert point.ghosts[0].box == hedge
    pictures = [(frame(), found) for _, found in stays]
    assert judged(*pictures).ghosts == (), "pictures of different places cannot tell"


def test_a_bad_box_on_an_object_is_no_ghost() -> None:
    feet = (10.0, 40.0, 30.0, 60.0)
    point = judged(*((frame((PERSON, WALKER), number=n), seen((PERSON, feet, 0.6))) for n in range(3)))
    assert point.ghosts == ()
    assert point.classes[PERSON].wrong == point.classes[PERSON].missed == 3
