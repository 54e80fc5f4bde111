import pytest
import torch
from torch import nn

from models.network import create_detector_network
from models.training.freezing import freeze_batch_norms, freeze_stem


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
