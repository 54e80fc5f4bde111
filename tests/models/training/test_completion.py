from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import SettingsError
from core.types import Detections
from models.training.completion import Confidence, complete
from models.training.dataset import DetectionDataset, Picture

CATEGORIES = ("person", "car", "motorcycle", "truck")
PERSON, CAR, MOTORCYCLE, TRUCK = range(4)
Box = tuple[float, float, float, float]
WALKER: Box = (10, 10, 30, 60)
PARKED: Box = (100, 20, 160, 60)
CONFIDENCE = Confidence(sure=0.6, doubtful=0.2)


@dataclass(frozen=True)
class Seer:
    """A detector that sees the same in every picture."""

    seen: tuple[tuple[int, Box, float], ...]
    categories: tuple[str, ...] = CATEGORIES

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        ordered = sorted(self.seen, key=lambda one: -one[2])
        found = Detections(
            np.array([box for _, box, _ in ordered], np.float32).reshape(-1, 4),
            np.array([score for _, _, score in ordered], np.float32),
            np.array([label for label, _, _ in ordered], np.int64),
            self.categories,
        )
        return [found] * len(images)


class Blank(DetectionDataset):
    """Pictures without files."""

    def image(self, index: int) -> NDArray[np.uint8]:
        return np.zeros((100, 200, 3), np.uint8)


def picture(*objects: tuple[int, Box], labelled: Sequence[int] = (), source: str = "yard") -> Picture:
    return Picture(
        image_id=7,
        path=Path("7.jpg"),
        width=200,
        height=100,
        source=source,
        boxes=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for label, _ in objects], np.int64),
        crowd=np.zeros(len(objects), np.bool_),
        labelled=np.isin(np.arange(4), labelled),
    )


def additions(*pictures: Picture, seen: Sequence[tuple[int, Box, float]], **options: Any) -> list[Any]:
    absent = options.pop("absent", {})
    dataset = Blank(CATEGORIES, list(pictures))
    return list(complete(dataset, Seer(tuple(seen)), CONFIDENCE, absent, **options))


def test_a_sure_find_of_an_unlabelled_class_becomes_a_label_and_a_doubtful_one_a_crowd() -> None:
    (added,) = additions(
        picture((CAR, PARKED), labelled=[CAR]),
        seen=[(PERSON, WALKER, 0.7), (MOTORCYCLE, (150, 70, 190, 95), 0.3), (PERSON, (60, 60, 70, 80), 0.1)],
    )
    assert added == [
        {
            "image_id": 7,
            "category": "person",
            "bbox": [10.0, 10.0, 20.0, 50.0],
            "area": 1000.0,
            "iscrowd": 0,
            "score": 0.7,
        },
        {
            "image_id": 7,
            "category": "motorcycle",
            "bbox": [150.0, 70.0, 40.0, 25.0],
            "area": 1000.0,
            "iscrowd": 1,
            "score": 0.3,
        },
    ]


def test_a_sure_find_that_the_annotators_of_its_class_left_out_is_a_crowd() -> None:
    (added,) = additions(
        picture(labelled=[PERSON]), seen=[(PERSON, WALKER, 0.7), (PERSON, (60, 10, 80, 60), 0.5)]
    )
    assert [(one["bbox"][0], one["iscrowd"]) for one in added] == [(10.0, 1)]


def test_what_is_labelled_already_is_nothing_new() -> None:
    part_of_it = (105.0, 25.0, 140.0, 55.0)
    (added,) = additions(picture((CAR, PARKED)), seen=[(CAR, part_of_it, 0.9), (CAR, (90, 15, 170, 65), 0.8)])
    assert added == []


def test_one_object_is_only_one_of_exclusive_classes_but_a_motorcycle_has_a_rider() -> None:
    seen = [(TRUCK, PARKED, 0.9), (PERSON, (112, 10, 140, 50), 0.8)]
    (added,) = additions(picture((CAR, PARKED), labelled=[CAR]), seen=seen, exclusive=(("car", "truck"),))
    assert [one["category"] for one in added] == ["person"]
    (added,) = additions(picture((MOTORCYCLE, PARKED), labelled=[MOTORCYCLE]), seen=seen)
    assert [one["category"] for one in added] == ["truck", "person"]


def test_classes_that_a_source_shows_none_of_are_not_added_there() -> None:
    seen = [(PERSON, WALKER, 0.9), (CAR, PARKED, 0.9)]
    office, yard = additions(
        picture(source="office"), picture(source="yard"), seen=seen, absent={"office": ["car"]}
    )
    assert [one["category"] for one in office] == ["person"]
    assert [one["category"] for one in yard] == ["person", "car"]


def test_classes_that_the_file_does_not_have_are_left_out() -> None:
    dataset = Blank(("car",), [picture()])
    (added,) = complete(dataset, Seer(((PERSON, WALKER, 0.9), (CAR, PARKED, 0.9))), CONFIDENCE, {})
    assert [one["category"] for one in added] == ["car"]


def test_every_picture_gets_its_list_however_many_there_are() -> None:
    assert [len(one) for one in additions(*[picture()] * 19, seen=[(CAR, PARKED, 0.9)])] == [1] * 19


@pytest.mark.parametrize(("sure", "doubtful"), [(0.2, 0.5), (0.5, 0.0), (1.5, 0.2)])
def test_confidence_has_an_order(sure: float, doubtful: float) -> None:
    with pytest.raises(SettingsError, match="expected 0 < doubtful <= sure <= 1, got doubtful"):
        Confidence(sure, doubtful)
