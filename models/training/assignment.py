"""Task-aligned assignment of ground truth to points (TOOD, Feng et al. 2021, arXiv:2108.07755, section 3.3).

A point is good for an object when it both scores the object's class high and boxes it well. The best
points of every object become positives, and their target score is how good they are.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Annotations of a batch, padded to the largest number of objects M and of ignored regions R."""

    boxes: Tensor
    """float (B, M, 4): x1, y1, x2, y2 in canvas pixels."""
    labels: Tensor
    """int64 (B, M)."""
    present: Tensor
    """bool (B, M): False in the padding."""
    ignored_boxes: Tensor
    """float (B, R, 4)."""
    ignored_classes: Tensor
    """bool (B, R, K): classes not to be judged inside the region; all False in the padding."""

    def to(self, device: torch.device) -> "GroundTruth":
        """The same on another device."""
        return GroundTruth(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Assignment:
    """What each point is to predict."""

    quality: Tensor
    """float (B, A, K): target score; above 0 only at the positive points' class."""
    boxes: Tensor
    """float (B, A, 4): box of the assigned object; without meaning at negative points."""
    positive: Tensor
    """bool (B, A)."""


@dataclass(frozen=True, slots=True)
class TaskAlignedAssigner:
    """alignment = score^alpha * IoU^beta; the `top_k` points of each object inside its box are positive."""

    top_k: int = 10
    alpha: float = 1.0
    beta: float = 6.0

    @torch.no_grad()
    def assign(
        self, scores: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, truth: GroundTruth
    ) -> Assignment:
        """Match points (A, 2) of `strides` (A,) that predict scores (B, A, K) and boxes (B, A, 4)."""
        batch, objects = truth.labels.shape
        if objects == 0:
            negative = torch.zeros(scores.shape[:2], dtype=torch.bool, device=scores.device)
            return Assignment(torch.zeros_like(scores), torch.zeros_like(boxes), negative)
        inside = points_inside(points, strides, truth.boxes) & truth.present[..., None]  # (B, M, A)
        iou = pairwise_iou(truth.boxes, boxes) * inside  # (B, M, A)
        labels = truth.labels[..., None].expand(-1, -1, scores.shape[1])
        class_score = scores.transpose(1, 2).gather(1, labels)  # (B, M, A)
        alignment = class_score.pow(self.alpha) * iou.pow(self.beta)
        chosen = self._top_points(alignment, inside, points, truth.boxes)
        iou_of_chosen = torch.where(chosen, iou, -1.0)
        best, owner = iou_of_chosen.max(dim=1)  # (B, A): a point serves the object it overlaps most
        positive = best >= 0.0
        owned = torch.nn.functional.one_hot(owner, objects).transpose(1, 2).bool() & positive[:, None]
        quality_of_point = _normalised(alignment * owned, iou * owned)  # (B, A)
        rows = torch.arange(batch, device=scores.device)[:, None]
        point_label = truth.labels[rows, owner]  # (B, A)
        quality = torch.zeros_like(scores)
        quality.scatter_(2, point_label[..., None], (quality_of_point * positive)[..., None])
        return Assignment(quality, truth.boxes[rows, owner], positive)

    def _top_points(self, alignment: Tensor, inside: Tensor, points: Tensor, boxes: Tensor) -> Tensor:
        """bool (B, M, A): the best aligned points of each object; near its centre while all align alike."""
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
        offset = (points - centres[:, :, None]) / sides[:, :, None]  # (B, M, A, 2)
        tie_break = 1e-9 * (1.0 - offset.square().sum(dim=-1)).clamp(min=0.0)
        ranked = torch.where(inside, alignment + tie_break, -1.0)
        best = ranked.topk(min(self.top_k, ranked.shape[2]), dim=2).indices
        return torch.zeros_like(inside).scatter_(2, best, True) & inside


def _normalised(alignment: Tensor, iou: Tensor) -> Tensor:
    """(B, A) target scores: each object's best aligned point gets the object's largest IoU."""
    top_alignment = alignment.amax(dim=2, keepdim=True)
    top_iou = iou.amax(dim=2, keepdim=True)
    return (alignment * top_iou / (top_alignment + 1e-9)).amax(dim=1)


def points_inside(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """bool (B, M, A): which points lie in which boxes (B, M, 4).

    Boxes count as at least one and a half strides wide, so that no object falls between the points.
    """
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) / 2  # (B, M, 2)
    reach = torch.maximum(half[:, :, None], 0.75 * strides[:, None])  # (B, M, A, 2)
    distance = (points - centres[:, :, None]).abs()
    return (distance < reach).all(dim=-1)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (B, M, A) of boxes (B, M, 4) with boxes (B, A, 4)."""
    low = torch.maximum(first[:, :, None, :2], second[:, None, :, :2])
    high = torch.minimum(first[:, :, None, 2:], second[:, None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    first_area = (first[..., 2:] - first[..., :2]).prod(dim=-1)
    second_area = (second[..., 2:] - second[..., :2]).prod(dim=-1)
    return overlap / (first_area[:, :, None] + second_area[:, None] - overlap + 1e-7)


def judged_classes(points: Tensor, truth: GroundTruth) -> Tensor:
    """bool (B, A, K): False where an ignored region keeps a class of a point out of the loss."""
    low, high = truth.ignored_boxes[:, :, None, :2], truth.ignored_boxes[:, :, None, 2:]
    covered = ((points >= low) & (points < high)).all(dim=-1)  # (B, R, A)
    ignored = torch.einsum("bra,brk->bak", covered.float(), truth.ignored_classes.float())
    return ignored == 0
