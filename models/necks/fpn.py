"""Feature pyramids: Lin et al. 2017, "Feature pyramid networks for object detection" (arXiv:1612.03144)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.backbone import FeatureInfo
from models.necks.neck import ConvNorm, Neck


class FeaturePyramid(Neck):
    """Maps of equal width from the last levels of a backbone, coarse ones added to fine ones (section 3).

    `extra_levels` appends maps at twice the stride each (P6, P7), as RetinaNet and FCOS have them.
    """

    def __init__(self, inputs: Sequence[FeatureInfo], channels: int = 64, extra_levels: int = 0) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(level.channels, channels, 1) for level in inputs)
        self.output = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in inputs)
        self.extra = nn.ModuleList(ConvNorm(channels, channels, 3, stride=2) for _ in range(extra_levels))
        strides = [level.stride for level in inputs]
        strides += [strides[-1] * 2 ** (level + 1) for level in range(extra_levels)]
        self.features = tuple(FeatureInfo(channels, stride) for stride in strides)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        used = features[-len(self.lateral) :]
        merged = [lateral(level) for lateral, level in zip(self.lateral, used, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            size = merged[fine].shape[-2:]
            merged[fine] = merged[fine] + F.interpolate(merged[fine + 1], size=size, mode="nearest")
        levels = [output(level) for output, level in zip(self.output, merged, strict=True)]
        for extra in self.extra:
            levels.append(extra(F.relu(levels[-1])))
        return tuple(levels)
