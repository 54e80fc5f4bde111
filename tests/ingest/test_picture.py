"""Pictures on their way to the queue."""

from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from core.types import Frame
from ingest.picture import Mask, encode_frame, fit_size, shrink
from tests.clips import numbered_picture, read_number


@pytest.mark.parametrize(
    ("source", "max_side", "fitted"),
    [
        ((1920, 1080), 640, (640, 360)),
        ((1080, 1920), 640, (360, 640)),
        ((768, 576), 640, (640, 480)),
        ((320, 240), 640, (320, 240)),
        ((4000, 3), 640, (640, 1)),
        ((1920, 1080), None, (1920, 1080)),
    ],
)
def test_the_longer_side_is_shrunk_to_fit(source: tuple, max_side: int | None, fitted: tuple) -> None:
    assert fit_size(source, max_side) == fitted


def test_a_shrunk_picture_shows_the_same() -> None:
    small = shrink(numbered_picture(1234, (1280, 720)), 640)
    assert small.shape == (360, 640, 3)
    assert read_number(small, 1280) == 1234


def test_a_queued_frame_tells_its_scale_and_source_size() -> None:
    image = shrink(numbered_picture(7, (1920, 1080)), 640)
    frame = Frame("gate", 3, datetime(2026, 1, 1, tzinfo=UTC), image, (1920, 1080))
    queued = encode_frame(frame, 85, recorded=True)
    decoded = cv2.imdecode(np.frombuffer(queued.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert (queued.index, queued.source_size, queued.recorded) == (3, (1920, 1080), True)
    assert queued.scale == pytest.approx(1 / 3)
    assert decoded.shape == (360, 640, 3)
    assert read_number(decoded, 1920) == 7
    assert cv2.PSNR(decoded, image) > 30


def test_a_better_quality_takes_more_bytes() -> None:
    frame = Frame("gate", 0, datetime(2026, 1, 1, tzinfo=UTC), numbered_picture(9), (320, 240))
    sizes = [len(encode_frame(frame, quality, recorded=False).jpeg) for quality in (50, 85, 95)]
    assert sizes == sorted(sizes)


def test_masks_are_painted_black_and_nothing_else() -> None:
    image = np.full((100, 200, 3), 255, np.uint8)
    Mask([((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))]).paint(image)
    assert not image[:, :100].any()
    assert (image[:, 102:] == 255).all()


def test_outside_of_the_areas_all_is_black_and_masks_take_from_them() -> None:
    left, right_half_of_left = (
        ((0, 0), (0.5, 0), (0.5, 1), (0, 1)),
        ((0.25, 0), (0.5, 0), (0.5, 1), (0.25, 1)),
    )
    mask = Mask([right_half_of_left], [left])
    for height, width in ((100, 200), (50, 80)):  # a camera may change its size
        image = np.full((height, width, 3), 255, np.uint8)
        mask.paint(image)
        assert (image[:, : width // 4 - 2] == 255).all()
        assert not image[:, width // 4 :].any()


def test_where_polygons_overlap_they_do_not_undo_each_other() -> None:
    left, middle = ((0, 0), (0.6, 0), (0.6, 1), (0, 1)), ((0.4, 0), (0.8, 0), (0.8, 1), (0.4, 1))
    image = np.full((100, 200, 3), 255, np.uint8)
    Mask([left, middle]).paint(image)
    assert not image[:, :160].any()
    image = np.full((100, 200, 3), 255, np.uint8)
    Mask([], [left, middle]).paint(image)
    assert (image[:, :160] == 255).all()
