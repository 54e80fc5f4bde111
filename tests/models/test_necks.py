import pytest
import torch

from core.errors import ModelNotFoundError
from models.backbones import FeatureInfo
from models.folding import fold_batch_norms
from models.necks import create_neck, list_necks
from models.necks.csp import BottleneckCoT
from tests.models.networks import stir_batch_norms

LEVELS = (FeatureInfo(8, 4), FeatureInfo(16, 8), FeatureInfo(32, 16), FeatureInfo(64, 32))


def feature_maps(height: int, width: int) -> list[torch.Tensor]:
    return [
        torch.rand(2, level.channels, -(-height // level.stride), -(-width // level.stride))
        for level in LEVELS
    ]


@pytest.mark.parametrize("name", list_necks())
@pytest.mark.parametrize("size", [(128, 192), (100, 130)])
def test_every_neck_puts_out_what_it_declares(name: str, size: tuple[int, int]) -> None:
    neck = create_neck(name, LEVELS, channels=12)
    maps = neck(feature_maps(*size))
    assert [level.stride for level in neck.features] == [8, 16, 32, 64][: len(maps)]
    assert [tuple(level.shape) for level in maps] == [
        (2, 12, -(-size[0] // level.stride), -(-size[1] // level.stride)) for level in neck.features
    ]


def test_coarse_levels_reach_fine_ones_and_not_the_other_way() -> None:
    neck = create_neck("fpn", LEVELS, channels=12).eval()
    maps = feature_maps(128, 128)
    before = neck(maps)
    coarse, fine = list(maps), list(maps)
    coarse[3] = maps[3] + 1
    fine[1] = maps[1] + 1
    assert not torch.equal(neck(coarse)[0], before[0])
    assert torch.equal(neck(fine)[2], before[2])


def test_an_unknown_neck_lists_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError, match="fpn, fpn_p6, csp; got 'bifpn'"):
        create_neck("bifpn", LEVELS)


def test_csp_joins_levels_in_both_directions() -> None:
    neck = create_neck("csp", LEVELS, channels=12).eval()
    maps = feature_maps(128, 128)
    before = neck(maps)
    for level in (1, 2, 3):
        changed = list(maps)
        changed[level] = maps[level] + 1
        assert not any(torch.equal(new, old) for new, old in zip(neck(changed), before, strict=True))


@pytest.mark.parametrize("name", list_necks())
def test_every_neck_folds_to_the_same_numbers_and_learns_everywhere(name: str) -> None:
    neck = stir_batch_norms(create_neck(name, LEVELS, channels=12))
    maps = feature_maps(64, 96)
    folded = fold_batch_norms(neck)
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for before, after in zip(neck(maps), folded(maps), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    torch.stack([level.square().sum() for level in neck(maps)]).sum().backward()
    assert [key for key, parameter in neck.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize(("before", "after", "adds"), [(16, 16, True), (16, 24, False)])
def test_the_csp_bottleneck_adds_its_input_where_the_widths_agree(
    before: int, after: int, adds: bool
) -> None:
    block = BottleneckCoT(before, after, groups=4).eval()
    maps = torch.randn(2, before, 9, 7)
    inner = after // 2
    shapes = [tuple(conv.weight.shape) for conv in block.modules() if isinstance(conv, torch.nn.Conv2d)]
    assert shapes == [(inner, before, 1, 1), (inner, inner // 4, 3, 3), (after, inner, 1, 1)]
    torch.nn.init.zeros_(block.expand.norm.weight)  # then the three convolutions say nothing
    expected = maps if adds else torch.zeros(2, after, 9, 7)
    assert torch.equal(block(maps), expected)
    assert not BottleneckCoT(before, after, shortcut=False).adds
    with pytest.raises(ValueError, match=f"divide {inner} inner channels, got 5"):
        BottleneckCoT(before, after, groups=5)


def test_the_csp_bottleneck_leaks_a_tenth_below_zero() -> None:
    activations = [m for m in BottleneckCoT(8, 8).modules() if isinstance(m, torch.nn.LeakyReLU)]
    assert [activation.negative_slope for activation in activations] == [0.1] * 3
