from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import UsageError
from models.training.augmentation import Strength, compose
from models.training.cutouts import MOST_COVER, Cutouts, cut_out, outline, paste
from models.training.dataset import DetectionDataset, Picture

RED = (30, 30, 200)
BOX = (60.0, 40.0, 140.0, 100.0)


def scene(size: tuple[int, int] = (200, 150), box: tuple[float, ...] = BOX) -> NDArray[np.uint8]:
    """(H, W, 3): a red ellipse that fills its box, on rough grey."""
    width, height = size
    rough = np.random.default_rng(0).normal(120, 8, (height, width, 1))
    image = np.repeat(rough, 3, axis=2).clip(0, 255).astype(np.uint8)
    x1, y1, x2, y2 = box
    centre, half = (int((x1 + x2) / 2), int((y1 + y2) / 2)), (int((x2 - x1) / 2), int((y2 - y1) / 2))
    cv2.ellipse(image, centre, half, 0, 0, 360, RED, -1)
    return image


def scenes(folder: Path, box: tuple[float, ...] = BOX, *others: tuple[float, ...]) -> DetectionDataset:
    """Two pictures of the same thing, which is of class 0 in one and of class 1 in the other."""
    boxes = np.array([box, *others], np.float32)
    pictures = []
    for label in range(2):
        path = folder / f"{label}.png"
        cv2.imwrite(str(path), scene(box=box))
        none = np.zeros(len(boxes), np.bool_)
        labels, labelled = np.full(len(boxes), label), np.ones(2, np.bool_)
        pictures.append(Picture(label, path, 200, 150, "", boxes, labels, none, labelled))
    return DetectionDataset(("disc", "plate"), pictures)


def cutouts_of(dataset: DetectionDataset) -> Cutouts:
    return cut_out(dataset, 5, np.random.default_rng(0))


@pytest.mark.parametrize("factor", [1, 5])
def test_an_outline_follows_the_object(factor: int) -> None:
    """A large object is cut out at a smaller size."""
    box = tuple(edge * factor for edge in BOX)
    cutout = outline(scene((200 * factor, 150 * factor), box), np.array(box, np.float32), 1)
    assert cutout is not None
    assert (cutout.boxes.tolist(), cutout.labels.tolist()) == ([[0, 0, 1, 1]], [1])
    height, width = cutout.mask.shape
    assert cutout.image.shape == (height, width, 3)
    assert max(height, width) == pytest.approx(80 if factor == 1 else 256, abs=3)
    ellipse = np.zeros((height, width), np.uint8)
    cv2.ellipse(ellipse, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 255, -1)
    assert ((cutout.mask > 127) == (ellipse > 127)).mean() > 0.95
    assert np.abs(cutout.image[height // 2, width // 2].astype(int) - RED).max() < 5


def test_what_fills_its_box_or_nothing_of_it_has_no_outline() -> None:
    plain = np.full((150, 200, 3), 90, np.uint8)
    assert outline(plain, np.array(BOX, np.float32), 0) is None
    far_too_large = np.array((5, 5, 195, 145), np.float32)
    assert outline(scene(), far_too_large, 0) is None


@pytest.mark.parametrize(
    ("size", "box"),
    [((1000, 1000), (2, 2, 998, 998)), ((60, 12000), (10, 100, 50, 11900))],
    ids=["fills its picture", "has no width left"],
)
def test_what_is_all_or_nothing_of_its_picture_at_the_size_of_outlines_has_none(
    size: tuple[int, int], box: tuple[float, ...]
) -> None:
    assert outline(scene(size, box), np.array(box, np.float32), 0) is None


def test_each_class_is_drawn_as_often_as_any_other(tmp_path: Path) -> None:
    cutouts = cutouts_of(scenes(tmp_path))
    assert {label: len(found) for label, found in cutouts.alone.items()} == {0: 1, 1: 1}
    rng = np.random.default_rng(0)
    labels = [int(cutouts.draw(rng).labels[0]) for _ in range(200)]
    assert 70 < sum(labels) < 130


@pytest.mark.parametrize(
    ("box", "others"),
    [
        ((0.0, 40.0, 80.0, 100.0), ()),
        ((60.0, 40.0, 90.0, 60.0), ()),
        (BOX, ((80.0, 40.0, 160.0, 100.0),)),
    ],
    ids=["cut by the edge", "small", "covered"],
)
def test_without_an_object_that_stands_free_nothing_can_be_pasted(
    tmp_path: Path, box: tuple[float, ...], others: tuple[tuple[float, ...], ...]
) -> None:
    with pytest.raises(UsageError, match="stand free, got none; train without --paste"):
        cutouts_of(scenes(tmp_path, box, *others))


def test_crowds_are_not_cut_out(tmp_path: Path) -> None:
    dataset = scenes(tmp_path)
    dataset.pictures[0] = replace(dataset.pictures[0], crowd=np.ones(1, np.bool_))
    assert list(cutouts_of(dataset).alone) == [1]


BLUE = (200, 30, 30)
RIDER = (70.0, 20.0, 90.0, 70.0)


def ridden(folder: Path, left_out: bool, labelled: tuple[bool, bool] = (True, True)) -> DetectionDataset:
    """The thing, of class 1 or of none, with a blue rider in its left half, of class 0."""
    dataset = scenes(folder)
    image = scene()
    x1, y1, x2, y2 = map(int, RIDER)
    image[y1:y2, x1:x2] = BLUE
    cv2.imwrite(str(dataset.pictures[0].path), image)
    boxes = np.array([RIDER, BOX], np.float32)
    labels, crowd = np.array([0, 1]), np.zeros(2, np.bool_)
    known = slice(1 if left_out else 2)
    dataset.pictures[:] = [
        replace(
            dataset.pictures[0],
            boxes=boxes[known],
            labels=labels[known],
            crowd=crowd[known],
            left_out=boxes[known.stop :],
            labelled=np.array(labelled),
        )
    ]
    return dataset


def test_objects_of_different_classes_that_touch_are_cut_out_together(tmp_path: Path) -> None:
    cutouts = cutouts_of(ridden(tmp_path, left_out=False))
    assert (cutouts.alone, cutouts.left_out) == ({}, [])
    [cutout] = cutouts.groups
    rows, columns = cutout.mask.shape
    assert cutout.labels.tolist() == [0, 1]
    in_pixels = cutout.boxes * (columns, rows, columns, rows)
    sides = in_pixels[:, 2:] - in_pixels[:, :2]
    assert sides == pytest.approx(np.array([[20, 50], [80, 60]]), abs=1)
    x1, y1, x2, y2 = in_pixels[1].astype(int)
    middle = cutout.image[(y1 + y2) // 2, (x1 + x2) // 2]
    assert np.abs(middle.astype(int) - RED).max() < 5
    assert cutout.mask[(y1 + y2) // 2, x1 + 2 : x2 - 2].min() > 200
    assert cutout.mask[0, 0] < 50, "beside the rider"


def test_what_belongs_to_no_class_is_pasted_without_a_label(tmp_path: Path) -> None:
    cutouts = cutouts_of(ridden(tmp_path, left_out=True))
    [cutout] = cutouts.left_out
    assert (cutout.labels.tolist(), len(cutout.boxes)) == ([0], 1), "its rider keeps his"
    stranger = Cutouts({}, [], [replace(cutout, boxes=cutout.boxes[:0], labels=cutout.labels[:0])])
    image = np.full((240, 320, 3), 120, np.uint8)
    boxes, labels = paste(image, np.zeros((0, 4), np.float32), stranger, 6, np.random.default_rng(1))
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))
    assert (image != 120).any()


def test_nobody_is_cut_out_with_what_may_be_unlabelled(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stand free, got none"):
        cutouts_of(ridden(tmp_path, left_out=True, labelled=(True, False)))


def test_a_group_is_mirrored_with_its_boxes(tmp_path: Path) -> None:
    cutouts = cutouts_of(ridden(tmp_path, left_out=False))
    on_the_left = []
    for seed in range(16):
        image = np.full((300, 400, 3), 120, np.uint8)
        boxes, _ = paste(image, np.zeros((0, 4), np.float32), cutouts, 1, np.random.default_rng(seed))
        if len(boxes):
            rider, thing = boxes
            x1, y1, x2, y2 = rider.astype(int)
            blue, _, red = np.moveaxis(image[y1:y2, x1:x2].astype(int), 2, 0)
            assert (blue > 2 * red).mean() > 0.8
            on_the_left.append(bool(rider[0] - thing[0] < thing[2] - rider[2]))
    assert set(on_the_left) == {True, False}


@pytest.mark.parametrize("seed", range(10))
def test_boxes_lie_around_what_was_pasted(tmp_path: Path, seed: int) -> None:
    image = np.full((240, 320, 3), 120, np.uint8)
    there = np.array([[100, 80, 220, 160]], np.float32)
    rng = np.random.default_rng(seed)
    boxes, labels = paste(image, there, cutouts_of(scenes(tmp_path)), 3, rng)
    assert len(boxes) == len(labels) <= 3
    changed = (image != 120).any(axis=2)
    for x1, y1, x2, y2 in boxes.astype(int):
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 240
        middle = image[(y1 + y2) // 2, (x1 + x2) // 2].astype(int)
        assert middle[2] > 2 * middle[0], "red"
        changed[y1:y2, x1:x2] = False
    assert not changed.any()
    x1, y1, x2, y2 = there[0].astype(int)
    assert (image[y1:y2, x1:x2] != 120).any(axis=2).mean() <= 3 * MOST_COVER


def test_small_objects_are_pasted_before_large_ones(tmp_path: Path) -> None:
    image = np.full((240, 320, 3), 120, np.uint8)
    everything = np.array([[0, 0, 320, 240]], np.float32)
    boxes, _ = paste(image, everything, cutouts_of(scenes(tmp_path)), 6, np.random.default_rng(2))
    assert len(boxes)


def test_composed_pictures_name_what_was_pasted(tmp_path: Path) -> None:
    dataset = scenes(tmp_path)
    plain, rich = (
        compose(
            dataset,
            np.arange(2),
            (320, 256),
            Strength(mosaic=0.0, min_zoom=0.3, max_zoom=0.5, colour=False, pasted=pasted),
            np.random.default_rng(4),
            cutouts_of(dataset),
        )
        for pasted in (0, 6)
    )
    assert len(rich.boxes) > len(plain.boxes)
    assert rich.boxes[: len(plain.boxes)].tolist() == plain.boxes.tolist()
    assert len(rich.labels) == len(rich.boxes)
