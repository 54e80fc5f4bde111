"""A pyramid of cross-stage partial blocks, in the manner of YOLOv5 (https://github.com/ultralytics/yolov5).

CSP: Wang et al. 2019, "CSPNet" (arXiv:1911.11929, section 3.2). Its way down and up again: Liu et al. 2018,
"Path aggregation network for instance segmentation" (arXiv:1803.01534, section 3.1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.backbone import FeatureInfo
from models.necks.neck import ConvNorm, Neck

SLOPE = 0.1
"""Of the leaky ReLU below zero, as in Darknet and early YOLOv5."""


class LeakyConv(nn.Module):
    """Convolution of odd size, batch norm, leaky ReLU: (B, before, H, W) to (B, after, H / s, W / s)."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)  # on the norm's output, which nothing else reads

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(features)))  # type: ignore[no-any-return]


class BottleneckCoT(nn.Module):
    """1x1 down, grouped 3x3, 1x1 up, with batch norm and leaky ReLU: (B, before, H, W) to (B, after, H, W).

    The bottleneck of He et al. 2015 (arXiv:1512.03385, figure 5) in YOLOv5's manner: `expansion` is the share
    of `after` that the 3x3 works on, the last layer has its activation too, and the shortcut adds the input
    after it, where the widths agree.
    """

    def __init__(
        self, before: int, after: int, groups: int = 1, expansion: float = 0.5, shortcut: bool = True
    ) -> None:
        """Raises ValueError where the groups do not divide the channels inside."""
        super().__init__()
        inner = int(after * expansion)
        if inner < 1 or inner % groups:
            raise ValueError(f"expected groups that divide {inner} inner channels, got {groups}")
        self.reduce = LeakyConv(before, inner)
        self.middle = LeakyConv(inner, inner, kernel=3, groups=groups)
        self.expand = LeakyConv(inner, after)
        self.adds = shortcut and before == after

    def forward(self, features: Tensor) -> Tensor:
        new: Tensor = self.expand(self.middle(self.reduce(features)))
        return features + new if self.adds else new


class CSPStage(nn.Module):
    """Two halves, one of them through bottlenecks, joined by a 1x1: (B, before, H, W) to (B, after, H, W)."""

    def __init__(self, before: int, after: int, depth: int = 1, groups: int = 1) -> None:
        super().__init__()
        half = after // 2
        self.through = LeakyConv(before, half)
        self.past = LeakyConv(before, half)
        self.blocks = nn.Sequential(*(BottleneckCoT(half, half, groups, 1.0) for _ in range(depth)))
        self.join = LeakyConv(2 * half, after)

    def forward(self, features: Tensor) -> Tensor:
        both = torch.cat((self.blocks(self.through(features)), self.past(features)), dim=1)
        return self.join(both)  # type: ignore[no-any-return]


class CSPPyramid(Neck):
    """Coarse maps joined to fine ones and fine ones back to coarse ones, by concatenation and CSP stages.

    Levels keep one width, unlike YOLOv5's, so that a head can share its towers among them.
    """

    def __init__(self, inputs: Sequence[FeatureInfo], channels: int = 64, depth: int = 1) -> None:
        super().__init__()
        steps = len(inputs) - 1
        self.lateral = nn.ModuleList(LeakyConv(level.channels, channels) for level in inputs)
        self.finer = nn.ModuleList(CSPStage(2 * channels, channels, depth) for _ in range(steps))
        self.shrink = nn.ModuleList(LeakyConv(channels, channels, 3, stride=2) for _ in range(steps))
        self.coarser = nn.ModuleList(CSPStage(2 * channels, channels, depth) for _ in range(steps))
        self.output = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in inputs)
        self.features = tuple(FeatureInfo(channels, level.stride) for level in inputs)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        used = features[-len(self.lateral) :]
        maps = [lateral(level) for lateral, level in zip(self.lateral, used, strict=True)]
        for fine in range(len(maps) - 2, -1, -1):
            larger = F.interpolate(maps[fine + 1], size=maps[fine].shape[-2:], mode="nearest")
            maps[fine] = self.finer[fine](torch.cat((maps[fine], larger), dim=1))
        for coarse in range(1, len(maps)):
            smaller = self.shrink[coarse - 1](maps[coarse - 1])
            maps[coarse] = self.coarser[coarse - 1](torch.cat((maps[coarse], smaller), dim=1))
        return tuple(output(level) for output, level in zip(self.output, maps, strict=True))
