import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.errors import InferenceError
from storage.rows import box_columns, check_results
from tests.storage.results import make_result

sizes = st.tuples(st.integers(1, 8192), st.integers(1, 8192))
corners = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 8), st.just(4)), elements=st.floats(-100, 9000, width=32)
)


@given(corners, sizes)
def test_boxes_lie_inside_the_frame_and_areas_belong_to_their_sides(
    boxes: np.ndarray, size: tuple[int, int]
) -> None:
    x, y, width, height, area = box_columns(boxes, size)
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (width >= 0).all()
    assert (height >= 0).all()
    assert (x + width <= size[0]).all()
    assert (y + height <= size[1]).all()
    assert (np.abs(area - width * height) < 0.01).all()


@given(corners, sizes)
def test_numbers_have_at_most_two_decimals(boxes: np.ndarray, size: tuple[int, int]) -> None:
    for column in box_columns(boxes, size):
        assert all(len(repr(value).partition(".")[2]) <= 2 for value in column.tolist())


@given(corners, sizes)
def test_corners_move_by_less_than_a_hundredth_of_a_pixel(boxes: np.ndarray, size: tuple[int, int]) -> None:
    inside = np.clip(np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4), 0, [*size, *size])
    x, y, width, height, _ = box_columns(inside.astype(np.float32), size)
    assert np.allclose(np.stack([x, y, x + width, y + height], axis=1), inside, atol=0.0101)


@pytest.mark.parametrize("side", [333, 576, 640, 768, 1080, 1920, 3840, 7680])
def test_no_box_that_ends_at_the_border_reaches_over_it_in_floating_point(side: int) -> None:
    left = np.arange(side * 100, dtype=np.float64) / 100
    boxes = np.stack([left, left, np.full_like(left, side), np.full_like(left, side)], axis=1)
    x, _, width, _, _ = box_columns(boxes.astype(np.float32), (side, side))
    assert (x + width <= side).all()


def test_no_detections_make_empty_columns() -> None:
    assert [len(column) for column in box_columns(np.zeros((0, 4), np.float32), (640, 480))] == [0] * 5


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_box_that_is_no_number_is_a_fault_of_the_detector(broken: float) -> None:
    with pytest.raises(InferenceError, match="finite"):
        check_results([make_result(), make_result(boxes=[(0, 0, broken, 1)])], 3)


def test_a_label_without_a_name_is_a_fault_of_the_detector() -> None:
    with pytest.raises(InferenceError, match="labels below 3, got 3"):
        check_results([make_result(boxes=[(0, 0, 1, 1)], labels=[3])], 3)
