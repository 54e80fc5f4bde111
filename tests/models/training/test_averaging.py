import pytest
import torch
from torch import nn

from models.training.averaging import AveragedNetwork


def test_the_average_follows_the_network_and_copies_counters() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.zeros_(network[0].weight)
    average = AveragedNetwork(network, decay=0.5, ramp=1e-6)  # no ramp: half way in every update
    nn.init.ones_(network[0].weight)
    network[1].num_batches_tracked += 7
    average.update(network)
    assert average.network[0].weight.item() == pytest.approx(0.5)  # type: ignore[index, union-attr, operator]
    average.update(network)
    assert average.network[0].weight.item() == pytest.approx(0.75)  # type: ignore[index, union-attr, operator]
    assert average.network.state_dict()["1.num_batches_tracked"].item() == 7
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


def test_early_updates_forget_the_start_quickly() -> None:
    network = nn.Linear(1, 1)
    average = AveragedNetwork(network, decay=0.999, ramp=300.0)
    nn.init.constant_(network.weight, 5.0)
    average.update(network)
    assert torch.allclose(average.network.weight, network.weight, atol=0.05)  # type: ignore[arg-type]
