import pytest
import torch

from core.errors import ModelNotFoundError
from models.architecture import IMAGENET, OPEN_NSFW
from models.backbones import list_backbones
from models.folding import fold_batch_norms
from models.network import create_detector_network


@pytest.mark.parametrize("neck", ["fpn", "fpn_p6"])
def test_the_output_has_a_row_per_cell_of_every_level(neck: str) -> None:
    network = create_detector_network("resnet18_thin", neck, num_classes=3, neck_channels=16)
    output = network(torch.rand(2, 3, 64, 128) * 255)
    strides = (8, 16, 32, 64)[: 3 if neck == "fpn" else 4]
    cells = [(64 // stride) * (128 // stride) for stride in strides]
    assert output.logits.shape == (2, sum(cells), 3)
    assert output.boxes.shape == (2, sum(cells), 4)
    assert output.points.shape == (sum(cells), 2)
    assert output.strides.tolist() == [
        stride for stride, count in zip(strides, cells, strict=True) for _ in range(count)
    ]


@pytest.mark.parametrize("neck", ["fpn", "csp"])
@pytest.mark.parametrize("backbone", list_backbones())
def test_every_backbone_carries_every_neck(backbone: str, neck: str) -> None:
    with torch.device("meta"):
        network = create_detector_network(backbone, neck, num_classes=3, neck_channels=16)
        output = network(torch.empty(2, 3, 64, 96))
    cells = [64 // level.stride * (96 // level.stride) for level in network.backbone.features[-3:]]
    assert output.logits.shape == (2, sum(cells), 3)
    assert output.boxes.shape == (2, sum(cells), 4)


def test_boxes_contain_their_points() -> None:
    output = create_detector_network("resnet18_thin", neck_channels=16)(torch.rand(1, 3, 64, 96) * 255)
    assert (output.boxes[..., :2] <= output.points).all()
    assert (output.boxes[..., 2:] >= output.points).all()
    assert output.boxes.dtype == torch.float32


def test_boxes_stay_float32_where_the_network_runs_in_bfloat16() -> None:
    network = create_detector_network("resnet18_thin", neck_channels=16).eval().bfloat16()
    output = network((torch.rand(1, 3, 64, 96) * 255).bfloat16())
    assert output.boxes.dtype == torch.float32
    assert output.points[-1].tolist() == [80, 48]


def test_gradients_reach_every_parameter() -> None:
    network = create_detector_network("resnet50_thin", neck_channels=16)
    output = network(torch.rand(2, 3, 64, 64) * 255)
    (output.logits.square().sum() + output.boxes.square().sum()).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_network_compiles_as_one_graph() -> None:
    network = fold_batch_norms(create_detector_network("resnet18_thin", neck_channels=16))
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager", fullgraph=True)(images)
        torch.testing.assert_close(compiled.boxes, network(images).boxes)


@pytest.mark.parametrize(("backbone", "expected"), [("resnet50_thin", OPEN_NSFW), ("resnet18", IMAGENET)])
def test_the_normalisation_comes_from_the_backbone_and_can_be_given(backbone: str, expected: object) -> None:
    assert create_detector_network(backbone).normalize.normalization == expected
    given = create_detector_network(backbone, normalization=IMAGENET)
    assert given.normalize.normalization == IMAGENET


def test_unknown_parts_list_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError, match="resnet50_thin"):
        create_detector_network("vgg16")
    with pytest.raises(ModelNotFoundError, match="fpn"):
        create_detector_network("resnet18_thin", "panet")
