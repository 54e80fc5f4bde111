"""Reading and writing weights: safetensors files that describe themselves, and torch files without code.

Torch files are read with `weights_only=True` alone, so that no file can run code; the catalogue's names
(`list_weights`, `get_weights`, `WeightsEntry`) are here as well.
"""

import hashlib
import json
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  only to catch it: torch raises it for what it refuses
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from core.errors import WeightsError
from models.backbones import Backbone
from models.backbones.dpn import DPN, from_timm
from models.catalogue import (
    CARD_KEY,
    DEFAULT_WEIGHTS,
    ONNX_SUFFIX,
    WeightsEntry,
    encode_card,
    get_weights,
    list_weights,
    read_card,
    register_weights,
    weights_file,
)
from models.network import DetectionNetwork

__all__ = [
    "DEFAULT_WEIGHTS",
    "ONNX_SUFFIX",
    "WeightsEntry",
    "get_weights",
    "list_weights",
    "load_state_dict",
    "read_card",
    "read_state_dict",
    "register_weights",
    "save_checkpoint",
    "weights_file",
]

_DIGEST_KEY = "framewatch_sha256"
"""Beside the entry in a weights file: over its tensors and the entry, as `_digest` takes it."""
_COUNTER = ".num_batches_tracked"
"""Batch norms count their training batches; nothing here reads that, and files of others may lack it."""


def save_checkpoint(path: str | Path, network: DetectionNetwork, info: WeightsEntry) -> None:
    """Write a network with its description, for `models.detector.load_detector(path)`.

    Matrices are stored as float16 (11 bits, against 8 of the bfloat16 that they run in), vectors as float32,
    since variances may leave float16's range. A digest of it all goes in, so that a change shows later. The
    same network and description make the same bytes. The file appears at once or not at all.
    Raises WeightsError where the description is of another network.
    """
    if info.architecture != network.architecture or len(info.categories) != network.architecture.num_classes:
        raise WeightsError(
            f"{path}: expected a description of {network.architecture}, got {info.architecture} "
            f"with {len(info.categories)} categories"
        )
    state = {
        name: tensor.detach().to("cpu", torch.float16 if tensor.ndim > 1 else torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith(_COUNTER)
    }
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    card = encode_card(info)
    content = save(state, metadata={CARD_KEY: card, _DIGEST_KEY: _digest(state, card)})
    partial.write_bytes(_with_sorted_header(content))
    partial.replace(target)


def _with_sorted_header(content: bytes) -> bytes:
    """The safetensors file with its header in order: `save` writes metadata in another order every time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + content[end:]


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors or torch file.

    Raises WeightsError for a file that is missing, damaged, changed since `save_checkpoint` wrote it, or
    holds anything but tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{file}: expected a weights file, found none there; check the path")
    content: Any = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch_file(file)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{file}: expected a dictionary of tensors by name, got others; save state_dict()")
    return content


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
        with safe_open(file, "pt") as opened:
            said: Mapping[str, str] = opened.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{file}: expected a safetensors file, got a damaged one or something else ({error})"
        ) from error
    wanted = said.get(_DIGEST_KEY)
    if wanted is not None and wanted != _digest(tensors, said.get(CARD_KEY, "")):
        raise WeightsError(
            f"{file}: expected the numbers and the description that it was saved with, got others: the file "
            "was changed or damaged; take a fresh copy"
        )
    return tensors


def _digest(tensors: Mapping[str, Tensor], card: str) -> str:
    """SHA-256, hexadecimal, over the entry's text and every tensor's name, type, shape and bytes, by name."""
    digest = hashlib.sha256(card.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


_OF_DAMAGED_FILES = (
    *(RuntimeError, ValueError, LookupError, EOFError, OSError, struct.error),
    *(TypeError, AttributeError, AssertionError),
)
"""What torch.load raises for them: all of these came up when bytes of good files were changed."""


def _read_torch_file(file: Path) -> Any:
    """What a torch file holds; its unpickler builds tensors and plain containers and calls nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of odd pickles and TorchScript, refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        inside = f"objects of {found[1]}" if found else "other objects"
        raise WeightsError(
            f"{file}: expected plain tensors, got {inside}, which could run code and is not read; "
            "save the state_dict() of the network"
        ) from error
    except _OF_DAMAGED_FILES as error:
        raise WeightsError(
            f"{file}: expected plain tensors as a torch state dict, got a truncated or damaged file, or "
            "another format; fetch it again"
        ) from error


def load_state_dict(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy weights into a network in place.

    Takes our own names, torchvision's for ResNets, and timm's for both families. A detection network takes a
    classifier's weights into its backbone. The top of a classifier is left out where the network has none.
    Raises WeightsError where anything else is missing, left over or of another shape; the network is
    unchanged then.
    """
    given = {
        name.removeprefix("module."): tensor  # DistributedDataParallel puts that in front
        for name, tensor in state_dict.items()
        if not name.endswith(_COUNTER)
    }
    target = network
    if isinstance(network, DetectionNetwork) and not any(name.startswith("backbone.") for name in given):
        target = network.backbone
    if isinstance(target, Backbone):
        given = from_timm(given) if isinstance(target, DPN) else given
        if not target.include_top:
            given = {name: tensor for name, tensor in given.items() if not name.startswith("fc.")}
    wanted = {name: tensor for name, tensor in target.state_dict().items() if not name.endswith(_COUNTER)}
    _require_fit(given, wanted)
    target.load_state_dict(given, strict=False)


def _require_fit(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in given]
    left_over = [name for name in given if name not in wanted]
    reshaped = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    if reshaped and not missing and not left_over:
        name = reshaped[0]
        raise WeightsError(
            f"weights of another network: expected {name} of shape {tuple(wanted[name].shape)}, "
            f"got {tuple(given[name].shape)}"
        )
    if missing or left_over:
        example = missing[0] if missing else left_over[0]
        raise WeightsError(
            f"weights of another network: expected {len(wanted)} tensors, got {len(given)}, "
            f"{len(missing)} missing and {len(left_over)} left over, such as {example}"
        )
