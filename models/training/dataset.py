"""COCO-format pictures whose annotators may have labelled only some of the classes."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError

MIN_SIDE_PX = 1.0
"""Boxes thinner than this after clipping to their picture are label noise."""
FRAMES_BYTES = 1 << 30
"""Frames of videos are kept up to this, unless `preload` sets a budget."""


def _no_boxes() -> NDArray[np.float32]:
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True, slots=True)
class Picture:
    """One annotated picture, still in its file."""

    image_id: int
    path: Path
    width: int
    height: int
    source: str
    """Name of the collection that it comes from, for sampling; may be empty."""
    boxes: NDArray[np.float32]
    """(N, 4): x1, y1, x2, y2 in pixels of the picture."""
    labels: NDArray[np.int64]
    """(N,): indices into the categories of the dataset."""
    crowd: NDArray[np.bool_]
    """(N,): True for boxes around what is neither to be found nor to be called a mistake (COCO's iscrowd,
    and any box of a class that is not labelled here)."""
    labelled: NDArray[np.bool_]
    """(K,): the classes that the annotators set out to label here; of the others nothing is known."""
    frame: int | None = None
    """Number of the frame, from 0, where `path` is a video."""
    left_out: NDArray[np.float32] = field(default_factory=_no_boxes)
    """(M, 4): as `boxes`, of what belongs to none of the categories of the dataset."""


_Key = tuple[Path, int | None]
"""A picture file, or a video and the number of a frame."""


class DetectionDataset:
    """Annotated pictures, with decoded images kept in memory up to a budget."""

    def __init__(self, categories: tuple[str, ...], pictures: list[Picture]) -> None:
        self.categories = categories
        self.pictures = pictures
        self._budget_bytes = FRAMES_BYTES
        self._preloaded: dict[_Key, NDArray[np.uint8]] = {}
        self._ahead: dict[_Key, NDArray[np.uint8]] = {}  # frames, until others need the room

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> NDArray[np.uint8]:
        """The picture's pixels, uint8 (H, W, 3) BGR; not to be written to.

        Raises UsageError, also for pixels of another size than the annotations are made for.
        """
        picture = self.pictures[index]
        key = picture.path, picture.frame
        image = self._preloaded.get(key, self._ahead.get(key))
        if image is None:
            image = self._decode(picture.path, picture.frame)
        height, width = image.shape[:2]
        if (width, height) != (picture.width, picture.height):
            raise UsageError(
                f"{picture.path}: expected {picture.width}x{picture.height} pixels as annotated, got "
                f"{width}x{height}; annotate the picture as it is now, turned as its EXIF says"
            )
        return image

    def _decode(self, path: Path, frame: int | None) -> NDArray[np.uint8]:
        """Of a video, keep later frames too while there is room: each takes decoding all before it."""
        if frame is None:
            return read_image(path)
        wanted = {
            picture.frame
            for picture in self.pictures
            if picture.path == path and picture.frame is not None and picture.frame >= frame
        }
        for number, image in read_frames(path, wanted):
            if self._held_bytes() + image.nbytes > self._budget_bytes:
                if (path, frame) in self._ahead:
                    break
                self._ahead.clear()
            self._ahead[path, number] = image
        return self._ahead[path, frame]

    def _held_bytes(self) -> int:
        return sum(image.nbytes for image in (self._preloaded | self._ahead).values())

    def preload(self, budget_bytes: int) -> int:
        """Decode pictures into memory while they fit the budget; returns how many are held.

        Done before the loader forks its workers, so that they share the pages. Two annotated pictures of one
        file and frame are one.
        """
        self._budget_bytes, self._ahead = budget_bytes, {}
        spent = self._held_bytes()
        of_key = {(picture.path, picture.frame): index for index, picture in enumerate(self.pictures)}
        for key in sorted(of_key.keys() - self._preloaded.keys(), key=lambda key: (key[0], key[1] or 0)):
            image = self.image(of_key[key])
            spent += image.nbytes
            if spent > budget_bytes:
                break
            self._preloaded[key] = image
        self._ahead.clear()
        return len(self._preloaded)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a picture file to uint8 (H, W, 3) BGR. Raises UsageError for a missing or broken file."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise UsageError(f"{path}: expected a readable picture, got none; check the images folder")
    return np.asarray(image, np.uint8)


def read_frames(path: Path, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Numbers, counted from 0, and pixels (H, W, 3) BGR of a video's frames, in the video's order.

    Raises UsageError at the end of a video that lacks one.
    """
    video = cv2.VideoCapture(str(path))
    missing = set(wanted)
    try:
        for number in range(max(wanted, default=-1) + 1):
            if not video.grab():
                break
            if number in missing:
                missing.remove(number)
                yield number, np.asarray(video.retrieve()[1], np.uint8)
    finally:
        video.release()
    if missing:
        raise UsageError(
            f"{path}: expected a video with a frame {min(missing)}, got none; check the images folder"
        )


def read_coco(annotation_file: Path, images_dir: Path, categories: tuple[str, ...]) -> DetectionDataset:
    """Read a COCO detection file; boxes of categories not asked for are no objects (`Picture.left_out`).

    `labelled_classes` of an image (a list of category names, our extension) tells which classes were
    labelled there; without it all were. `frame` of an image (our extension too) says that `file_name` is a
    video and which of its frames is meant, from 0. Category ids are mapped by name onto `categories`.

    Raises UsageError for broken JSON, missing keys, unknown references and missing picture files.
    """
    content = read_json(annotation_file)
    try:
        class_of = _class_of_category(content["categories"], categories, annotation_file)
        annotations = _by_image(content["annotations"], annotation_file, content["images"])
        pictures = [
            _picture(image, annotations[image["id"]], images_dir, class_of, categories)
            for image in content["images"]
        ]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UsageError(
            f"{annotation_file}: expected a COCO detection file (images, annotations, categories), "
            f"got one that breaks at {error}"
        ) from error
    missing = next((picture.path for picture in pictures if not picture.path.is_file()), None)
    if missing is not None:
        raise UsageError(
            f"{missing}: expected a picture of {annotation_file.name}, got no file; check images"
        )
    if not pictures:
        raise UsageError(f"{annotation_file}: expected at least one image, got none")
    return DetectionDataset(categories, pictures)


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file. Raises UsageError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: expected a COCO file, got {error.strerror}; check the path") from error
    except ValueError as error:
        raise UsageError(f"{path}: expected JSON, got text that breaks at {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a COCO object, got a JSON {type(content).__name__}")
    return content


def _class_of_category(
    entries: list[dict[str, Any]], categories: tuple[str, ...], path: Path
) -> dict[int, int]:
    names = {entry["name"] for entry in entries}
    absent = [name for name in categories if name not in names]
    if absent:
        raise UsageError(
            f"{path}: expected the categories {', '.join(categories)}, got none named {absent[0]}"
        )
    return {entry["id"]: categories.index(entry["name"]) for entry in entries if entry["name"] in categories}


def _by_image(
    annotations: list[dict[str, Any]], path: Path, images: list[dict[str, Any]]
) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        if annotation["image_id"] not in grouped:
            raise UsageError(
                f"{path}: annotation {annotation.get('id')} expects an image with id "
                f"{annotation['image_id']}, got none"
            )
        if not _is_box(annotation.get("bbox")):
            raise UsageError(
                f"{path}: annotation {annotation.get('id')}: expected a bbox of x, y, width and height, got "
                f"{annotation.get('bbox')}; correct it, or delete the annotation"
            )
        grouped[annotation["image_id"]].append(annotation)
    return grouped


def _is_box(bbox: object) -> bool:
    return isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(x, int | float) for x in bbox)


def _picture(
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    images_dir: Path,
    class_of: dict[int, int],
    categories: tuple[str, ...],
) -> Picture:
    known = [a for a in annotations if a["category_id"] in class_of]
    others = [a for a in annotations if a["category_id"] not in class_of and not a.get("iscrowd", 0)]
    width, height = int(image["width"]), int(image["height"])
    corners, left_out = (_corners(some, width, height) for some in (known, others))
    labels = np.array([class_of[a["category_id"]] for a in known], np.int64)
    labelled_names = image.get("labelled_classes", categories)
    labelled = np.array([name in labelled_names for name in categories], np.bool_)
    crowd = np.array([a.get("iscrowd", 0) for a in known], np.bool_) | ~labelled[labels]
    solid = _are_solid(corners)
    return Picture(
        image_id=int(image["id"]),
        path=images_dir / str(image["file_name"]),
        width=width,
        height=height,
        source=str(image.get("source", "")),
        boxes=corners[solid],
        labels=labels[solid],
        crowd=crowd[solid],
        labelled=labelled,
        frame=None if image.get("frame") is None else int(image["frame"]),
        left_out=left_out[_are_solid(left_out)],
    )


def _corners(annotations: list[dict[str, Any]], width: int, height: int) -> NDArray[np.float32]:
    """(N, 4) x1, y1, x2, y2, clipped to the picture."""
    boxes = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)  # (N, 4) x y w h
    boxes[:, 2:] += boxes[:, :2]
    return boxes.clip(0, np.array([width, height, width, height], np.float32))


def _are_solid(corners: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) of boxes (N, 4)."""
    return np.asarray((corners[:, 2:] - corners[:, :2] >= MIN_SIDE_PX).all(axis=1))
