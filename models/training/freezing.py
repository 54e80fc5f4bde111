"""Keeping parts of a network as they are: for small data sets, what was learned before is worth keeping."""

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.backbones import Backbone
from models.folding import norms_after_convolutions

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


def fold_frozen_norms(network: nn.Module) -> None:
    """Fold frozen batch norms into the convolutions before them, in place, for the time of the training.

    The network computes what it did, and a step is faster. Norms that several convolutions share, or that
    come before theirs, remain.
    """
    for module, (first, convolution), (second, norm) in list(norms_after_convolutions(network)):
        folded = fuse_conv_bn_eval(convolution.eval(), norm.eval())
        setattr(module, first, folded.requires_grad_(convolution.weight.requires_grad))
        setattr(module, second, FoldedNorm(norm.eps))


class FoldedNorm(nn.Module):
    """Stands where a batch norm was, and does nothing."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        return features


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def unfold_norms(network: NetworkT) -> NetworkT:
    """A copy with batch norms where they were: convolutions keep what was folded in, norms only shift."""
    whole = copy.deepcopy(network)
    for module in list(whole.modules()):
        for (_, convolution), (name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, FoldedNorm):
                setattr(module, name, _shift_of(convolution, norm.eps).train(module.training))
    return whole


def _shift_of(convolution: nn.Conv2d, eps: float) -> nn.BatchNorm2d:
    """A batch norm that adds what the convolution has added so far, and stops it from doing so."""
    norm = nn.BatchNorm2d(convolution.out_channels, eps)
    assert convolution.bias is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.bias.copy_(convolution.bias)
        norm.running_var.sub_(eps)
    convolution.bias = None
    return norm
