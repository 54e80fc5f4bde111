"""Sheets of added annotations: every one drawn where it lies, in order, and no more than fit on a page."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.annotate import class_color
from app.label_sheets import CAPTION_PX, COLUMNS, ROWS, TILE_PX, draw_sheets, draw_tile
from models.training.dataset import DetectionDataset, Picture

PAGE = COLUMNS * ROWS


class Plain(DetectionDataset):
    """One black picture with a white square, without a file."""

    def image(self, index: int) -> NDArray[np.uint8]:
        image = np.zeros((100, 200, 3), np.uint8)
        image[40:60, 20:40] = 255
        return image


def dataset(source: str = "yard") -> Plain:
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    return Plain(("car",), [Picture(7, Path("7.jpg"), 200, 100, source, *none, np.ones(1, np.bool_))])


def find(number: int, *, score: float = 0.5, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": 7,
        "category": "car",
        "bbox": [20.0, 40.0, 20.0, 20.0],
        "iscrowd": crowd,
        "score": score,
    }


def test_a_tile_shows_the_box_amid_what_is_around_it() -> None:
    tile = draw_tile(dataset().image(0), find(1))
    assert tile.shape == (TILE_PX + CAPTION_PX, TILE_PX, 3)
    side = TILE_PX / 37  # 12 to 49 and 32 to 69: 20 pixels and .4 of them on each side, and the last pixel
    low, high = round(8 * side), round(28 * side)
    middle = (low + high) // 2
    assert (tile[middle, middle] == 255).all()
    assert (tile[low // 2, low // 2] == 0).all()
    edge = tile[middle, low - 1 : low + 2].astype(int)
    assert abs(edge - class_color("car")).sum(axis=1).min() < 60


def test_a_box_at_the_edge_of_its_picture_is_drawn() -> None:
    corner = {**find(1), "bbox": [190.0, 90.0, 10.0, 10.0]}
    assert draw_tile(dataset().image(0), corner).shape == (TILE_PX + CAPTION_PX, TILE_PX, 3)


def test_kinds_have_sheets_of_their_own_and_long_ones_several(tmp_path: Path) -> None:
    finds = [*map(find, range(PAGE + 3)), find(900, crowd=1)]
    sheets = draw_sheets(finds, dataset("a/b c"), tmp_path)
    assert [sheet.name for sheet in sheets] == [
        "a_b_c-car-doubts-1.jpg",
        "a_b_c-car-labels-1.jpg",
        "a_b_c-car-labels-2.jpg",
    ]
    shapes = [cv2.imread(str(sheet)).shape[:2] for sheet in sheets]
    row = TILE_PX + CAPTION_PX
    assert shapes == [(row, TILE_PX), (ROWS * row, COLUMNS * TILE_PX), (row, 3 * TILE_PX)]


def test_the_best_scores_come_first(tmp_path: Path) -> None:
    finds = [find(1, score=0.3), {**find(2, score=0.9), "bbox": [100.0, 0.0, 20.0, 20.0]}]
    (sheet,) = draw_sheets(finds, dataset(), tmp_path)
    middle = cv2.imread(str(sheet))[TILE_PX // 3]  # only the second box lies on black alone
    assert middle[:TILE_PX].max(axis=1).mean() < middle[TILE_PX:].max(axis=1).mean()
