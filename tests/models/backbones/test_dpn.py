import pytest
import timm
import torch

from models.backbones import create_backbone
from models.weights import load_state_dict
from tests.models.networks import build_empty, relative_distance, stir_batch_norms

IMAGES = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64).sin()
TIMMS = ("dpn48b", "dpn68", "dpn68b", "dpn92", "dpn98", "dpn107", "dpn131")


@pytest.mark.parametrize("name", TIMMS)
def test_timms_weights_give_timms_logits(name: str) -> None:
    theirs = stir_batch_norms(timm.create_model(name, num_classes=11))
    ours = build_empty(lambda: create_backbone(name, include_top=True, num_classes=11))
    load_state_dict(ours, theirs.state_dict())
    with torch.no_grad():
        assert relative_distance(ours(IMAGES), theirs(IMAGES)) < 1e-4


def test_dpn92_for_small_pictures_is_timms_behind_another_stem() -> None:
    """timm has none for 32x32 pictures; the reference is its DPN-92 with a 3x3 stem without strides."""
    theirs = timm.create_model("dpn92", num_classes=10)
    theirs.features.conv1_1.conv = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.features.conv1_pool = torch.nn.Identity()
    ours = build_empty(lambda: create_backbone("dpn92_cifar", include_top=True))
    load_state_dict(ours, stir_batch_norms(theirs).state_dict())
    images = IMAGES[:, :, :32, :32]
    with torch.no_grad():
        assert relative_distance(ours(images), theirs(images)) < 1e-4


def test_dpn92_for_small_pictures_has_the_stages_of_dpn92() -> None:
    with torch.device("meta"):
        small, large = create_backbone("dpn92_cifar"), create_backbone("dpn92")
    own, others = small.state_dict(), large.state_dict()
    reshaped = {name for name in own if own[name].shape != others[name].shape}
    assert own.keys() == others.keys()
    assert reshaped == {"stem.0.weight"}
    assert tuple(own["stem.0.weight"].shape) == (64, 3, 3, 3)
    assert [level.channels for level in small.features] == [336, 704, 1552, 2688]


def test_blocks_add_to_the_residual_path_and_append_to_the_dense_one() -> None:
    block = create_backbone("dpn68").stages[0][1].eval()  # type: ignore[index, union-attr]
    paths = torch.rand(1, 64 + 3 * 16, 8, 8)
    with torch.no_grad():
        after = block(paths)
    assert after.shape == (1, 64 + 4 * 16, 8, 8)
    assert torch.equal(after[:, 64 : 64 + 3 * 16], paths[:, 64:])
    assert not torch.equal(after[:, :64], paths[:, :64])
