import numpy as np
import pytest
from numpy.typing import NDArray

from models.training.distractors import _SHAPES, MOST_COVER, draw_distractors

GREY = 128


def drawn(boxes: list[list[float]], most: int, seed: int) -> NDArray[np.bool_]:
    """(120, 160): where pixels of a grey picture were drawn over."""
    image = np.full((120, 160, 3), GREY, np.uint8)
    objects = np.array(boxes, np.float32).reshape(-1, 4)
    draw_distractors(image, objects, most, np.random.default_rng(seed))
    return np.asarray((image != GREY).any(axis=2))


def test_pictures_get_things_at_other_places_each_time() -> None:
    pictures = [drawn([], most=6, seed=seed) for seed in range(20)]
    assert sum(picture.any() for picture in pictures) > 15
    assert np.mean(pictures, axis=0).max() < 0.6


@pytest.mark.parametrize("seed", range(20))
def test_objects_stay_recognisable(seed: int) -> None:
    x1, y1, x2, y2 = 40, 30, 100, 90
    inside = drawn([[x1, y1, x2, y2]], most=4, seed=seed)[y1:y2, x1:x2]
    assert inside.mean() <= 4 * MOST_COVER


def test_some_stand_before_an_object_and_some_are_cut_by_an_edge() -> None:
    pictures = [drawn([[10, 5, 150, 115]], most=3, seed=seed) for seed in range(60)]
    assert sum(picture[20:100, 30:130].any() for picture in pictures) > 3
    assert sum(picture[:, 0].any() or picture[:, -1].any() for picture in pictures) > 3


@pytest.mark.parametrize("shape", dict.fromkeys(_SHAPES))
@pytest.mark.parametrize("tall", [10.0, 37.0, 300.0])
def test_every_shape_lies_inside_its_mask(shape: object, tall: float) -> None:
    assert callable(shape)
    for seed in range(10):
        mask, paint = shape(tall, np.random.default_rng(seed))
        assert paint.shape == (*mask.shape, 3)
        assert 0 < (mask > 0).mean() < 1
        assert min(abs(side - tall) for side in mask.shape) < 6, "of the height, flat things of the width"
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert not edge.any()
