"""Batch norms folded into their convolutions: the same numbers in eval mode, with a third fewer layers."""

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.heads.anchor_free import SharedConv

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def fold_batch_norms(network: NetworkT) -> NetworkT:
    """A copy for inference in which every norm that directly follows its convolution is gone.

    Relies on a rule of all networks here: a norm declared right after a convolution is applied right after
    it. Norms that stand before their convolution (DPN) stay.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if isinstance(module, SharedConv):
            module.fold()
        else:
            _fold_children(module)
    return folded


def _fold_children(module: nn.Module) -> None:
    for (first, convolution), (second, norm) in pairwise(list(module.named_children())):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(convolution, norm))
            setattr(module, second, nn.Identity())
