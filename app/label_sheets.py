"""Contact sheets of annotations that a detector added, for people to look at before they are learned."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.annotate import class_color
from core.errors import SettingsError
from models.training.dataset import DetectionDataset

COLUMNS, ROWS = 10, 8
TILE_PX = 160
CAPTION_PX = 18
AROUND = 0.4
"""What is shown on every side of a box, in lengths of its longer side."""
_GREY, _INK = 60, (235, 235, 235)

Image = NDArray[np.uint8]


def prepare_folder(folder: Path) -> None:
    """Make the folder of `--sheets`, before any work is done. Raises SettingsError, also for one with files.

    Sheets of an earlier run would show ids that mean something else by now.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = next(folder.iterdir(), None) is None
    except OSError as error:
        raise _unwritable(folder, error) from error
    if not is_empty:
        raise SettingsError(f"--sheets {folder}: expected a new or empty folder, got one with files")


def draw_sheets(added: Sequence[Mapping[str, Any]], dataset: DetectionDataset, folder: Path) -> list[Path]:
    """Draw every added COCO annotation (`id`, `image_id`, `bbox`, `category`, `iscrowd`, `score`) as a tile.

    One kind of find, of one class and source, fills sheets of its own, best scores first:
    `SOURCE-CLASS-doubts-1.jpg`. Raises SettingsError where the folder cannot be written.
    """
    number_of = {picture.image_id: number for number, picture in enumerate(dataset.pictures)}
    kinds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in sorted(added, key=lambda one: -one["score"]):
        source = dataset.pictures[number_of[one["image_id"]]].source
        kind = (source, one["category"], "doubts" if one["iscrowd"] else "labels")
        kinds["-".join(re.sub(r"[^\w.]+", "_", word) for word in kind if word)].append(one)
    most = COLUMNS * ROWS
    sheets = []
    for name, finds in sorted(kinds.items()):
        for page, start in enumerate(range(0, len(finds), most), 1):
            tiles = [
                draw_tile(dataset.image(number_of[one["image_id"]]), one)
                for one in finds[start : start + most]
            ]
            sheets.append(_write(_lay_out(tiles), folder / f"{name}-{page}.jpg"))
    return sheets


def draw_tile(image: Image, find: Mapping[str, Any]) -> Image:
    """One annotation with what is around it (TILE_PX + CAPTION_PX, TILE_PX, 3), its id and score below."""
    x, y, width, height = find["bbox"]
    margin = AROUND * max(width, height)
    left, top = max(0, int(x - margin)), max(0, int(y - margin))
    shown = image[top : int(y + height + margin) + 1, left : int(x + width + margin) + 1]
    scale = TILE_PX / max(shown.shape[:2])
    size = max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = np.asarray(cv2.resize(shown, size, interpolation=method), np.uint8)
    start = round((x - left) * scale), round((y - top) * scale)
    end = round((x + width - left) * scale), round((y + height - top) * scale)
    cv2.rectangle(shown, start, end, class_color(find["category"]), 1, cv2.LINE_AA)
    tile = np.full((TILE_PX + CAPTION_PX, TILE_PX, 3), _GREY, np.uint8)
    tile[: size[1], : size[0]] = shown
    caption = f"{find['id']}  {find['score']:.2f}"
    cv2.putText(tile, caption, (4, TILE_PX + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return tile


def _lay_out(tiles: Sequence[Image]) -> Image:
    """Tiles side by side in rows of COLUMNS, the last row filled up with grey."""
    blank = np.full_like(tiles[0], _GREY)
    columns = min(COLUMNS, len(tiles))
    filled = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    return np.vstack(rows)


def _write(sheet: Image, path: Path) -> Path:
    _, encoded = cv2.imencode(".jpg", sheet, (cv2.IMWRITE_JPEG_QUALITY, 88))
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    return path


def _unwritable(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(f"--sheets {folder}: expected a folder to write to, got {error}")
