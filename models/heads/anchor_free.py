"""The one-stage head: class scores and the distances to the box's sides, at every point of every level.

After FCOS (Tian et al. 2019, arXiv:1904.01355), without its centre-ness; towers shared by all levels with
a batch norm per level after RTMDet (Lyu et al. 2022, arXiv:2212.07784, section 3.2).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.backbones.backbone import FeatureInfo

PRIOR = 0.01
"""Score that every point starts with (Lin et al. 2017, arXiv:1708.02002, section 4.1)."""
START_DISTANCE = 2.0
"""Distance in strides that every point starts with: boxes of 4 strides, the middle of a level's range."""


class SharedConv(nn.Module):
    """One 3x3 convolution for all levels, each with a batch norm of its own, and ReLU.

    Levels share what they look for, but the statistics of their features differ.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(levels))
        self.folded = nn.ModuleList()

    def fold(self) -> None:
        """Fold the norms into a convolution per level, for inference."""
        norms = [norm for norm in self.norms if isinstance(norm, nn.BatchNorm2d)]
        self.folded = nn.ModuleList(fuse_conv_bn_eval(self.conv, norm) for norm in norms)
        del self.conv, self.norms

    def forward(self, features: Tensor, level: int) -> Tensor:
        if len(self.folded):
            return F.relu(self.folded[level](features), inplace=True)
        return F.relu(self.norms[level](self.conv(features)), inplace=True)


class AnchorFreeHead(nn.Module):
    """Class logits and box distances over the levels of a neck, flattened to A points, fine levels first."""

    def __init__(self, inputs: Sequence[FeatureInfo], num_classes: int, depth: int = 2) -> None:
        super().__init__()
        channels = inputs[0].channels
        self.strides = tuple(level.stride for level in inputs)
        levels = len(inputs)
        self.class_tower = nn.ModuleList(SharedConv(channels, levels) for _ in range(depth))
        self.box_tower = nn.ModuleList(SharedConv(channels, levels) for _ in range(depth))
        self.class_logits = nn.Conv2d(channels, num_classes, 1)
        self.box_distances = nn.Conv2d(channels, 4, 1)
        self.scales = nn.Parameter(torch.ones(levels))
        self._initialise()

    def _initialise(self) -> None:
        for predictor in (self.class_logits, self.box_distances):
            nn.init.normal_(predictor.weight, std=0.01)
        assert self.class_logits.bias is not None
        assert self.box_distances.bias is not None
        nn.init.constant_(self.class_logits.bias, -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(self.box_distances.bias, math.log(math.expm1(START_DISTANCE)))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, A, K), and distances left, top, right, bottom (B, A, 4) in strides, not negative."""
        logits, distances = [], []
        for level, level_features in enumerate(features):
            classes = boxes = level_features
            for class_conv, box_conv in zip(self.class_tower, self.box_tower, strict=True):
                classes, boxes = class_conv(classes, level), box_conv(boxes, level)
            logits.append(self.class_logits(classes).flatten(2))  # (B, K, h * w)
            distances.append((self.box_distances(boxes) * self.scales[level]).flatten(2))  # (B, 4, h * w)
        # Softplus: as good as linear for large boxes, with a gradient everywhere, and no overflow as exp has.
        sides = F.softplus(torch.cat(distances, dim=2).float())
        return torch.cat(logits, dim=2).transpose(1, 2), sides.transpose(1, 2)


def grid_points(sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device) -> Tensor:
    """Centres (A, 2), x and y in canvas pixels, of the cells of maps of (h, w) cells, row by row."""
    levels = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        ys = (torch.arange(height, device=device) + 0.5) * stride
        xs = (torch.arange(width, device=device) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        levels.append(torch.stack((grid_x, grid_y), dim=-1).view(-1, 2))  # (h * w, 2)
    return torch.cat(levels)
