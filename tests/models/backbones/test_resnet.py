import pytest
import torch
import torchvision

from models.backbones import create_backbone
from models.network import create_detector_network
from models.weights import load_state_dict
from tests.models.networks import build_empty, relative_distance, stir_batch_norms

IMAGES = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64).sin()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_torchvisions_weights_give_torchvisions_logits(name: str) -> None:
    theirs = stir_batch_norms(torchvision.models.get_model(name, weights=None, num_classes=11))
    ours = build_empty(lambda: create_backbone(name, include_top=True, num_classes=11))
    load_state_dict(ours, theirs.state_dict())
    with torch.no_grad():
        assert relative_distance(ours(IMAGES), theirs(IMAGES)) < 1e-4


def test_a_detection_network_takes_a_classifiers_weights_into_its_backbone() -> None:
    classifier = stir_batch_norms(torchvision.models.resnet18(weights=None))
    network = create_detector_network("resnet18")
    load_state_dict(network, classifier.state_dict())
    assert torch.equal(
        network.backbone.state_dict()["layer4.1.conv2.weight"], classifier.layer4[1].conv2.weight
    )


def test_the_half_width_network_has_six_million_parameters_and_strides_first() -> None:
    backbone = create_backbone("resnet50_thin")
    assert sum(parameter.numel() for parameter in backbone.parameters()) == pytest.approx(5.9e6, rel=0.01)
    assert [level.channels for level in backbone.features] == [128, 256, 512, 1024]
    assert backbone.layer2[0].conv1.stride == (2, 2)  # type: ignore[index, union-attr]
    assert backbone.layer2[0].conv2.stride == (1, 1)  # type: ignore[index, union-attr]


def test_pooling_with_padding_at_the_end_equals_caffes() -> None:
    pool = create_backbone("resnet50_thin").maxpool
    features = torch.rand(1, 2, 30, 41)
    padded = torch.nn.functional.pad(features, (0, 1, 0, 1))
    assert torch.equal(pool(features), torch.nn.functional.max_pool2d(padded, 3, 2))  # type: ignore[operator]
