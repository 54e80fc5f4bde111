import pytest
import torch

from core.errors import ModelNotFoundError, WeightsError
from models.backbones import (
    backbone_normalization,
    create_backbone,
    list_backbones,
    register_backbone,
)
from models.folding import fold_batch_norms
from models.weights import load_state_dict
from tests.models.networks import stir_batch_norms

LIGHT = ("resnet18_thin", "resnet18", "resnet50", "resnet50_thin", "dpn48b", "dpn68")
"""One or more of every kind; the heavy ones differ in depth and width alone."""
IMAGES = torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96).sin()


@pytest.mark.parametrize("name", list_backbones())
def test_every_backbone_keeps_its_feature_contract(name: str) -> None:
    with torch.device("meta"):  # shapes without numbers: also the large ones take milliseconds
        backbone = create_backbone(name)
        maps = backbone.forward_features(torch.empty(2, 3, 96, 160))
    expected = [(2, level.channels, 96 // level.stride, 160 // level.stride) for level in backbone.features]
    assert [tuple(level.shape) for level in maps] == expected
    assert [level.stride for level in backbone.features] == [4, 8, 16, 32]


@pytest.mark.parametrize("name", list_backbones())
def test_every_backbone_classifies_with_its_top(name: str) -> None:
    with torch.device("meta"):
        logits = create_backbone(name, include_top=True, num_classes=7)(torch.empty(2, 3, 64, 64))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", LIGHT)
def test_gradients_reach_every_parameter(name: str) -> None:
    backbone = create_backbone(name, include_top=True, num_classes=3).train()
    logits = backbone(IMAGES.repeat(2, 1, 1, 1))
    assert isinstance(logits, torch.Tensor)
    logits.square().sum().backward()
    without = [
        key
        for key, parameter in backbone.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ]
    assert without == []


@pytest.mark.parametrize("name", LIGHT)
def test_folding_batch_norms_changes_no_number(name: str) -> None:
    backbone = stir_batch_norms(create_backbone(name))
    folded = fold_batch_norms(backbone)
    left = [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(left) < len([m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]) / 2
    with torch.no_grad():
        for before, after in zip(backbone(IMAGES), folded(IMAGES), strict=True):
            assert (after - before).norm() < 1e-5 * before.norm()


@pytest.mark.parametrize("name", LIGHT)
def test_a_state_dict_moves_weights_from_one_backbone_to_another(name: str) -> None:
    source, target = stir_batch_norms(create_backbone(name)), create_backbone(name).eval()
    load_state_dict(target, source.state_dict())
    with torch.no_grad():
        assert torch.equal(source(IMAGES)[-1], target(IMAGES)[-1])


def test_weights_of_another_backbone_are_refused_in_one_line() -> None:
    with pytest.raises(WeightsError, match=r"another network: expected \d+ tensors, got \d+") as error:
        load_state_dict(create_backbone("resnet18_thin"), create_backbone("resnet50_thin").state_dict())
    assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match=r"expected fc.weight of shape \(5, 128\), got \(4, 128\)"):
        load_state_dict(
            create_backbone("resnet18_thin", include_top=True, num_classes=5),
            create_backbone("resnet18_thin", include_top=True, num_classes=4).state_dict(),
        )


def test_an_unknown_backbone_lists_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError, match=r"resnet50_thin.*dpn92.*got 'resnet51'"):
        create_backbone("resnet51")
    with pytest.raises(ModelNotFoundError):
        backbone_normalization("resnet51")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register_backbone("resnet50", lambda top, classes: create_backbone("resnet18_thin", top, classes))
