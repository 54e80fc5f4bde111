"""Dual path networks: Chen et al. 2017, "Dual path networks" (arXiv:1707.01629).

One tensor holds two paths side by side: its first channels are a residual path, to which every block adds;
the others are a densely connected path, to which every block appends `growth` channels (figure 2(e) of the
paper). The numbers are those of its table 1; DPN-68 and smaller are later additions by the authors and timm.
Stage i of n blocks has residual * 2**i + (n + 2) * growth[i] channels: 336, 704, 1552, 2688 in DPN-92.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.backbones.backbone import Backbone, FeatureInfo, initialise_weights

_EPS = 1e-3
"""Of the batch norms, as in the authors' MXNet network."""


@dataclass(frozen=True, slots=True)
class DPNConfig:
    """One network of the family."""

    depths: tuple[int, int, int, int]
    """Blocks of each stage."""
    growth: tuple[int, int, int, int]
    """Channels that a block appends to the dense path; a stage starts with three times as many."""
    stem: tuple[int, int]
    """Channels and kernel size of the first convolution."""
    width: int
    """Channels of the grouped convolution in the first stage; every further stage doubles them."""
    groups: int
    residual: int = 256
    """Channels of the residual path in the first stage; every further stage doubles them."""
    silu: bool = False
    """SiLU in place of ReLU after the stem and at the end; the blocks keep ReLU, as in timm's dpn48b."""
    small_pictures: bool = False
    """The stem keeps the resolution: no stride and no max-pool, for pictures of about 32x32."""


_SMALL_DEPTHS, _SMALL_GROWTH = (3, 4, 12, 3), (16, 32, 32, 64)
VARIANTS: dict[str, DPNConfig] = {
    # Ours, for a CPU: half of DPN-92's residual widths, a ResNet-50's depths, fewer and wider groups.
    "dpn50_thin": DPNConfig((3, 4, 6, 3), (16, 32, 24, 64), (64, 7), 32, 4, residual=128),
    "dpn48b": DPNConfig((3, 4, 6, 3), _SMALL_GROWTH, (10, 3), 128, 32, residual=64, silu=True),
    "dpn68": DPNConfig(_SMALL_DEPTHS, _SMALL_GROWTH, (10, 3), 128, 32, residual=64),
    "dpn68b": DPNConfig(_SMALL_DEPTHS, _SMALL_GROWTH, (10, 3), 128, 32, residual=64),
    "dpn92": DPNConfig((3, 4, 20, 3), (16, 32, 24, 128), (64, 7), 96, 32),
    # DPN-92 for the 32x32 pictures of CIFAR-10: a 3x3 stem, and features at strides 1, 2, 4 and 8.
    "dpn92_cifar": DPNConfig((3, 4, 20, 3), (16, 32, 24, 128), (64, 3), 96, 32, small_pictures=True),
    "dpn98": DPNConfig((3, 6, 20, 3), (16, 32, 32, 128), (96, 7), 160, 40),
    "dpn107": DPNConfig((4, 8, 20, 3), (20, 64, 64, 128), (128, 7), 200, 50),
    "dpn131": DPNConfig((4, 8, 28, 3), (16, 32, 32, 128), (128, 7), 160, 40),
}


class PreActivation(nn.Module):
    """Batch norm, ReLU, convolution: in that order, so that the paths themselves stay linear."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(conv.in_channels, eps=_EPS)
        self.relu = nn.ReLU(inplace=True)  # on the norm's output, which nothing else reads
        self.conv = conv

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(self.relu(self.norm(features)))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _BlockSize:
    """Channels of one block."""

    before: int
    inner: int
    residual: int
    growth: int
    groups: int

    @property
    def outer(self) -> int:
        """What the block's convolutions yield: a residual to add, and new channels of the dense path."""
        return self.residual + self.growth


class DualPathBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1; a stage's first block also projects both paths, with the stage's stride.

    Paths (B, residual + d, H, W) become (B, residual + d + growth, H, W); a first block takes paths of any
    width to (B, residual + 3 * growth, H / stride, W / stride).
    """

    def __init__(self, size: _BlockSize, stride: int | None) -> None:
        super().__init__()
        self.residual = size.residual
        self.project: nn.Module | None = None
        if stride is not None:
            both = size.residual + 2 * size.growth
            self.project = PreActivation(nn.Conv2d(size.before, both, 1, stride, bias=False))
        grouped = nn.Conv2d(size.inner, size.inner, 3, stride or 1, padding=1, groups=size.groups, bias=False)
        self.reduce = PreActivation(nn.Conv2d(size.before, size.inner, 1, bias=False))
        self.group = PreActivation(grouped)
        self.expand = PreActivation(nn.Conv2d(size.inner, size.outer, 1, bias=False))

    def forward(self, paths: Tensor) -> Tensor:
        kept = paths if self.project is None else self.project(paths)
        new = self.expand(self.group(self.reduce(paths)))
        added = kept[:, : self.residual] + new[:, : self.residual]
        return torch.cat((added, kept[:, self.residual :], new[:, self.residual :]), dim=1)

    def fold(self) -> None:
        """Fold the two inner norms into the convolutions before them, for inference."""
        for first, second in ((self.reduce, self.group), (self.group, self.expand)):
            assert isinstance(second.norm, nn.BatchNorm2d)
            first.conv = fuse_conv_bn_eval(first.conv, second.norm)
            second.norm = nn.Identity()


class DPN(Backbone):
    """A dual path network; features are the outputs of its four stages, the last one normed and activated.

    Images (B, 3, H, W) become maps (B, C, H / s, W / s) with s of 4, 8, 16 and 32 (1, 2, 4 and 8 behind the
    stem for small pictures) and C as the module says; the top gives logits (B, num_classes).
    """

    def __init__(self, config: DPNConfig, include_top: bool = False, num_classes: int = 1000) -> None:
        super().__init__()
        self.config = config
        self.include_top = include_top
        channels, kernel = config.stem
        self.activation: nn.Module = nn.SiLU() if config.silu else nn.ReLU()
        first_stride = 1 if config.small_pictures else 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, kernel, first_stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels, eps=_EPS),
            self.activation,
            nn.Identity() if config.small_pictures else nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages, widths = [], []
        for stage in range(4):
            blocks, channels = self._stage(stage, channels)
            stages.append(blocks)
            widths.append(channels)
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm2d(channels, eps=_EPS)
        strides = (1, 2, 4, 8) if config.small_pictures else (4, 8, 16, 32)
        self.features = tuple(
            FeatureInfo(width, stride) for width, stride in zip(widths, strides, strict=True)
        )
        if include_top:
            self.fc = nn.Linear(channels, num_classes)
        initialise_weights(self)

    def _stage(self, stage: int, before: int) -> tuple[nn.Sequential, int]:
        config, growth = self.config, self.config.growth[stage]
        residual = config.residual * 2**stage
        blocks = []
        for block in range(config.depths[stage]):
            size = _BlockSize(before, config.width * 2**stage, residual, growth, config.groups)
            first_stride = 1 if stage == 0 else 2
            blocks.append(DualPathBlock(size, first_stride if block == 0 else None))
            before = residual + 3 * growth if block == 0 else before + growth
        return nn.Sequential(*blocks), before

    def forward_features(self, images: Tensor) -> tuple[Tensor, ...]:
        paths = self.stem(images)  # (B, C, H / 4, W / 4); at full size for small pictures
        maps = []
        for stage in self.stages:
            paths = stage(paths)
            maps.append(paths)
        maps[-1] = self.activation(self.norm(paths))
        return tuple(maps)

    def forward_top(self, features: Tensor) -> Tensor:
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


_TIMM_BLOCK = re.compile(r"features\.conv(\d)_(\d+)\.(c1x1_w_s\d|c1x1_a|c3x3_b|c1x1_c)\.(bn|conv)\.(\w+)")
_TIMM_PART = {"c1x1_a": "reduce", "c3x3_b": "group", "c1x1_c": "expand"}
_TIMM_PREFIX = {
    "features.conv1_1.conv.": "stem.0.",
    "features.conv1_1.bn.": "stem.1.",
    "features.conv5_bn_ac.bn.": "norm.",
    "classifier.": "fc.",
}


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with our names from one with timm's; any other comes back with the names it has.

    timm's "b" variants have two last convolutions per block, one for each path: ours is both, one above the
    other. Its classifier is a 1x1 convolution: the same numbers as our matrix.
    """
    ours = {}
    for name, tensor in state.items():
        if name.endswith(".c1x1_c1.weight"):
            dense = state[name.replace("c1x1_c1", "c1x1_c2")]
            name, tensor = name.replace("c1x1_c1", "c1x1_c.conv"), torch.cat((tensor, dense))
        elif name.endswith(".c1x1_c2.weight"):
            continue
        ours[_our_name(name)] = tensor.flatten(1) if name == "classifier.weight" else tensor
    return ours


def _our_name(name: str) -> str:
    match = _TIMM_BLOCK.fullmatch(name)
    if match is not None:
        stage, block, part, kind, rest = match.groups()
        layer = "norm" if kind == "bn" else "conv"
        return f"stages.{int(stage) - 2}.{int(block) - 1}.{_TIMM_PART.get(part, 'project')}.{layer}.{rest}"
    for theirs, our in _TIMM_PREFIX.items():
        if name.startswith(theirs):
            return our + name.removeprefix(theirs)
    return name
