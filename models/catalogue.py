"""The catalogue of weights: what is known about each, without reading a tensor or importing torch."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.errors import ModelNotFoundError, WeightsError
from core.types import Size
from models.architecture import OPEN_NSFW, Architecture, Normalization, TorchvisionArchitecture

DEFAULT_WEIGHTS = "resnet50_thin_fpn"
WEIGHTS_FOLDER = Path(__file__).with_name("weights")
"""Of the shipped files, each called after its entry and the first digits of its sha256."""
CARD_KEY = "framewatch"
"""Key of the entry in a weights file."""
ONNX_SUFFIX = ".onnx"
DEFAULT_IOU_THRESHOLD = 0.45
_SHIPPED_SHA256: dict[str, str] = {
    DEFAULT_WEIGHTS: "fe9eb32cad3c38bfe2f3a71d4f1078db04f3543e817c1a31101b0b33dbf52a82",
    "dpn50_thin_fpn": "38aa12764cbad8cb6c84c38079fa6f0f818eb58f1b05194b58c026d96fd3e340",
}


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """Weights, with everything that using them takes."""

    name: str
    architecture: Architecture | TorchvisionArchitecture
    categories: tuple[str, ...]
    """Class names; a label is an index into them."""
    canvas: Size
    """Largest width and height of a landscape picture in the network, in pixels; portrait swaps them."""
    score_threshold: float
    """Detections below are left out unless the caller says otherwise."""
    licence: str
    source: str
    """Where the weights come from: data and start weights, or a URL."""
    normalization: Normalization = OPEN_NSFW
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Groups of categories of which one object can be only one: a car is not a truck as well."""
    iou_threshold: float = DEFAULT_IOU_THRESHOLD
    """Boxes of such a group, or of one category, that overlap more are one object's."""
    part_share: float | None = None
    """A box that lies by this share in a better one of a group is a part of its object; None keeps all."""
    sha256: str = ""
    """Of the weights file, hexadecimal; its first 8 digits where only these are published."""

    def adjusted(self, score_threshold: float | None, canvas: Size | None) -> "WeightsEntry":
        """The same weights with another threshold or canvas; None keeps their own."""
        return replace(
            self,
            score_threshold=self.score_threshold if score_threshold is None else score_threshold,
            canvas=self.canvas if canvas is None else canvas,
        )

    def suppression_groups(self) -> tuple[int, ...]:
        """A group number per category; boxes suppress each other inside a group."""
        groups = {name: index for index, members in enumerate(self.exclusive) for name in members}
        return tuple(
            groups.get(name, len(self.exclusive) + index) for index, name in enumerate(self.categories)
        )


_ENTRY = TypeAdapter(WeightsEntry)


def list_weights() -> tuple[str, ...]:
    """Names of all weights, the default first."""
    return tuple(_entries)


def shipped_names() -> tuple[str, ...]:
    """Names of the weights whose files come with framewatch."""
    return tuple(_SHIPPED_SHA256)


def get_weights(name: str) -> WeightsEntry:
    """The entry of that name.

    Raises ModelNotFoundError for an unknown name, WeightsError where a shipped file is missing or damaged.
    """
    if name not in _entries:
        raise ModelNotFoundError(
            f"model: expected one of {', '.join(_entries)} or a weights file; got {name!r}"
        )
    return _entries[name]()


def register_weights(name: str, find: Callable[[], WeightsEntry]) -> None:
    """Make the entry that `find` returns known as `name`; a name that is taken raises ValueError."""
    if name in _entries:
        raise ValueError(f"weights {name!r} are registered already; choose another name")
    _entries[name] = find


def weights_file(name: str) -> Path:
    """Where the file of shipped weights lies; any other name is a path itself."""
    digest = _SHIPPED_SHA256.get(name)
    return Path(name) if digest is None else WEIGHTS_FOLDER / f"{name}-{digest[:8]}.safetensors"


def encode_card(entry: WeightsEntry) -> str:
    """The entry as the JSON text that its file carries (its own sha256 cannot be inside)."""
    return _ENTRY.dump_json(replace(entry, sha256="")).decode()


def decode_card(path: Path, text: str) -> WeightsEntry:
    """The entry that a file's JSON text describes; WeightsError where it is not one."""
    try:
        entry = _ENTRY.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WeightsError(
            f"{path}: its description is broken at {where or 'the top'}: {first['msg']}"
        ) from error
    classes = entry.architecture.num_classes if isinstance(entry.architecture, Architecture) else 0
    if len(entry.categories) != classes:
        raise WeightsError(
            f"{path}: expected a category for each of its network's {classes} classes, "
            f"got {len(entry.categories)} categories"
        )
    return entry


def read_card(path: Path) -> WeightsEntry:
    """The entry inside a safetensors file, with the file's sha256.

    Reads the header and nothing else into memory. Raises WeightsError for a file that is missing, truncated,
    of another format or not made by framewatch.
    """
    header = _read_header(path)
    text = header.get("__metadata__", {}).get(CARD_KEY)
    if text is None:
        raise WeightsError(
            f"{path}: expected weights that describe themselves, got a file without a {CARD_KEY!r} entry; "
            "save it with models.weights.save_checkpoint"
        )
    return replace(decode_card(path, text), sha256=file_sha256(path))


def _read_header(path: Path) -> dict[str, Any]:
    """Length in 8 bytes, little-endian, then JSON (huggingface.co/docs/safetensors, "Format")."""
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found none there; check the path")
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(2) in (b"PK", b"\x80\x02", b"\x80\x04"):
                raise WeightsError(
                    f"{path}: expected a safetensors file, got a torch file or a pickle under its name, "
                    "which is not read here"
                )
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise ValueError("it ends inside its header")
            header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(
            f"{path}: expected a safetensors file, got something else or a part of one"
        ) from error
    if size != 8 + length + max(ends, default=0):
        raise WeightsError(
            f"{path}: expected {8 + length + max(ends, default=0)} bytes, got {size}: the file is truncated "
            "or damaged; fetch it again"
        )
    return header  # type: ignore[no-any-return]


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shipped(name: str, sha256: str) -> WeightsEntry:
    path = weights_file(name)
    if not path.is_file():
        raise WeightsError(f"{path}: the shipped weights {name} are missing; install framewatch again")
    entry = read_card(path)
    if entry.sha256 != sha256:
        raise WeightsError(
            f"{path}: expected sha256 {sha256[:12]}.., got {entry.sha256[:12]}..: the file was changed; "
            "install framewatch again, or give a file of your own by its path under another name"
        )
    return entry


_COCO = tuple(
    """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
    parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,
    tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,
    tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,
    hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,
    cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,
    toothbrush""".replace("\n    ", "").split(",")
)
"""The 80 classes of COCO (Lin et al. 2014, arXiv:1405.0312) without its gaps and torchvision's background."""


def _torchvision(name: str, file_name: str) -> WeightsEntry:
    return WeightsEntry(
        name,
        TorchvisionArchitecture(name),
        _COCO,
        canvas=(1333, 800),
        score_threshold=0.5,
        licence="BSD-3-Clause (torchvision); trained on COCO, annotations CC BY 4.0",
        source=f"https://download.pytorch.org/models/{file_name}",
        exclusive=(("car", "bus", "truck"),),
        sha256=file_name.rpartition("-")[2].removesuffix(".pth"),
    )


_entries: dict[str, Callable[[], WeightsEntry]] = {}
for _name, _sha256 in _SHIPPED_SHA256.items():
    register_weights(_name, partial(_shipped, _name, _sha256))
for _name, _file_name in (
    ("fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"),
    ("retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth"),
    ("fcos_resnet50_fpn", "fcos_resnet50_fpn_coco-99b0c9b7.pth"),
):
    register_weights(_name, partial(_torchvision, _name, _file_name))
