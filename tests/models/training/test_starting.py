"""Starts from files as torchvision and timm publish them for ImageNet (here with random weights)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from core.errors import WeightsError
from models.backbones import create_backbone
from models.catalogue import WeightsEntry
from models.network import DetectionNetwork, create_detector_network
from models.training.starting import load_start_weights
from models.weights import read_state_dict, save_checkpoint
from tests.models.networks import fill_weights, stir_batch_norms


def write(network: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    else:
        torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: resnet18(weights=None), "torchvision.pth"),
        (lambda: timm.create_model("resnet18"), "timm.safetensors"),
    ],
)
def test_a_resnet_starts_from_a_classifier_of_torchvision_or_timm(
    tmp_path: Path, build: Callable[[], nn.Module], name: str
) -> None:
    theirs = stir_batch_norms(build())
    network = create_detector_network("resnet18", "fpn", 2, 16).eval()
    head = network.head.class_logits.weight.clone()
    load_start_weights(network, write(theirs, tmp_path / name), ["car", "bus"], [])
    for key, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[key]), key
    assert torch.equal(network.head.class_logits.weight, head), "a classifier says nothing about boxes"


def test_a_dual_path_network_starts_from_a_classifier_of_timm(tmp_path: Path) -> None:
    theirs = stir_batch_norms(timm.create_model("dpn48b"))
    network = create_detector_network("dpn48b", "fpn", 2, 16).eval()
    load_start_weights(network, write(theirs, tmp_path / "dpn48b.pth"), ["car", "bus"], [])
    images = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = network.backbone.forward_features(images)[-1], theirs.forward_features(images)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


def test_a_classifier_of_another_depth_is_refused(tmp_path: Path) -> None:
    network = create_detector_network("resnet50_thin", "fpn", 2, 16)
    path = write(create_backbone("resnet18_thin", include_top=True), tmp_path / "thin.pth")
    with pytest.raises(WeightsError, match=r"weights of another network: expected \d+ tensors, got \d+"):
        load_start_weights(network, path, ["car", "bus"], [])


def save_detector(path: Path, network: DetectionNetwork, categories: tuple[str, ...]) -> Path:
    entry = WeightsEntry("donor", network.architecture, categories, (96, 64), 0.5, "CC0-1.0", "random")
    save_checkpoint(path, network, entry)
    return path


def test_classes_start_as_a_detector_learned_them_by_their_names(tmp_path: Path) -> None:
    donor = fill_weights(create_detector_network("resnet18_thin", "fpn", 3, 16), 1)
    path = save_detector(tmp_path / "donor.safetensors", donor, ("car", "person", "bus"))
    network = create_detector_network("resnet18_thin", "fpn", 3, 16)
    fresh = network.head.class_logits.weight[1].clone()
    load_start_weights(network, path, ["person", "pothole", "car"], [])
    given = read_state_dict(path)
    for kind, tensor in network.head.class_logits.named_parameters():
        learned = given[f"head.class_logits.{kind}"].float()
        assert torch.equal(tensor[0], learned[1])
        assert torch.equal(tensor[2], learned[0])
    assert torch.equal(network.head.class_logits.weight[1], fresh)


def test_a_detector_that_does_not_say_its_classes_is_refused(tmp_path: Path) -> None:
    network = create_detector_network("resnet18_thin", "fpn", 2, 16)
    path = write(network, tmp_path / "nameless.safetensors")
    with pytest.raises(WeightsError, match="expected weights that describe themselves"):
        load_start_weights(network, path, ["car", "bus"], [])
