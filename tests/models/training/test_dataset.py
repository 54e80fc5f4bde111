import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from core.errors import UsageError
from models.training.dataset import DetectionDataset, read_coco, read_frames
from tests.clips import read_number, write_clip
from tests.models.training.pictures import CATEGORIES, write_shapes

FRAME_BYTES = 240 * 320 * 3


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def frames_of_a_video(folder: Path, *numbers: int, size: tuple[int, int] = (320, 240)) -> DetectionDataset:
    """Numbered frames of 320x240 pixels, annotated as of `size`."""
    path = write_shapes(folder, 1)
    write_clip(folder / "street.avi", frames=6, codec="mjpeg")
    image = {"file_name": "street.avi", "width": size[0], "height": size[1]}
    images = [image | {"id": index, "frame": number} for index, number in enumerate(numbers)]
    edit(path, {"images": images, "annotations": []})
    return read_coco(path, folder, CATEGORIES)


def numbers_seen(dataset: DetectionDataset) -> list[int]:
    return [read_number(dataset.image(index), 320) for index in range(len(dataset))]


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


def test_every_id_of_a_name_is_of_its_class(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 1)
    edit(path, {"categories": [{"id": number, "name": "pothole"} for number in (1, 2)]})
    picture = read_coco(path, tmp_path, ("pothole",)).pictures[0]
    assert picture.labels.tolist() == [0, 0]
    assert len(picture.left_out) == 0


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


def test_boxes_of_classes_that_were_not_labelled_are_crowds(tmp_path: Path) -> None:
    """Neither learned nor scored, but known: `models label` adds nothing there, pasting cuts nothing out."""
    path = write_shapes(tmp_path, 1)
    image = json.loads(path.read_text())["images"][0] | {"labelled_classes": ["disc"]}
    edit(path, {"images": [image]})
    picture = read_coco(path, tmp_path, CATEGORIES).pictures[0]
    assert picture.labels.tolist() == [0, 1]
    assert picture.crowd.tolist() == [True, False]


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


def test_frames_of_a_video_are_preloaded_within_the_budget_and_seen_beyond_it(tmp_path: Path) -> None:
    dataset = frames_of_a_video(tmp_path, 3, 0, 5, 1)
    assert dataset.preload(2 * FRAME_BYTES) == 2
    assert numbers_seen(dataset) == [3, 0, 5, 1]


@pytest.mark.parametrize(("held", "times"), [(6, 1), (2, 3), (0, 6)])
def test_a_video_is_decoded_once_for_as_many_frames_as_may_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, times: int
) -> None:
    decode = Mock(side_effect=read_frames)
    monkeypatch.setattr("models.training.dataset.read_frames", decode)
    monkeypatch.setattr("models.training.dataset.FRAMES_BYTES", held * FRAME_BYTES)
    assert numbers_seen(frames_of_a_video(tmp_path, *range(6))) == [*range(6)]
    assert decode.call_count == times


def test_a_frame_may_be_annotated_twice(tmp_path: Path) -> None:
    assert numbers_seen(frames_of_a_video(tmp_path, 2, 4, 2)) == [2, 4, 2]


def test_a_frame_that_the_video_does_not_have_says_so(tmp_path: Path) -> None:
    for number in (-1, 6):
        with pytest.raises(UsageError, match=f"expected a video with a frame {number}, got none"):
            frames_of_a_video(tmp_path, number, 0).image(0)


def test_pixels_of_another_size_than_annotated_are_refused(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 1)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((96, 48, 3), np.uint8))
    with pytest.raises(UsageError, match=r"0\.png: expected 96x96 pixels as annotated, got 48x96; annotate"):
        read_coco(path, tmp_path, CATEGORIES).image(0)
    with pytest.raises(UsageError, match=r"street\.avi: expected 240x320 pixels as annotated, got 320x240"):
        frames_of_a_video(tmp_path, 0, size=(240, 320)).image(0)


@pytest.mark.parametrize("bbox", [[], None, [1, 2, 3], [1, 2, 3, None], [[1, 2, 3, 4]]])
def test_a_box_without_four_numbers_is_named(tmp_path: Path, bbox: Any) -> None:
    path = write_shapes(tmp_path, 1)
    good, bad = json.loads(path.read_text())["annotations"]
    edit(path, {"annotations": [good, bad | {"bbox": bbox}]})
    with pytest.raises(UsageError, match=r"annotation 2: expected a bbox of x, y, width and height, got .*;"):
        read_coco(path, tmp_path, CATEGORIES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "at least one image"),
        ({"images": [{"id": 1}]}, "expected a COCO detection file"),
        ({"images": [{"id": "a", "file_name": "0.png", "width": 96, "height": 96}]}, "breaks at .* 'a'"),
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
