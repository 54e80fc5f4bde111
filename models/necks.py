"""Feature pyramids: Lin et al. 2017, "Feature pyramid networks for object detection" (arXiv:1612.03144)."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ModelNotFoundError
from models.backbones.backbone import FeatureInfo


class ConvNorm(nn.Sequential):
    """Convolution of odd size and batch norm; plain, since depthwise ones train slowly on a CPU."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(after)
        )


class FeaturePyramid(nn.Module):
    """Maps of equal width from the last levels of a backbone, coarse ones added to fine ones.

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
        """Maps (B, channels, h, w) of `self.features`, from the last maps of a backbone, fine ones first."""
        used = features[-len(self.lateral) :]
        merged = [lateral(level) for lateral, level in zip(self.lateral, used, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            size = merged[fine].shape[-2:]
            merged[fine] = merged[fine] + F.interpolate(merged[fine + 1], size=size, mode="nearest")
        levels = [output(level) for output, level in zip(self.output, merged, strict=True)]
        for extra in self.extra:
            levels.append(extra(F.relu(levels[-1])))
        return tuple(levels)


def _fpn(inputs: Sequence[FeatureInfo], channels: int) -> FeaturePyramid:
    return FeaturePyramid(inputs[-3:], channels)


def _fpn_p6(inputs: Sequence[FeatureInfo], channels: int) -> FeaturePyramid:
    return FeaturePyramid(inputs[-3:], channels, extra_levels=1)


_NECKS: dict[str, Callable[[Sequence[FeatureInfo], int], FeaturePyramid]] = {
    "fpn": _fpn,  # P3 to P5, strides 8, 16, 32
    "fpn_p6": _fpn_p6,  # and P6, stride 64
}


def list_necks() -> tuple[str, ...]:
    """Names of all necks."""
    return tuple(_NECKS)


def create_neck(name: str, inputs: Sequence[FeatureInfo], channels: int = 64) -> FeaturePyramid:
    """A neck over a backbone's declared features. Raises ModelNotFoundError for an unknown name."""
    if name not in _NECKS:
        raise ModelNotFoundError(f"neck: expected one of {', '.join(_NECKS)}; got {name!r}")
    return _NECKS[name](inputs, channels)
