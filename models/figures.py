"""How large networks are: parameters, and multiplications for one picture, counted without any numbers."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from core.types import Size
from models.architecture import Architecture
from models.backbones import FeatureInfo, backbone_info, create_backbone
from models.catalogue import WeightsEntry
from models.network import create_detector_network


@dataclass(frozen=True, slots=True)
class Figures:
    """The size of one network."""

    parameters: int
    gflops: float
    """Thousand millions of operations per picture. A multiplication and its addition count as one, as papers
    and torchvision count them: ResNet-50 has 4.1 at 224x224."""
    features: tuple[FeatureInfo, ...] = ()
    """Levels of a backbone, fine ones first."""


@cache
def measure_backbone(name: str) -> Figures:
    """A backbone with its top, at the pictures that it classifies. Raises ModelNotFoundError."""
    side = backbone_info(name).side
    with torch.device("meta"):
        network = create_backbone(name, include_top=True)
        return replace(_measure(network, (side, side)), features=network.features)


@cache
def measure_detector(entry: WeightsEntry) -> Figures:
    """A detector at its canvas; torchvision's by torchvision's own account, at the pictures of COCO."""
    if isinstance(entry.architecture, Architecture):
        parts = entry.architecture
        with torch.device("meta"):
            network = create_detector_network(
                parts.backbone, parts.neck, parts.num_classes, parts.neck_channels
            )
            return _measure(network, entry.canvas)
    facts = get_model_weights(entry.architecture.builder).DEFAULT.meta
    return Figures(int(facts["num_params"]), float(facts["_ops"]))


@torch.no_grad()
def _measure(network: nn.Module, size: Size) -> Figures:
    width, height = size
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, 3, height, width))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Figures(parameters, counter.get_total_flops() / 2e9)
