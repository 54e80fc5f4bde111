import pytest
import timm
import torch

from models.backbones import create_backbone
from models.backbones.dpn import VARIANTS
from models.weights import load_state_dict
from tests.models.networks import stir_batch_norms

IMAGES = torch.linspace(-2, 2, 3 * 64 * 80).view(1, 3, 64, 80).sin()


@pytest.mark.parametrize("name", ["dpn48b", "dpn68", "dpn68b", "dpn92"])
def test_timms_weights_give_timms_logits(name: str) -> None:
    theirs = stir_batch_norms(timm.create_model(name, num_classes=11))
    ours = create_backbone(name, include_top=True, num_classes=11).eval()
    load_state_dict(ours, theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(IMAGES), theirs(IMAGES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_the_parameters_of_timms(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name)
        ours = create_backbone(name, include_top=True)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_blocks_add_to_the_residual_path_and_append_to_the_dense_one() -> None:
    block = create_backbone("dpn68").stages[0][1].eval()  # type: ignore[index, union-attr]
    paths = torch.rand(1, 64 + 3 * 16, 8, 8)
    with torch.no_grad():
        after = block(paths)
    assert after.shape == (1, 64 + 4 * 16, 8, 8)
    assert torch.equal(after[:, 64 : 64 + 3 * 16], paths[:, 64:])
    assert not torch.equal(after[:, :64], paths[:, :64])
