import numpy as np
import pytest
from numpy.typing import NDArray

from models.training.distractors import (
    MOST_COVER,
    _bicycle,
    _post,
    _shrub,
    draw_distractors,
    shapes_beside,
)

VEHICLES = ("person", "car", "motorcycle", "bus", "truck")

GREY = 128


def drawn(boxes: list[list[float]], most: int, seed: int, label: int = 0) -> NDArray[np.bool_]:
    """(120, 160): where pixels of a grey picture were drawn over, beside objects of one label."""
    image = np.full((120, 160, 3), GREY, np.uint8)
    objects = np.array(boxes, np.float32).reshape(-1, 4)
    draw_distractors(
        image, objects, np.full(len(objects), label), VEHICLES, most, np.random.default_rng(seed)
    )
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


@pytest.mark.parametrize("shape", dict.fromkeys(shapes_beside(VEHICLES)))
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


def test_what_is_a_class_is_not_drawn() -> None:
    assert _bicycle in shapes_beside(VEHICLES)
    for name in ("bicycle", "Mountain-Bike", "BIKES", "cargoBike_2"):
        assert _bicycle not in shapes_beside(("person", name))
    assert _post not in shapes_beside(("TrafficLights",))
    assert _shrub not in shapes_beside(("bushes",))
    every = ("post", "cone", "bin", "window", "shrub", "puddle", "bicycle")
    image = np.full((60, 80, 3), GREY, np.uint8)
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    draw_distractors(image, *nothing, every, 9, np.random.default_rng(0))
    assert (image == GREY).all()


@pytest.mark.parametrize(
    ("boxes", "label", "least", "most"),
    [
        ([[70, 30, 90, 90]], 0, 15, 40),
        ([[70, 30, 90, 90]], 2, 0, 10),
        ([[70, 30, 90, 90], [85, 40, 120, 80]], 0, 0, 10),
        ([[40, 30, 120, 90]], 0, 0, 10),
    ],
    ids=["a person", "a motorcycle", "a person beside something", "a person who does not stand"],
)
def test_bicycles_are_drawn_below_people_who_stand_free(
    boxes: list[list[float]], label: int, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.distractors.shapes_beside", lambda categories: (_bicycle,))
    pictures = [drawn(boxes, most=1, seed=seed, label=label) for seed in range(60)]
    ridden = [picture for picture in pictures if picture[60:90, 70:90].any()]
    assert least <= len(ridden) <= most
