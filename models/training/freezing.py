"""Keeping parts of a network as they are: for small data sets, what was learned before is worth keeping."""

from torch import nn

from models.backbones import Backbone

STEM = ("stem", "conv1", "bn1")
"""What the two families call what comes before their first stage."""


def freeze_stem(backbone: Backbone) -> None:
    """The convolution and norm before the first stage learn nothing more."""
    for name in STEM:
        if hasattr(backbone, name):
            getattr(backbone, name).requires_grad_(False)


def freeze_batch_norms(network: nn.Module) -> None:
    """Statistics, scales and shifts of all batch norms stay; to be called after every `network.train()`."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
