import pytest
import torch

from models.backbones import FeatureInfo
from models.heads.anchor_free import PRIOR, START_DISTANCE, AnchorFreeHead, grid_points
from tests.models.networks import stir_batch_norms

LEVELS = (FeatureInfo(8, 8), FeatureInfo(8, 16))


def maps() -> list[torch.Tensor]:
    return [torch.rand(2, 8, 4, 6), torch.rand(2, 8, 2, 3)]


def test_points_are_the_centres_of_cells_row_by_row_fine_levels_first() -> None:
    points = grid_points([(2, 3), (1, 1)], (8, 16), torch.device("cpu"))
    assert points.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8]]


def test_a_fresh_head_starts_from_the_prior_and_boxes_of_four_strides() -> None:
    logits, sides = AnchorFreeHead(LEVELS, num_classes=3).eval()(maps())
    assert logits.shape == (2, 30, 3)
    assert sides.shape == (2, 30, 4)
    assert logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.2)
    assert sides.mean().item() == pytest.approx(START_DISTANCE, rel=0.1)


def test_levels_share_convolutions_and_keep_norms_of_their_own() -> None:
    head = AnchorFreeHead(LEVELS, num_classes=3)
    names = list(head.state_dict())
    assert len([name for name in names if name.endswith("conv.weight")]) == 4  # two towers of two
    assert "class_tower.0.norms.1.weight" in names


def test_distances_are_never_negative_and_always_finite() -> None:
    head = stir_batch_norms(AnchorFreeHead(LEVELS, num_classes=3))
    _, sides = head([level * 1e4 for level in maps()])
    assert sides.isfinite().all()
    assert (sides >= 0).all()


def test_folding_the_shared_towers_changes_no_number() -> None:
    from models.folding import fold_batch_norms

    head = stir_batch_norms(AnchorFreeHead(LEVELS, num_classes=3))
    features = maps()
    for before, after in zip(head(features), fold_batch_norms(head)(features), strict=True):
        torch.testing.assert_close(after, before)
