"""Small synthetic detection sets: coloured shapes on noise."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CATEGORIES = ("square", "disc")
COLOURS = ((40, 40, 230), (230, 120, 30))


def write_shapes(folder: Path, count: int, side: int = 96, seed: int = 0) -> Path:
    """Write `count` pictures of one square and one disc each; returns the COCO file."""
    rng = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = rng.integers(90, 150, (side, side, 3), dtype=np.uint8)
        for category, column in enumerate(rng.permutation(2)):
            size = int(rng.integers(side // 4, side // 3))
            x = int(column * side // 2 + rng.integers(0, side // 2 - size))
            y = int(rng.integers(0, side - size))
            _draw(picture, category, (x, y), size)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": category + 1,
                    "bbox": [x, y, size, size],
                    "area": size * size,
                    "iscrowd": 0,
                }
            )
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), picture)
        images.append({"id": number + 1, "file_name": name, "width": side, "height": side})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CATEGORIES)]
    path = folder / "shapes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def _draw(picture: Any, category: int, corner: tuple[int, int], size: int) -> None:
    x, y = corner
    if category == 0:
        picture[y : y + size, x : x + size] = COLOURS[0]
    else:
        radius = size / 2
        cv2.circle(picture, (int(x + radius), int(y + radius)), int(radius), COLOURS[1], -1)
