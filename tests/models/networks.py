"""Networks whose batch norms are not the identity that fresh ones are, so that a swap of two would show."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def build_empty(build: Callable[[], NetworkT]) -> NetworkT:
    """The network without its start weights, which take a second to draw for 80 million parameters."""
    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu").eval()


def fill_weights(network: NetworkT, seed: int = 0) -> NetworkT:
    """Random weights that keep the size of what passes through, and stirred norms, into an empty network."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        reach = (3 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 1.0
        parameter.data.uniform_(-reach, reach, generator=generator)
    return stir_batch_norms(network, seed)


def stir_batch_norms(network: NetworkT, seed: int = 0) -> NetworkT:
    """Random statistics and affine parameters in every batch norm; the network in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, std=0.1, generator=generator)
    return network.eval()


def relative_distance(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference as a share of the largest value; deep random networks put out thousands."""
    return float((values - expected).abs().max() / expected.abs().max())
