import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import UsageError
from models.training.dataset import read_coco
from tests.models.training.pictures import CATEGORIES, write_shapes


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_boxes_become_corners_and_ids_become_classes(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 2)
    content = json.loads(path.read_text())
    dataset = read_coco(path, tmp_path, CATEGORIES)
    x, y, width, height = content["annotations"][0]["bbox"]
    assert dataset.pictures[0].boxes[0].tolist() == [x, y, x + width, y + height]
    assert dataset.pictures[0].labels.tolist() == [0, 1]
    assert dataset.pictures[0].labelled.all()
    assert dataset.image(0).shape == (96, 96, 3)


def test_categories_are_matched_by_name_in_the_order_asked_for(tmp_path: Path) -> None:
    dataset = read_coco(write_shapes(tmp_path, 1), tmp_path, ("disc", "square"))
    assert dataset.pictures[0].labels.tolist() == [1, 0]


def test_what_is_of_no_class_is_known_as_such(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 1)
    every, some = (read_coco(path, tmp_path, names).pictures[0] for names in (CATEGORIES, CATEGORIES[:1]))
    assert (len(every.boxes), len(every.left_out), len(some.boxes)) == (2, 0, 1)
    assert some.left_out.tolist() == [every.boxes[1].tolist()]


def test_labelled_classes_tell_what_was_labelled(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 1)
    image = json.loads(path.read_text())["images"][0] | {"labelled_classes": ["disc"], "source": "yard"}
    edit(path, {"images": [image]})
    picture = read_coco(path, tmp_path, CATEGORIES).pictures[0]
    assert picture.labelled.tolist() == [False, True]
    assert picture.source == "yard"


def test_boxes_are_clipped_slivers_left_out_and_crowds_marked(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 1)
    base = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    annotations = [
        base | {"bbox": [-10, -10, 30, 30]},
        base | {"bbox": [95.5, 0, 40, 40]},
        base | {"bbox": [10, 10, 20, 20], "iscrowd": 1},
    ]
    edit(path, {"annotations": annotations})
    picture = read_coco(path, tmp_path, CATEGORIES).pictures[0]
    assert picture.boxes.tolist() == [[0, 0, 20, 20], [10, 10, 30, 30]]
    assert picture.crowd.tolist() == [False, True]


def test_preload_stops_at_its_budget(tmp_path: Path) -> None:
    dataset = read_coco(write_shapes(tmp_path, 4), tmp_path, CATEGORIES)
    assert dataset.preload(2 * 96 * 96 * 3) == 2
    assert dataset.preload(1 << 30) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "at least one image"),
        ({"images": [{"id": 1}]}, "expected a COCO detection file"),
        ({"categories": [{"id": 1, "name": "square"}]}, "none named disc"),
        (
            {"annotations": [{"id": 7, "image_id": 99, "category_id": 1, "bbox": [0, 0, 5, 5]}]},
            "id 99, got none",
        ),
    ],
)
def test_a_file_that_is_not_as_expected_says_so(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_shapes(tmp_path, 1)
    edit(path, {"annotations": []} | change)
    with pytest.raises(UsageError, match=message):
        read_coco(path, tmp_path, CATEGORIES)


def test_broken_json_missing_file_and_missing_picture_are_usage_errors(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 1)
    with pytest.raises(UsageError, match="expected a COCO file"):
        read_coco(tmp_path / "no.json", tmp_path, CATEGORIES)
    with pytest.raises(UsageError, match="got no file"):
        read_coco(path, tmp_path / "elsewhere", CATEGORIES)
    (tmp_path / "0.png").write_text("not a picture")
    with pytest.raises(UsageError, match="readable picture"):
        read_coco(path, tmp_path, CATEGORIES).image(0)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UsageError, match="expected JSON"):
        read_coco(path, tmp_path, CATEGORIES)
