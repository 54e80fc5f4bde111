"""torchvision's compiled operators without its Python package.

The package brings its model zoo and torch._dynamo: seconds and 160 MB for every process that detects.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices (M,) of the boxes (N, 4) that no better one overlaps more, best first."""
    kept: Tensor = _operators().nms(boxes, scores, iou_threshold)
    return kept


def _operators() -> Any:
    """The operators, loaded with the first call."""
    if not hasattr(torch.ops.torchvision, "nms"):
        _load()
    return torch.ops.torchvision


def _load() -> None:
    """Loads the extension as torchvision/extension.py does; where it lies elsewhere, by the package."""
    package = importlib.util.find_spec("torchvision")
    folders = [] if package is None else package.submodule_search_locations or []
    libraries = [path for folder in folders for path in Path(folder).glob("_C*.so")]
    if len(libraries) == 1:
        library: Any = torch.ops
        library.load_library(libraries[0])
    else:
        importlib.import_module("torchvision")
