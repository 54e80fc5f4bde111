"""The backbones by name: one registration per family variant, none by import side effect elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from core.errors import ModelNotFoundError
from models.architecture import DPN_MXNET, IMAGENET, OPEN_NSFW, Normalization
from models.backbones.backbone import Backbone, FeatureInfo
from models.backbones.dpn import DPN
from models.backbones.dpn import VARIANTS as DPNS
from models.backbones.resnet import VARIANTS as RESNETS
from models.backbones.resnet import ResNet

__all__ = [
    "Backbone",
    "FeatureInfo",
    "backbone_normalization",
    "create_backbone",
    "list_backbones",
    "register_backbone",
]


@dataclass(frozen=True, slots=True)
class _Entry:
    build: Callable[[bool, int], Backbone]
    normalization: Normalization


_entries: dict[str, _Entry] = {}


def register_backbone(
    name: str, build: Callable[[bool, int], Backbone], normalization: Normalization = IMAGENET
) -> None:
    """Make `build(include_top, num_classes)` known as `name`; a name that is taken raises ValueError."""
    if name in _entries:
        raise ValueError(f"backbone {name!r} is registered already; choose another name")
    _entries[name] = _Entry(build, normalization)


def list_backbones() -> tuple[str, ...]:
    """Names of all backbones, in order of registration."""
    return tuple(_entries)


def create_backbone(name: str, include_top: bool = False, num_classes: int = 1000) -> Backbone:
    """A backbone with fresh weights; its `features` tell channels and stride per level.

    With `include_top` its forward gives logits (B, num_classes), else the feature maps.
    Raises ModelNotFoundError for a name that is not registered.
    """
    return _entry(name).build(include_top, num_classes)


def backbone_normalization(name: str) -> Normalization:
    """What the published weights of the backbone expect of their input."""
    return _entry(name).normalization


def _entry(name: str) -> _Entry:
    try:
        return _entries[name]
    except KeyError:
        known = ", ".join(_entries)
        raise ModelNotFoundError(f"backbone: expected one of {known}; got {name!r}") from None


for _name, _config in RESNETS.items():
    register_backbone(_name, partial(ResNet, _config), OPEN_NSFW if _name == "resnet50_thin" else IMAGENET)
for _name, _dpn_config in DPNS.items():
    # The "b" weights are timm's own, trained on its usual statistics; the others are the authors'.
    register_backbone(_name, partial(DPN, _dpn_config), IMAGENET if _name.endswith("b") else DPN_MXNET)
