"""Networks whose batch norms are not the identity that fresh ones are, so that a swap of two would show."""

import torch
from torch import nn


def stir_batch_norms(network: nn.Module, seed: int = 0) -> nn.Module:
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
