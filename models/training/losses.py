"""The training loss: varifocal classification on target qualities, and complete IoU on boxes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from models.training.assignment import GroundTruth, TaskAlignedAssigner, judged_classes


@dataclass(frozen=True, slots=True)
class LossParts:
    """Scalars of one batch; `total` carries the gradient."""

    total: Tensor
    classification: Tensor
    box: Tensor
    positives: int


def varifocal_loss(logits: Tensor, quality: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Elementwise loss of VarifocalNet (Zhang et al. 2021, arXiv:2008.13367, equation 2).

    Positives (quality above 0) weigh as much as their quality, negatives as alpha * score^gamma.
    """
    with torch.no_grad():
        focal = alpha * logits.sigmoid().pow(gamma)
        weight = torch.where(quality > 0, quality, focal)
    return weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def ciou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - CIoU of paired boxes (N, 4) (Zheng et al. 2020, arXiv:1911.08287, section 3.3)."""
    low = torch.maximum(predicted[:, :2], target[:, :2])
    high = torch.minimum(predicted[:, 2:], target[:, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=1)
    predicted_sides = (predicted[:, 2:] - predicted[:, :2]).clamp(min=1e-3)
    target_sides = (target[:, 2:] - target[:, :2]).clamp(min=1e-3)
    iou = overlap / (predicted_sides.prod(dim=1) + target_sides.prod(dim=1) - overlap + 1e-7)
    hull = torch.maximum(predicted[:, 2:], target[:, 2:]) - torch.minimum(predicted[:, :2], target[:, :2])
    centre_shift = (predicted[:, :2] + predicted[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    distance = centre_shift.square().sum(dim=1) / (hull.square().sum(dim=1) + 1e-7)
    angle = torch.atan(target_sides[:, 0] / target_sides[:, 1]) - torch.atan(
        predicted_sides[:, 0] / predicted_sides[:, 1]
    )
    shape = (4 / math.pi**2) * angle.square()
    with torch.no_grad():
        trade_off = shape / (1 - iou + shape + 1e-7)
    return 1 - iou + distance + trade_off * shape


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """Assign, then weigh classification and boxes; both are averaged over the sum of qualities."""

    assigner: TaskAlignedAssigner = field(default_factory=TaskAlignedAssigner)
    box_weight: float = 2.5
    shared: Callable[[Tensor], Tensor] = lambda quality: quality
    """Mean of a scalar over the processes that train together, so that they weigh as one batch would."""

    def __call__(
        self, logits: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, truth: GroundTruth
    ) -> LossParts:
        """Loss of logits (B, A, K) and boxes (B, A, 4) at points (A, 2) of strides (A,)."""
        logits, boxes = logits.float(), boxes.float()
        assignment = self.assigner.assign(logits.sigmoid(), boxes, points, strides, truth)
        judged = judged_classes(points, truth) | (assignment.quality > 0)
        total_quality = self.shared(assignment.quality.sum()).clamp(min=1.0)
        classification = (varifocal_loss(logits, assignment.quality) * judged).sum() / total_quality
        positive = assignment.positive
        quality = assignment.quality.sum(dim=2)[positive]
        box = (ciou_loss(boxes[positive], assignment.boxes[positive]) * quality).sum() / total_quality
        total = classification + self.box_weight * box
        return LossParts(total, classification.detach(), box.detach(), int(positive.sum()))
