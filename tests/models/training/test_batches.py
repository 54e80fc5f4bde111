from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UsageError
from models.training.augmentation import Strength
from models.training.batches import Batch, ExampleDataset, Phase, StepSampler, create_loader, sampling_weights
from models.training.dataset import DetectionDataset, read_coco
from tests.models.training.pictures import CATEGORIES, write_shapes

PHASE = Phase(1.0, ((96, 96), (128, 96)), Strength())


@pytest.fixture
def shapes(tmp_path: Path) -> DetectionDataset:
    return read_coco(write_shapes(tmp_path, 6), tmp_path, CATEGORIES)


def batches_from(shapes: DetectionDataset, first_step: int, count: int, workers: int = 0) -> list[Batch]:
    examples = ExampleDataset(shapes, sampling_weights(shapes, {}), seed=5)
    sampler = StepSampler(first_step, range(3), 5, lambda step: PHASE)
    return list(islice(create_loader(examples, sampler, workers), count))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_later_start_continues_the_same_stream(shapes: DetectionDataset, workers: int) -> None:
    whole, rest = batches_from(shapes, 0, 4), batches_from(shapes, 2, 2, workers)
    for expected, got in zip(whole[2:], rest, strict=True):
        assert expected.step == got.step
        assert torch.equal(expected.images, got.images)
        assert torch.equal(expected.truth.boxes, got.truth.boxes)


def test_batches_alternate_between_the_canvases(shapes: DetectionDataset) -> None:
    sizes = {tuple(batch.images.shape[1:3]) for batch in batches_from(shapes, 0, 12)}
    assert sizes == {(96, 96), (96, 128)}


def test_padding_is_marked_as_absent(shapes: DetectionDataset) -> None:
    for batch in batches_from(shapes, 0, 4):
        sides = batch.truth.boxes[..., 2:] - batch.truth.boxes[..., :2]
        assert torch.equal(batch.truth.present, (sides > 0).all(dim=-1))


def test_sources_are_drawn_by_their_weight(shapes: DetectionDataset) -> None:
    assert np.allclose(sampling_weights(shapes, {}), 1 / 6)
    with pytest.raises(UsageError, match="'yard'"):
        sampling_weights(shapes, {"yard": 2.0})
    with pytest.raises(UsageError, match="not all 0"):
        sampling_weights(shapes, {"": 0.0})
