"""Exponential moving average of a network's weights, which scores better than the last step's."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class AveragedNetwork(Generic[NetworkT]):
    """A second copy of a network that follows the trained one slowly.

    The decay ramps up, decay * (1 - exp(-updates / ramp)), so that early weights are forgotten fast.
    """

    def __init__(self, network: NetworkT, decay: float = 0.999, ramp: float = 300.0) -> None:
        self.network: NetworkT = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.ramp = ramp
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards `network` by one step; integer buffers are copied."""
        self.updates += 1
        decay = self.decay * (1.0 - float(torch.exp(torch.tensor(-self.updates / self.ramp))))
        averaged, current = _split(self.network), _split(network)
        torch._foreach_lerp_(averaged[0], current[0], 1.0 - decay)
        for target, source in zip(averaged[1], current[1], strict=True):
            target.copy_(source)


def _split(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Floating-point tensors of the state, and the others."""
    state = list(network.state_dict().values())
    return [t for t in state if t.is_floating_point()], [t for t in state if not t.is_floating_point()]
