import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.types import Detections
from models.training.dataset import DetectionDataset, Picture, read_coco
from models.training.evaluation import evaluate, score
from tests.models.training.pictures import CATEGORIES, write_shapes


@pytest.fixture
def shapes(tmp_path: Path) -> DetectionDataset:
    return read_coco(write_shapes(tmp_path, 10), tmp_path, CATEGORIES)


def detections(picture: Picture, shift_px: float = 0.0, label: int | None = None) -> Detections:
    boxes = (picture.boxes + shift_px).astype(np.float32)
    scores = np.linspace(0.9, 0.8, len(boxes), dtype=np.float32)
    labels = picture.labels if label is None else np.full_like(picture.labels, label)
    return Detections(boxes, scores, labels, CATEGORIES)


def test_perfect_detections_score_one(shapes: DetectionDataset) -> None:
    report = score(shapes, {index: detections(picture) for index, picture in enumerate(shapes.pictures)})
    assert report.ap50 == pytest.approx(1.0)
    assert report.ap == pytest.approx(1.0)
    assert [(entry.name, entry.boxes) for entry in report.classes] == [("square", 10), ("disc", 10)]


def test_shifted_detections_count_at_low_overlaps_only(shapes: DetectionDataset) -> None:
    # 4 px of 24 to 32 in both directions: IoU between (20/24)^2/(2-(20/24)^2) = .53 and .62
    found = {index: detections(picture, 4.0) for index, picture in enumerate(shapes.pictures)}
    report = score(shapes, found)
    assert report.ap50 == pytest.approx(1.0)
    assert 0.1 <= report.ap <= 0.3


def test_detections_of_the_wrong_class_score_nothing_there(shapes: DetectionDataset) -> None:
    found = {index: detections(picture, label=1) for index, picture in enumerate(shapes.pictures)}
    square, disc = score(shapes, found).classes
    assert square.ap50 == 0.0
    assert 0.3 < disc.ap50 < 0.9  # the wrong half of the boxes comes first


def test_no_detections_score_nothing(shapes: DetectionDataset) -> None:
    found = {index: Detections.empty(CATEGORIES) for index in range(len(shapes))}
    assert score(shapes, found).ap50 == 0.0


def test_classes_are_not_judged_where_they_were_not_labelled(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 10)
    content = json.loads(path.read_text())
    for image in content["images"][:9]:
        image["labelled_classes"] = ["disc"]
    path.write_text(json.dumps(content))
    partial = read_coco(path, tmp_path, CATEGORIES)
    found = {index: Detections.empty(CATEGORIES) for index in range(9)}  # squares are not judged there
    found[9] = detections(partial.pictures[9])
    square, disc = score(partial, found).classes
    assert (square.pictures, square.boxes, square.ap50) == (1, 1, pytest.approx(1.0))
    assert disc.pictures == 10
    assert disc.ap50 < 0.2


def test_rare_classes_are_left_out_of_the_average(tmp_path: Path) -> None:
    path = write_shapes(tmp_path, 40)
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 1 or a["image_id"] < 9]
    path.write_text(json.dumps(content))
    dataset = read_coco(path, tmp_path, CATEGORIES)
    found = {
        index: detections(picture).select(detections(picture).labels == 0)
        for index, picture in enumerate(dataset.pictures)
    }
    report = score(dataset, found)
    assert report.classes[1].boxes == 8
    assert report.classes[1].ap50 == 0.0
    assert report.ap50 == pytest.approx(1.0)


def test_precision_is_told_by_size_and_along_the_curve(shapes: DetectionDataset) -> None:
    found = {index: detections(picture) for index, picture in enumerate(shapes.pictures)}
    report = score(shapes, found)
    sides = {int(box[2] - box[0]) for picture in shapes.pictures for box in picture.boxes}
    assert max(sides) < 32
    assert report.ap_small == pytest.approx(1.0)
    assert np.isnan([report.ap_medium, report.ap_large]).all()
    curve = report.classes[0].curve
    assert curve is not None
    assert curve.recall.shape == curve.precision.shape == curve.score.shape == (101,)
    assert curve.precision.min() == pytest.approx(1.0)
    assert curve.score[-1] >= 0.8


class Oracle:
    categories = CATEGORIES

    def __init__(self, dataset: DetectionDataset) -> None:
        self.answers = {dataset.image(i).tobytes(): detections(p) for i, p in enumerate(dataset.pictures)}
        self.batches: list[int] = []

    def predict(self, images: list[np.ndarray]) -> list[Detections]:
        self.batches.append(len(images))
        return [self.answers[image.tobytes()] for image in images]


def test_evaluate_runs_the_detector_in_batches_and_reports_json(
    tmp_path: Path, shapes: DetectionDataset
) -> None:
    oracle = Oracle(shapes)
    report = evaluate(oracle, tmp_path / "shapes.json", tmp_path, batch_size=4)
    assert oracle.batches == [4, 4, 2]
    assert report.ap50 == pytest.approx(1.0)
    assert report.ms_per_picture > 0
    plain = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert plain["classes"][0]["name"] == "square"


@pytest.mark.parametrize("limit", [5, 7, 10, 12])
def test_a_limit_is_kept(tmp_path: Path, shapes: DetectionDataset, limit: int) -> None:
    report = evaluate(Oracle(shapes), tmp_path / "shapes.json", tmp_path, limit=limit)
    assert report.pictures == min(limit, 10)


def test_crowds_are_neither_missed_nor_mistakes(shapes: DetectionDataset) -> None:
    crowd = replace(shapes.pictures[0], crowd=np.array([True, False]))
    everything = {index: detections(picture) for index, picture in enumerate(shapes.pictures)}
    without_crowd = everything | {0: everything[0].select(everything[0].labels == 1)}
    shapes.pictures[0] = crowd
    for found in (everything, without_crowd):
        report = score(shapes, found)
        assert report.ap50 == pytest.approx(1.0)
        assert report.classes[0].boxes == 9
