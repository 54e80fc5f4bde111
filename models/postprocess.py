"""From a head's output to boxes in source pixels, for the whole batch at once: overlaps on its device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.types import Detections
from models.network import Predictions
from models.preprocessing import Letterbox
from models.torchvision_operators import nms

PART_SCORE = 0.5
"""A part scores this share of its whole's or more: what scores less is below most thresholds in use."""


@dataclass(frozen=True, slots=True)
class Postprocess:
    """How predictions become detections."""

    categories: tuple[str, ...]
    groups: tuple[int, ...]
    """A number per category; boxes suppress each other inside a group."""
    score_threshold: float
    iou_threshold: float
    """Boxes of a group that overlap more are one object's."""
    part_share: float | None = None
    """A box that lies by this share in a better one of its group is a part of that object; None keeps all.
    Groups of one category have no parts: people stand before each other."""
    candidates: int = 300
    """Best predictions of an image that are looked at."""
    most: int = 100
    """Detections of an image at most."""

    def __call__(self, output: Predictions, letterboxes: Sequence[Letterbox]) -> list[Detections]:
        """Detections of each image of the batch, in pixels of its source, clipped to it."""
        device = output.logits.device
        scale = torch.tensor([letterbox.scale for letterbox in letterboxes], device=device).repeat(1, 2)
        size = torch.tensor([letterbox.source for letterbox in letterboxes], device=device).repeat(1, 2)
        scores, labels, boxes = self._best(output)  # (B, T), (B, T), (B, T, 4)
        boxes = torch.minimum((boxes / scale[:, None]).clamp(min=0), size[:, None].to(boxes))
        sides = boxes[..., 2:] - boxes[..., :2]  # (B, T, 2)
        chosen = (scores >= self.score_threshold) & (sides > 0).all(dim=-1)  # (B, T)
        image, _ = chosen.nonzero(as_tuple=True)  # (N,)
        rows = self._suppress(image, scores[chosen], labels[chosen], boxes[chosen])
        table = rows.cpu().numpy()  # the one transfer from the device
        if self.part_share is not None and len(table):
            table = table[~self._are_parts(table, len(scores), self.part_share)]
        return self._split(table, len(scores))

    def _best(self, output: Predictions) -> tuple[Tensor, Tensor, Tensor]:
        """The best predictions of each image over points and classes, best first."""
        classes = output.logits.shape[2]
        flat = output.logits.float().flatten(1)  # (B, A * K)
        logits, index = flat.topk(min(self.candidates, flat.shape[1]), dim=1)  # (B, T)
        point = (index // classes)[..., None].expand(-1, -1, 4)
        return logits.sigmoid(), index % classes, output.boxes.float().gather(1, point)

    def _suppress(self, image: Tensor, scores: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """Rows (M, 7) of image, score, label and box that remain: images in order, best score first."""
        groups = torch.tensor(self.groups, device=labels.device)
        kept = suppress(boxes, scores, image * (max(self.groups) + 1) + groups[labels], self.iou_threshold)
        kept = kept[image[kept].argsort(stable=True)]
        # float32 holds image numbers and labels exactly up to 2^24.
        columns = torch.stack((image[kept].float(), scores[kept], labels[kept].float()), dim=1)  # (M, 3)
        return torch.cat((columns, boxes[kept]), dim=1)

    def _are_parts(self, table: NDArray[np.float32], images: int, share: float) -> NDArray[np.bool_]:
        """(M,) bool: lies in a better box of its image and group; `table` (M, 7) as `_suppress` orders it.

        Images are laid side by side, padded to T, the fullest's rows. In NumPy, as the rows are few.
        """
        image = table[:, 0].astype(np.int64)
        place = np.arange(len(table)) - np.searchsorted(image, np.arange(images))[image]
        padded = np.zeros((images, place.max() + 1, 7), np.float32)
        padded[image, place] = table
        group = np.array([group if self.groups.count(group) > 1 else -1 for group in self.groups])
        group = group[padded[..., 2].astype(np.int64)]  # (B, T)
        score, boxes = padded[..., 1], padded[..., 3:]
        low = np.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
        high = np.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
        shared = (high - low).clip(0).prod(axis=-1)  # (B, T, T)
        areas = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)  # (B, T)
        part = shared >= share * np.minimum(areas[:, :, None], areas[:, None])
        part &= (group[:, :, None] == group[:, None]) & (group[:, :, None] >= 0)
        part &= score[:, :, None] >= PART_SCORE * score[:, None]
        return np.asarray(np.tril(part, -1).any(axis=-1)[image, place])

    def _split(self, table: NDArray[np.float32], images: int) -> list[Detections]:
        """One Detections per image from the rows of all."""
        ends = np.searchsorted(table[:, 0], np.arange(images), side="right")
        starts = np.searchsorted(table[:, 0], np.arange(images), side="left")
        return [
            self._detections(table[start : min(end, start + self.most)])
            for start, end in zip(starts, ends, strict=True)
        ]

    def _detections(self, rows: NDArray[np.float32]) -> Detections:
        return Detections(
            boxes=rows[:, 3:].copy(),
            scores=rows[:, 1].copy(),
            labels=rows[:, 2].astype(np.int64),
            categories=self.categories,
        )


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices (M,) of the boxes (N, 4), in pixels, that no better one of their group overlaps more.

    Best first. Each group is shifted to a place of its own. What remains of it does not depend on the others:
    float32 would round the boxes of the last ones, and whole numbers of 2^-20 pixels in float64 stay exact up
    to 2^33 pixels, over all places.
    """
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    exact = (boxes.double() * 2**20).round()
    apart = groups[:, None] * (exact.max() + 1)  # (N, 1)
    return nms(exact + apart, scores.double(), iou_threshold)
