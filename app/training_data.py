"""Finds a user's annotations and pictures: a COCO file, or a folder as labelling tools export it."""

import json
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingsError

ANNOTATIONS = ("train.json", "annotations.json", "_annotations.coco.json", "instances_default.json")
"""Of a folder, the first that is there is learned from; below annotations/ and train/ too."""
VALIDATION = ("val.json", "valid.json")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Files to learn from and to score on."""

    train: Path
    images: Path
    val: Path | None = None
    val_images: Path | None = None


def find_training_data(data: Path) -> TrainingData:
    """What a COCO file or a folder holds. Raises SettingsError for a folder without annotations.

    A folder holds one of ANNOTATIONS and perhaps one of VALIDATION, with the pictures in images/ or beside
    them; or train/ and valid/ (or val/), each with annotations and pictures of its own.
    """
    if not data.is_dir():
        return TrainingData(data, default_images(data))
    train = _first(data, (*ANNOTATIONS, *(f"annotations/{name}" for name in ANNOTATIONS)))
    if train is not None:
        val = _first(train.parent, VALIDATION)
        images = _images_of_folder(data, train)
        return TrainingData(train, images, val, images if val is not None else None)
    train = _first(data / "train", ANNOTATIONS)
    if train is None:
        raise SettingsError(
            f"--data {data}: expected a folder with {', '.join(ANNOTATIONS[:3])} or train/, got none; "
            "give the COCO file itself"
        )
    val = _first(data / "valid", ANNOTATIONS) or _first(data / "val", ANNOTATIONS)
    return TrainingData(train, default_images(train), val, default_images(val) if val is not None else None)


def default_images(data: Path) -> Path:
    """`images/` beside an annotation file, else the file's own folder."""
    beside = data.parent / "images"
    return beside if beside.is_dir() else data.parent


def _images_of_folder(folder: Path, annotations: Path) -> Path:
    inside = folder / "images"
    return inside if inside.is_dir() else default_images(annotations)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def categories_of(data: Path) -> tuple[str, ...]:
    """The class names of a COCO file, each once, by id. Raises SettingsError."""
    try:
        content = json.loads(data.read_text(encoding="utf-8"))
        used = {annotation["category_id"] for annotation in content["annotations"]}
        entries = sorted(content["categories"], key=lambda entry: int(entry["id"]))
        # Labelling tools export groups of classes as categories that no box has.
        names = [entry["name"] for entry in entries if entry["id"] in used or len(entries) == 1]
        return tuple(dict.fromkeys(names))
    except OSError as error:
        raise SettingsError(f"--data {data}: expected a COCO file, got: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"--data {data}: expected a COCO file with categories, got another kind"
        ) from error
