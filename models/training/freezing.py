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
        setattr(module, second, FoldedNorm(norm))


class FoldedNorm(nn.Identity):
    """Stands where a batch norm was, and does nothing but know its statistics."""

    mean: Tensor
    var: Tensor
    """(C,): of the folded convolution's output without its bias, as the norm's own statistics tell."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        self.register_buffer("mean", norm.running_mean * scale, persistent=False)
        self.register_buffer("var", norm.running_var * scale.square(), persistent=False)
        self.eps = norm.eps


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def unfold_norms(network: NetworkT) -> NetworkT:
    """A copy with batch norms where they were, for use as it is and for training them again.

    Convolutions keep what was folded in; norms have its statistics, undo them, and add the bias.
    """
    whole = copy.deepcopy(network)
    for module in list(whole.modules()):
        for (_, convolution), (name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, FoldedNorm):
                setattr(module, name, _unfolded(convolution, norm).train(module.training))
    return whole


@torch.no_grad()
def _unfolded(convolution: nn.Conv2d, folded: FoldedNorm) -> nn.BatchNorm2d:
    """The norm that takes over the bias of a convolution."""
    norm = nn.BatchNorm2d(convolution.out_channels, folded.eps)
    assert convolution.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(folded.mean)
    norm.running_var.copy_(folded.var)
    norm.weight.copy_((folded.var + folded.eps).sqrt())
    norm.bias.copy_(convolution.bias + folded.mean)
    convolution.bias = None
    return norm
