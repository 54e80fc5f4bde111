"""What every neck promises, and the layer that all of them are built of."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from models.backbones.backbone import FeatureInfo


class Neck(nn.Module, ABC):
    """Maps of equal width from the last levels of a backbone, so that one head can look at all of them."""

    features: tuple[FeatureInfo, ...]

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, channels, h, w) of `self.features`, from the last maps of a backbone, fine ones first."""


class ConvNorm(nn.Sequential):
    """Convolution of odd size and batch norm; plain, since depthwise ones train slowly on a CPU."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(after)
        )
