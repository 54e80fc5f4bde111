from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ModelNotFoundError, WeightsError
from models.backbones import (
    Backbone,
    backbone_info,
    backbone_normalization,
    create_backbone,
    list_backbones,
    register_backbone,
)
from models.engine import Execution, speed_up
from models.folding import fold_batch_norms
from models.weights import load_state_dict, read_state_dict
from tests.models.networks import build_empty, fill_weights
from tests.models.precision import FAST_DTYPES

ALL = list_backbones()
EXPECTED = {
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50_thin"),
    *("dpn48b", "dpn68", "dpn68b", "dpn92", "dpn98", "dpn107", "dpn131", "dpn92_cifar"),
}


def picture(name: str) -> torch.Tensor:
    """(1, 3, H, W): small, of unequal sides, and with at least two cells in the coarsest map."""
    coarsest = max(level.stride for level in create_backbone_without_numbers(name).features)
    height, width = 2 * coarsest, 3 * coarsest
    return torch.linspace(-2, 2, 3 * height * width).view(1, 3, height, width).sin()


def create_backbone_without_numbers(name: str, **options: object) -> Backbone:
    with torch.device("meta"):
        return create_backbone(name, **options)  # type: ignore[arg-type]


def test_the_families_are_complete() -> None:
    assert set(ALL) >= EXPECTED


@pytest.mark.parametrize("name", ALL)
def test_every_backbone_keeps_its_feature_contract(name: str) -> None:
    backbone = create_backbone_without_numbers(name)
    maps = backbone.forward_features(torch.empty(2, 3, 96, 160, device="meta"))
    expected = [(2, level.channels, 96 // level.stride, 160 // level.stride) for level in backbone.features]
    assert [tuple(level.shape) for level in maps] == expected
    strides = [1, 2, 4, 8] if name == "dpn92_cifar" else [4, 8, 16, 32]
    assert [level.stride for level in backbone.features] == strides


@pytest.mark.parametrize("name", ALL)
def test_every_backbone_classifies_with_its_top(name: str) -> None:
    side = backbone_info(name).side
    logits = create_backbone_without_numbers(name, include_top=True)(
        torch.empty(2, 3, side, side, device="meta")
    )
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 10 if name == "dpn92_cifar" else 1000)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "dpn68"])
def test_convolutions_start_from_normal_he_initialisation(name: str) -> None:
    backbone = create_backbone(name)
    convs = [module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    fan_outs = [conv.weight[:, 0].numel() for conv in convs]
    measured = [
        conv.weight.std().item() * (fan / 2) ** 0.5 for conv, fan in zip(convs, fan_outs, strict=True)
    ]
    large = [value for value, conv in zip(measured, convs, strict=True) if conv.weight.numel() > 4000]
    assert large == pytest.approx([1.0] * len(large), rel=0.1)


@pytest.fixture(scope="module", params=ALL)
def classifier(request: pytest.FixtureRequest) -> tuple[str, Backbone]:
    """Each backbone with a top of three classes and random numbers; pytest builds it once for its tests."""
    return request.param, fill_weights(build_empty(lambda: create_backbone(request.param, True, 3)))


def test_a_file_brings_back_the_same_backbone(classifier: tuple[str, Backbone], tmp_path: Path) -> None:
    """Also into a network without the top that the file has."""
    name, source = classifier
    save_file(source.state_dict(), tmp_path / "backbone.safetensors")
    state = read_state_dict(tmp_path / "backbone.safetensors")
    whole = build_empty(lambda: create_backbone(name, True, 3))
    features = build_empty(lambda: create_backbone(name))
    load_state_dict(whole, state)
    load_state_dict(features, state)
    with torch.no_grad():
        expected = source.forward_features(picture(name))
        assert torch.equal(whole(picture(name)), source.forward_top(expected[-1]))
        assert all(map(torch.equal, features(picture(name)), expected))


def test_folding_batch_norms_changes_no_number(classifier: tuple[str, Backbone]) -> None:
    name, backbone = classifier
    folded = fold_batch_norms(backbone)
    left = [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(left) < len([m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]) / 2
    with torch.no_grad():
        before, after = backbone.forward_features(picture(name)), folded.forward_features(picture(name))
    for expected, values in zip(before, after, strict=True):
        assert (values - expected).norm() < 1e-5 * expected.norm()


def test_making_it_fast_changes_no_number(classifier: tuple[str, Backbone]) -> None:
    """Folded, fused and in channels_last, in the precision of workers; small ones in float32 as well."""
    name, backbone = classifier
    small = sum(parameter.numel() for parameter in backbone.parameters()) < 15e6
    with torch.inference_mode():
        expected = backbone(picture(name))
    tolerances = {torch.bfloat16: 0.05, torch.float32: 1e-5}
    for dtype in [dtype for dtype in FAST_DTYPES if small or dtype is FAST_DTYPES[-1]]:
        fast = speed_up(backbone, Execution(torch.device("cpu"), dtype))
        with torch.inference_mode():
            values = fast(picture(name).to(dtype)).float()
        assert (values - expected).norm() < tolerances[dtype] * expected.norm()


def test_gradients_reach_every_parameter(classifier: tuple[str, Backbone]) -> None:
    name, backbone = classifier
    logits = backbone.train()(picture(name).repeat(2, 1, 1, 1))
    assert isinstance(logits, torch.Tensor)
    logits.square().sum().backward()
    without = [
        key
        for key, parameter in backbone.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert without == []


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
