from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.training.augmentation import Example, Strength, compose, distort
from models.training.dataset import DetectionDataset, read_coco
from tests.models.training.pictures import CATEGORIES, COLOURS, write_shapes

PLAIN = Strength(mosaic=0.0, min_zoom=0.6, max_zoom=0.8, colour=False)


@pytest.fixture
def shapes(tmp_path: Path) -> DetectionDataset:
    return read_coco(write_shapes(tmp_path, 9), tmp_path, CATEGORIES)


def composed(dataset: DetectionDataset, strength: Strength, seed: int) -> Example:
    rng = np.random.default_rng(seed)
    return compose(dataset, np.arange(9), (160, 128), strength, rng)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_follow_their_objects(shapes: DetectionDataset, mosaic: float, seed: int) -> None:
    strength = Strength(mosaic=mosaic, min_zoom=0.6, max_zoom=1.4, colour=False)
    example = composed(shapes, strength, seed)
    assert example.image.shape == (128, 160, 3)
    for (x1, y1, x2, y2), label in zip(example.boxes, example.labels, strict=True):
        centre = example.image[int((y1 + y2) / 2), int((x1 + x2) / 2)].astype(int)
        assert np.abs(centre - COLOURS[label]).max() < 60
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 128


def test_the_same_seed_composes_the_same_picture(shapes: DetectionDataset) -> None:
    first, second = (composed(shapes, Strength(), seed=3) for _ in range(2))
    assert (first.image == second.image).all()
    assert first.boxes.tolist() == second.boxes.tolist()


def test_repainting_gives_the_same_picture_other_colours(shapes: DetectionDataset) -> None:
    plain = composed(shapes, Strength(mosaic=0.0), seed=2).image
    painted = [composed(shapes, Strength(mosaic=0.0, repaint=1.0), seed=2).image for _ in range(2)]
    assert (painted[0] == painted[1]).all()
    assert (painted[0] != plain).any()
    assert (np.sort(painted[0], axis=2) == np.sort(plain, axis=2)).all()


def test_distractors_leave_the_boxes_as_they_are(shapes: DetectionDataset) -> None:
    plain = composed(shapes, Strength(mosaic=0.0, colour=False), seed=2)
    busy = composed(shapes, Strength(mosaic=0.0, colour=False, distractors=20), seed=2)
    assert busy.boxes.tolist() == plain.boxes.tolist()
    assert (busy.image != plain.image).any()


def test_objects_mostly_cut_off_are_ignored_instead_of_learned(shapes: DetectionDataset) -> None:
    crops = [composed(shapes, Strength(mosaic=0.0, min_zoom=2.5, max_zoom=3.0), seed) for seed in range(20)]
    assert any(len(crop.ignored_boxes) for crop in crops)
    for crop in crops:
        assert crop.ignored_classes.all()
        assert len(crop.boxes) + len(crop.ignored_boxes) <= 2


def test_classes_that_nobody_labelled_are_ignored_in_their_part_of_a_mosaic(shapes: DetectionDataset) -> None:
    shapes.pictures[0] = replace(shapes.pictures[0], labelled=np.array([True, False]))
    example = composed(shapes, Strength(mosaic=1.0, min_zoom=0.7, max_zoom=0.8), seed=1)
    partial = ~example.ignored_classes.all(axis=1)
    assert example.ignored_classes[partial].tolist() == [[False, True]]
    x1, y1, x2, y2 = example.ignored_boxes[partial][0]
    assert (x1, y1) == (0, 0)
    assert 0 < x2 < 160
    assert 0 < y2 < 128


def test_crowds_are_ignored_for_their_class_alone(shapes: DetectionDataset) -> None:
    shapes.pictures[0] = replace(shapes.pictures[0], crowd=np.array([True, False]))
    example = composed(shapes, PLAIN, seed=0)
    assert example.labels.tolist() == [1]
    assert example.ignored_classes.tolist() == [[True, False]]


def test_a_picture_without_objects_gives_an_empty_example(shapes: DetectionDataset) -> None:
    shapes.pictures[0] = replace(
        shapes.pictures[0],
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, np.bool_),
    )
    example = composed(shapes, PLAIN, seed=0)
    assert example.boxes.shape == (0, 4)
    assert example.ignored_boxes.shape == (0, 4)


def test_distortion_keeps_shape_and_range() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for seed in range(20):
        distorted = distort(picture, np.random.default_rng(seed))
        assert distorted.shape == picture.shape
        assert distorted.dtype == np.uint8
    assert (picture == np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).all()
