"""Batch norms folded into their convolutions: the same numbers in eval mode, with a third fewer layers."""

import copy
from collections.abc import Iterator
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
    for module, (first, convolution), (second, norm) in list(norms_after_convolutions(folded)):
        setattr(module, first, fuse_conv_bn_eval(convolution, norm))
        setattr(module, second, nn.Identity())
    return folded


def norms_after_convolutions(
    network: nn.Module,
) -> Iterator[tuple[nn.Module, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    """Every norm that follows its convolution by the rule: their module, and both with their names in it.

    Foldable modules are left out.
    """
    for module in network.modules():
        if isinstance(module, Foldable):
            continue
        for (first, convolution), (second, norm) in pairwise(module.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield module, (first, convolution), (second, norm)
