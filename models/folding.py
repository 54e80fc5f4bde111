"""Batch norms folded into their convolutions: the same numbers in eval mode, with a third fewer layers."""

import copy
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@runtime_checkable
class Foldable(Protocol):
    """A module that knows more about its norms than their order tells."""

    def fold(self) -> None:
        """Fold what can be folded, for inference."""


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def fold_batch_norms(network: NetworkT) -> NetworkT:
    """A copy for inference in which every norm that directly follows its convolution is gone.

    Relies on a rule of all networks here: a norm declared right after a convolution is applied right after
    it. Modules for which that says too little (shared towers, pre-activation) fold themselves.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if isinstance(module, Foldable):
            module.fold()
        else:
            _fold_children(module)
    return folded


def _fold_children(module: nn.Module) -> None:
    for (first, convolution), (second, norm) in pairwise(list(module.named_children())):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(convolution, norm))
            setattr(module, second, nn.Identity())
