from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from core.errors import WeightsError
from models.backbones import create_backbone
from models.backbones.dpn import DPN, VARIANTS
from models.backbones.resnet import ResNet
from models.network import create_detector_network
from models.training.distillation import Teacher, correlation_loss
from models.training.starting import load_start_weights
from models.training.transplant import group_channels, transplant
from models.weights import weights_file

TEACHER = weights_file("resnet50_thin_fpn")


def pictures(count: int, side: int = 96) -> list[torch.Tensor]:
    """Smooth random pictures (1, 3, side, side), 0..255."""
    noise = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 255
    return list(torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear").split(1))


def frames(clip: Path, count: int) -> list[torch.Tensor]:
    """Every twentieth frame (1, 3, 192, 256), BGR, 0..255."""
    video, found = cv2.VideoCapture(str(clip)), []
    for number in range(count):
        video.set(cv2.CAP_PROP_POS_FRAMES, 20 * number)
        image = cv2.resize(video.read()[1], (256, 192))
        found.append(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    video.release()
    return found


def test_a_moved_bottleneck_computes_nearly_the_same_when_nothing_is_cut_off() -> None:
    """With one group; norms see other statistics, since the two stems pool other pixels."""
    torch.manual_seed(0)
    source = create_backbone("resnet50_thin").eval()
    assert isinstance(source, ResNet)
    images = torch.cat(pictures(4)) / 64
    for module in source.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    source(images)  # norms as after a training
    source.eval()
    target = DPN(replace(VARIANTS["dpn50_thin"], groups=1)).eval()
    transplant(source, target, [images])
    block, bottleneck = target.stages[0][0].eval(), source.layer1[0].eval()  # type: ignore[index, union-attr]
    features = torch.rand(1, 64, 8, 8)
    with torch.no_grad():
        path = block(features)[:, :128]
        residual = source.layer1[0].relu(path + _offset(source))  # type: ignore[index, union-attr, operator]
        pair = torch.stack((residual.flatten(), bottleneck(features).flatten()))
    assert float(torch.corrcoef(pair)[0, 1]) > 0.95


def _offset(source: ResNet) -> torch.Tensor:
    first = source.layer1[0]
    shifts = [
        norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)
        for norm in (first.bn3, first.downsample[1])  # type: ignore[union-attr, index]
    ]
    return torch.stack(shifts).sum(dim=0)[None, :, None, None]


def test_a_dual_path_detector_starts_close_to_the_residual_one(street_clip: Path) -> None:
    torch.manual_seed(0)
    teacher = Teacher(TEACHER, torch.device("cpu"))
    street = frames(street_clip, 12)
    images = torch.cat(street[:4])
    shown = teacher.levels(images)

    def distance(start: bool) -> float:
        network = create_detector_network("dpn50_thin")
        teacher.bequeath(network, teacher.categories)
        if start:
            load_start_weights(network, TEACHER, teacher.categories, street[4:])
        network.train()
        with torch.no_grad():
            return float(correlation_loss(network(images).levels, shown))

    assert distance(start=True) < 0.7 * distance(start=False)


def test_channels_that_belong_together_come_into_one_group() -> None:
    rng = np.random.default_rng(1)
    group_of_input, group_of_output = rng.permutation(np.arange(16) % 4), rng.permutation(np.arange(16) % 4)
    energy = (group_of_output[:, None] == group_of_input[None]).astype(np.float32)
    inputs, outputs = group_channels(energy + 0.01, 4)
    sorted_energy = energy[outputs.numpy()][:, inputs.numpy()]
    assert np.array_equal(sorted_energy, np.kron(np.eye(4), np.ones((4, 4))))


def test_networks_of_other_depths_or_widths_are_refused() -> None:
    wide = create_backbone("resnet50")
    basic = create_backbone("resnet18_thin")
    target = create_backbone("dpn50_thin")
    assert isinstance(target, DPN)
    for source, message in ((wide, "starts from a resnet50_thin"), (basic, "basic blocks")):
        assert isinstance(source, ResNet)
        with pytest.raises(WeightsError, match=message):
            transplant(source, target, [])
