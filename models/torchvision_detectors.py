"""torchvision's two-stage and one-stage detectors behind framewatch's interface, with their COCO weights.

Faster R-CNN (Ren et al. 2015, arXiv:1506.01497; v2 after Li et al. 2021, arXiv:2111.11429), RetinaNet (Lin et
al. 2017, arXiv:1708.02002) and FCOS (Tian et al. 2019, arXiv:1904.01355).
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.models import get_model
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights

from core.types import Detections
from models.catalogue import WeightsEntry, file_sha256
from models.download import fetch
from models.engine import Execution
from models.postprocess import suppress
from models.preprocessing import Picture
from models.weights import load_state_dict, read_state_dict

_IOU_THRESHOLD = 0.6
_CLASSES = 91
"""COCO's numbers run to 90, with gaps; 0 is the background."""
_MARKS = {
    "rpn.head.conv.1.0.weight": "fasterrcnn_resnet50_fpn_v2",
    "head.regression_head.bbox_ctrness.weight": "fcos_resnet50_fpn",
    "head.classification_head.conv.0.1.weight": "retinanet_resnet50_fpn_v2",
}
"""A tensor that only this detector has."""


def builder_of(state: Mapping[str, Tensor]) -> str | None:
    """Which of torchvision's detectors a state dict is of, told by its tensors' names; None for another."""
    return next((builder for mark, builder in _MARKS.items() if mark in state), None)


def download(entry: WeightsEntry) -> Path:
    """The weights file in torch's own cache, fetched on first use and checked against the hash in its name.

    Raises WeightsError with the way out where it cannot be fetched.
    """
    target = Path(torch.hub.get_dir()) / "checkpoints" / entry.source.rpartition("/")[2]
    return fetch(entry.source, target, entry.sha256)


class TorchvisionDetector:
    """One of torchvision's detectors; it scales pictures itself, to the canvas's shorter side."""

    def __init__(
        self, entry: WeightsEntry, path: Path, execution: Execution, score_threshold: float | None = None
    ) -> None:
        self.name = entry.name
        self.categories = entry.categories
        self.sha256 = file_sha256(path)
        self.score_threshold = entry.score_threshold if score_threshold is None else score_threshold
        self._canvas = entry.canvas
        self._execution = execution
        width, height = entry.canvas
        network = get_model(
            entry.name,
            weights=None,
            weights_backbone=None,
            num_classes=_CLASSES,
            min_size=height,
            max_size=width,
        )
        load_state_dict(network, read_state_dict(path))
        head = getattr(network, "roi_heads", network)
        head.score_thresh = min(head.score_thresh, self.score_threshold)  # else FCOS finds nothing below 0.2
        self._network = network.eval().to(execution.device, memory_format=torch.channels_last)
        self._labels = _label_table(entry.categories).to(execution.device)
        self._groups = torch.tensor(entry.suppression_groups(), device=execution.device)
        if execution.compile:
            self._network.backbone = torch.compile(self._network.backbone)

    @torch.inference_mode()
    def predict(self, images: Sequence[Picture]) -> list[Detections]:
        """Objects in each picture uint8 (H, W, 3) BGR, boxes in its own pixels."""
        if not images:
            return []
        device = self._execution.device
        pictures = [
            torch.as_tensor(image).to(device).permute(2, 0, 1).flip(0).float() / 255 for image in images
        ]
        reduced = self._execution.dtype != torch.float32
        with torch.autocast(device.type, self._execution.dtype) if reduced else nullcontext():
            found = self._network(pictures)
        return self._collect(found)

    def _collect(self, found: Sequence[Mapping[str, Tensor]]) -> list[Detections]:
        image = torch.repeat_interleave(
            torch.tensor([len(single["scores"]) for single in found], device=self._labels.device)
        )
        scores = torch.cat([single["scores"] for single in found]).float()
        boxes = torch.cat([single["boxes"] for single in found]).float()
        labels = self._labels[torch.cat([single["labels"] for single in found])]
        chosen = (scores >= self.score_threshold) & (labels >= 0)
        image, scores, boxes, labels = image[chosen], scores[chosen], boxes[chosen], labels[chosen]
        groups = image * (self._groups.max() + 1) + self._groups[labels]
        kept = suppress(boxes, scores, groups, _IOU_THRESHOLD)
        members = image[kept].cpu().numpy()
        everything = Detections(
            boxes[kept].cpu().numpy(), scores[kept].cpu().numpy(), labels[kept].cpu().numpy(), self.categories
        )
        return [everything.select(members == index) for index in range(len(found))]

    def warm_up(self, batch_size: int) -> None:
        """Run once on blank pictures of the whole canvas."""
        width, height = self._canvas
        self.predict([np.zeros((height, width, 3), np.uint8)] * batch_size)


def _label_table(categories: Sequence[str]) -> Tensor:
    """Our label for each of torchvision's; -1 for the background and COCO's gaps."""
    names = FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"]
    return torch.tensor([categories.index(name) if name in categories else -1 for name in names])
