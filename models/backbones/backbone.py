"""What every backbone promises: its feature levels, declared before the first forward pass."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """One feature level of a backbone."""

    channels: int
    stride: int
    """Input pixels per feature cell: an input with sides that are multiples of it has side / stride cells."""


class Backbone(nn.Module, ABC):
    """A classification network seen as a source of features, at strides 4, 8, 16 and 32 for most.

    `forward` gives logits (B, classes) when the network was built with its top, else the tuple of
    `forward_features`.
    """

    features: tuple[FeatureInfo, ...]
    include_top: bool

    @abstractmethod
    def forward_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, features[i].channels, H / stride, W / stride) of images (B, 3, H, W), fine ones first.

        Where a side is not a multiple of the stride, families round differently.
        """

    @abstractmethod
    def forward_top(self, features: Tensor) -> Tensor:
        """Logits (B, classes) of the deepest feature map."""

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        features = self.forward_features(images)
        return self.forward_top(features[-1]) if self.include_top else features


def initialise_weights(network: nn.Module) -> None:
    """Normal He initialisation over the fan-out (He et al. 2015, arXiv:1502.01852, section 2.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
