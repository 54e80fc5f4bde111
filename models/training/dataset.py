"""COCO-format pictures whose annotators may have labelled only some of the classes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UsageError

MIN_SIDE_PX = 1.0
"""Boxes thinner than this after clipping to their picture are label noise."""


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
    """(N,): True for boxes around what is neither to be found nor to be called a mistake (COCO's iscrowd)."""
    labelled: NDArray[np.bool_]
    """(K,): the classes that the annotators set out to label here; of the others nothing is known."""
    frame: int | None = None
    """Number of the frame, from 0, where `path` is a video."""
    left_out: NDArray[np.float32] = field(default_factory=_no_boxes)
    """(M, 4): as `boxes`, of what belongs to none of the categories of the dataset."""


class DetectionDataset:
    """Annotated pictures, with decoded images kept in memory up to a budget."""

    def __init__(self, categories: tuple[str, ...], pictures: list[Picture]) -> None:
        self.categories = categories
        self.pictures = pictures
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> NDArray[np.uint8]:
        """The picture's pixels, uint8 (H, W, 3) BGR; not to be written to. Raises UsageError."""
        decoded = self._decoded.get(index)
        if decoded is not None:
            return decoded
        picture = self.pictures[index]
        if picture.frame is None:
            return read_image(picture.path)
        self._decode_video(picture.path)
        return self._decoded[index]

    def _decode_video(self, path: Path) -> None:
        """Keep every frame of the video that is asked for: to find one takes decoding those before it."""
        wanted = {
            picture.frame: index
            for index, picture in enumerate(self.pictures)
            if picture.path == path and picture.frame is not None
        }
        for frame, image in read_frames(path, sorted(wanted)).items():
            self._decoded[wanted[frame]] = image

    def preload(self, budget_bytes: int) -> int:
        """Decode pictures into memory until the budget is spent; returns how many are held.

        Done before the loader forks its workers, so that they share the pages.
        """
        spent = sum(image.nbytes for image in self._decoded.values())
        for index in range(len(self.pictures)):
            if spent >= budget_bytes:
                break
            if index not in self._decoded:
                self._decoded[index] = self.image(index)
                spent += self._decoded[index].nbytes
        return len(self._decoded)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a picture file to uint8 (H, W, 3) BGR. Raises UsageError for a missing or broken file."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise UsageError(f"{path}: expected a readable picture, got none; check the images folder")
    return np.asarray(image, np.uint8)


def read_frames(path: Path, wanted: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """Frames (H, W, 3) BGR of a video by number, counted from 0. Raises UsageError where one is missing."""
    video = cv2.VideoCapture(str(path))
    frames: dict[int, NDArray[np.uint8]] = {}
    try:
        for number in range(max(wanted, default=-1) + 1):
            if not video.grab():
                break
            if number in wanted:
                frames[number] = np.asarray(video.retrieve()[1], np.uint8)
    finally:
        video.release()
    missing = next((number for number in wanted if number not in frames), None)
    if missing is not None:
        raise UsageError(
            f"{path}: expected a video with a frame {missing}, got none; check the images folder"
        )
    return frames


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
    except (KeyError, TypeError, IndexError) as error:
        raise UsageError(
            f"{annotation_file}: expected a COCO detection file (images, annotations, categories), "
            f"got one without {error}"
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
    names = {entry["name"]: entry["id"] for entry in entries}
    absent = [name for name in categories if name not in names]
    if absent:
        raise UsageError(
            f"{path}: expected the categories {', '.join(categories)}, got none named {absent[0]}"
        )
    return {names[name]: index for index, name in enumerate(categories)}


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
        grouped[annotation["image_id"]].append(annotation)
    return grouped


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
    crowd = np.array([a.get("iscrowd", 0) for a in known], np.bool_)
    solid = _are_solid(corners)
    labelled_names = image.get("labelled_classes", categories)
    return Picture(
        image_id=int(image["id"]),
        path=images_dir / str(image["file_name"]),
        width=width,
        height=height,
        source=str(image.get("source", "")),
        boxes=corners[solid],
        labels=labels[solid],
        crowd=crowd[solid],
        labelled=np.array([name in labelled_names for name in categories], np.bool_),
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
