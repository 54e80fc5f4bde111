import pytest
import torch

from core.errors import ModelNotFoundError
from models.backbones import FeatureInfo
from models.necks import create_neck, list_necks

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
    with pytest.raises(ModelNotFoundError, match="fpn, fpn_p6; got 'bifpn'"):
        create_neck("bifpn", LEVELS)
