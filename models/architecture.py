"""What a detector is made of, as plain data: no torch, so that listing weights is quick."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Normalization:
    """(value - mean) / std per channel; values and statistics lie in 0..255, in the order of `rgb`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rgb: bool
    """The network sees R, G, B; else B, G, R, as OpenCV delivers."""


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), rgb=True)
"""torchvision's: (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) times 255."""
DPN_MXNET = Normalization((124.0, 117.0, 104.0), (59.88, 59.88, 59.88), rgb=True)
"""The authors' of the dual path networks: (value - mean) * 0.0167."""
CIFAR10 = Normalization((125.3, 123.0, 113.9), (63.0, 62.1, 66.7), rgb=True)
"""Mean and deviation of the pixels of CIFAR-10's training pictures (Krizhevsky 2009)."""
OPEN_NSFW = Normalization((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), rgb=False)
"""Caffe's; whole numbers, so that bfloat16 holds every difference exactly."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What it takes to build a one-stage detector that a state dict fits."""

    backbone: str = "resnet50_thin"
    neck: str = "fpn"
    num_classes: int = 5
    neck_channels: int = 64

    def __str__(self) -> str:
        return f"{self.backbone} + {self.neck} of {self.neck_channels} channels, {self.num_classes} classes"


@dataclass(frozen=True, slots=True)
class TorchvisionArchitecture:
    """A detector that torchvision builds."""

    builder: str
    """Name for `torchvision.models.get_model`."""

    def __str__(self) -> str:
        return f"torchvision {self.builder}"
