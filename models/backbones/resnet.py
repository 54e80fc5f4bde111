"""Residual networks: He et al. 2015, "Deep residual learning for image recognition" (arXiv:1512.03385).

Parameters carry torchvision's names (conv1, bn1, layer1.0.conv1 .. fc), so that its weights load as they are.
"""

from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor, nn

from models.backbones.backbone import Backbone, FeatureInfo, initialise_weights


class BlockKind(StrEnum):
    """The two residual blocks of the paper (figure 5)."""

    BASIC = "basic"
    """Two 3x3 convolutions; as many channels out as inside."""
    BOTTLENECK = "bottleneck"
    """1x1, 3x3, 1x1; four times as many channels out as inside."""

    @property
    def expansion(self) -> int:
        return 1 if self is BlockKind.BASIC else 4


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """One network of the family."""

    block: BlockKind
    depths: tuple[int, int, int, int]
    """Blocks of each stage."""
    width: int = 64
    """Channels inside the blocks of the first stage; every further stage doubles them."""
    stride_on_first: bool = False
    """A down-sampling bottleneck strides in its first 1x1, as in the paper and in Caffe's networks.
    Off, it strides in the 3x3, as torchvision does (known as ResNet v1.5)."""
    pool_pads_end: bool = False
    """The first max-pool pads to the right and bottom only, as Caffe and TensorFlow do, not on all sides."""


VARIANTS: dict[str, ResNetConfig] = {
    "resnet18_thin": ResNetConfig(BlockKind.BASIC, (2, 2, 2, 2), width=16),
    "resnet18": ResNetConfig(BlockKind.BASIC, (2, 2, 2, 2)),
    "resnet34": ResNetConfig(BlockKind.BASIC, (3, 4, 6, 3)),
    "resnet50": ResNetConfig(BlockKind.BOTTLENECK, (3, 4, 6, 3)),
    "resnet101": ResNetConfig(BlockKind.BOTTLENECK, (3, 4, 23, 3)),
    "resnet152": ResNetConfig(BlockKind.BOTTLENECK, (3, 8, 36, 3)),
    "resnet50_thin": ResNetConfig(
        BlockKind.BOTTLENECK, (3, 4, 6, 3), width=32, stride_on_first=True, pool_pads_end=True
    ),
}


class ConvNorm(nn.Sequential):
    """A convolution and its batch norm, with the keys `0` and `1` of torchvision's down-sampling branch."""

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        before, after = channels
        super().__init__(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (B, before, H, W) to (B, after, H / stride, W / stride)."""

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        before, after = channels
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 and before == after else ConvNorm(channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        inner = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(inner)).add_(shortcut))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, around a shortcut: (B, before, H, W) to (B, after, H / stride, W / stride)."""

    def __init__(self, channels: tuple[int, int], stride: int, stride_on_first: bool) -> None:
        super().__init__()
        before, after = channels
        inner = after // BlockKind.BOTTLENECK.expansion
        first, second = (stride, 1) if stride_on_first else (1, stride)
        self.conv1 = nn.Conv2d(before, inner, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 and before == after else ConvNorm(channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)).add_(shortcut))  # type: ignore[no-any-return]


class ResNet(Backbone):
    """A residual network (table 1 of the paper); features are the outputs of its four stages.

    Images (B, 3, H, W) become maps (B, C, H / s, W / s) with s of 4, 8, 16 and 32; C is 64, 128, 256 and 512
    with basic blocks, 256, 512, 1024 and 2048 with bottlenecks; the top gives logits (B, num_classes).

    `resnet18_thin` has a quarter of the width (0.7 M parameters), for tests and for small machines.
    `resnet50_thin` is ResNet-50 at half width (stages of 128, 256, 512 and 1024 channels, 5.9 M parameters):
    the network of Yahoo's open_nsfw (https://github.com/yahoo/open_nsfw, nsfw_model/deploy.prototxt).
    From there it has its two traits, `stride_on_first` and `pool_pads_end`, so that those weights fit.
    """

    def __init__(self, config: ResNetConfig, include_top: bool = False, num_classes: int = 1000) -> None:
        super().__init__()
        self.config = config
        self.include_top = include_top
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        # Rounding up is padding one row and column at the end, without moving a value.
        self.maxpool = nn.MaxPool2d(
            3, stride=2, padding=0 if config.pool_pads_end else 1, ceil_mode=config.pool_pads_end
        )
        widths = [config.width * config.block.expansion * 2**stage for stage in range(4)]
        self.layer1 = self._stage(64, widths[0], config.depths[0], stride=1)
        self.layer2 = self._stage(widths[0], widths[1], config.depths[1], stride=2)
        self.layer3 = self._stage(widths[1], widths[2], config.depths[2], stride=2)
        self.layer4 = self._stage(widths[2], widths[3], config.depths[3], stride=2)
        self.features = tuple(
            FeatureInfo(width, stride) for width, stride in zip(widths, (4, 8, 16, 32), strict=True)
        )
        if include_top:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(widths[3], num_classes)
        initialise_weights(self)

    def _stage(self, before: int, after: int, depth: int, stride: int) -> nn.Sequential:
        blocks = [self._block((before, after), stride)]
        blocks += [self._block((after, after), stride=1) for _ in range(depth - 1)]
        return nn.Sequential(*blocks)

    def _block(self, channels: tuple[int, int], stride: int) -> nn.Module:
        if self.config.block is BlockKind.BASIC:
            return BasicBlock(channels, stride)
        return Bottleneck(channels, stride, self.config.stride_on_first)

    def forward_features(self, images: Tensor) -> tuple[Tensor, ...]:
        # ReLU and max commute: after the pool it has a quarter of the values to go through.
        stem = self.relu(self.maxpool(self.bn1(self.conv1(images))))  # (B, 64, H / 4, W / 4)
        c2 = self.layer1(stem)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        c5 = self.layer4(c4)
        return c2, c3, c4, c5

    def forward_top(self, features: Tensor) -> Tensor:
        return self.fc(self.avgpool(features).flatten(1))  # type: ignore[no-any-return]
