import copy

import pytest
import torch
from torch import nn

from models.network import create_detector_network
from models.training.freezing import fold_frozen_norms, freeze_batch_norms, freeze_stem, unfold_norms


@pytest.mark.parametrize(
    ("backbone", "stem"),
    [("resnet18_thin", "backbone.conv1.weight"), ("dpn50_thin", "backbone.stem.0.weight")],
)
def test_a_frozen_stem_gets_no_gradient_and_the_rest_does(backbone: str, stem: str) -> None:
    network = create_detector_network(backbone, "fpn", 2, 16)
    freeze_stem(network.backbone)
    parameters = dict(network.named_parameters())
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    assert stem in frozen
    assert 1 < len(frozen) <= 4
    assert all(name.startswith(("backbone.conv1.", "backbone.bn1.", "backbone.stem.")) for name in frozen)


def test_frozen_batch_norms_keep_statistics_scales_and_shifts() -> None:
    network = create_detector_network("resnet18_thin", "fpn", 2, 16).train()
    freeze_batch_norms(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if "running" in name}
    network(torch.rand(2, 3, 64, 64) * 255).logits.sum().backward()
    after = network.state_dict()
    assert before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight.grad is None and norm.bias.grad is None for norm in norms)
    assert network.backbone.conv1.weight.grad is not None


@pytest.mark.parametrize("backbone", ["resnet18_thin", "dpn50_thin"])
@pytest.mark.parametrize("neck", ["fpn", "csp"])
def test_folded_for_training_and_back_a_network_computes_the_same(backbone: str, neck: str) -> None:
    network = create_detector_network(backbone, neck, 2, 16).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    images = torch.rand(2, 3, 64, 64) * 255
    expected = network(images).logits
    folded = copy.deepcopy(network)
    fold_frozen_norms(folded)
    assert torch.allclose(folded(images).logits, expected, atol=1e-4)
    whole = unfold_norms(folded)
    assert whole.state_dict().keys() == network.state_dict().keys()
    assert torch.allclose(whole(images).logits, expected, atol=1e-4)


def test_unfolded_norms_have_the_statistics_to_go_on_from() -> None:
    network = create_detector_network("resnet18_thin", "fpn", 2, 16).train()
    images = torch.rand(4, 3, 96, 96) * 255
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network(images)
    expected = network(images).logits
    folded = copy.deepcopy(network)
    fold_frozen_norms(folded)
    assert torch.allclose(unfold_norms(folded).train()(images).logits, expected, atol=1e-2)


def test_folded_convolutions_learn_weight_and_shift() -> None:
    network = create_detector_network("resnet18_thin", "fpn", 2, 16).train()
    freeze_batch_norms(network)
    fold_frozen_norms(network)
    network(torch.rand(2, 3, 64, 64) * 255).logits.sum().backward()
    first = network.backbone.conv1
    assert first.bias is not None
    assert first.weight.grad is not None
    assert first.bias.grad is not None
