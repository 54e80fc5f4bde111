import json
from pathlib import Path

import pytest

from app.training_data import TrainingData, categories_of, find_training_data
from core.errors import SettingsError


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


def test_a_file_has_its_pictures_in_images_or_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    assert find_training_data(file) == TrainingData(file, tmp_path)
    (tmp_path / "images").mkdir()
    assert find_training_data(file) == TrainingData(file, tmp_path / "images")


def test_a_folder_holds_one_file_for_training_and_perhaps_one_to_score_on(tmp_path: Path) -> None:
    touch(tmp_path / "annotations" / "instances_default.json")
    (tmp_path / "images").mkdir()
    train = tmp_path / "annotations" / "instances_default.json"
    assert find_training_data(tmp_path) == TrainingData(train, tmp_path / "images")
    touch(tmp_path / "train.json", tmp_path / "val.json")
    assert find_training_data(tmp_path) == TrainingData(
        tmp_path / "train.json", tmp_path / "images", tmp_path / "val.json", tmp_path / "images"
    )


def test_a_folder_may_hold_a_folder_of_each(tmp_path: Path) -> None:
    train, valid = (tmp_path / part / "_annotations.coco.json" for part in ("train", "valid"))
    touch(train, valid)
    assert find_training_data(tmp_path) == TrainingData(train, train.parent, valid, valid.parent)


def test_a_folder_without_annotations_says_what_it_may_hold(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected a folder with train\.json.*give the COCO file itself"):
        find_training_data(tmp_path)


def test_classes_are_those_that_have_boxes(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    names = [{"id": 0, "name": "fruit"}, {"id": 2, "name": "pear"}, {"id": 1, "name": "apple"}]
    boxes = [{"category_id": number} for number in (2, 1, 2)]
    file.write_text(json.dumps({"categories": names, "annotations": boxes}))
    assert categories_of(file) == ("apple", "pear")


def test_a_class_with_two_ids_is_one(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    names = [{"id": number, "name": "pothole"} for number in (0, 1)]
    file.write_text(
        json.dumps({"categories": names, "annotations": [{"category_id": 0}, {"category_id": 1}]})
    )
    assert categories_of(file) == ("pothole",)


@pytest.mark.parametrize("text", ["", "[]", '{"categories": []}', '{"categories": [{}], "annotations": []}'])
def test_another_kind_of_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SettingsError, match="expected a COCO file with categories, got another kind"):
        categories_of(tmp_path / "x.json")
    with pytest.raises(SettingsError, match="No such file"):
        categories_of(tmp_path / "gone.json")
