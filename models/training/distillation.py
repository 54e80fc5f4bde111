"""Learning from a trained detector: its feature pyramid shows a new backbone what to see.

A small set of labelled pictures says little to a backbone that starts from noise; another detector's maps say
something at every cell. After PKD (Cao et al. 2022, arXiv:2207.02039): maps are compared by correlation, so
that the teacher's scale does not matter, and layers of the same shape behind the backbone start as the
teacher's (the inheriting strategy of Kang et al. 2021, arXiv:2110.12724).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.errors import WeightsError
from models.catalogue import read_card
from models.network import DetectionNetwork
from models.training.starting import CLASS_LAYER, inherit_class_layer, read_detector_network


class Teacher:
    """A trained one-stage detector that is shown the same pictures as its student."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Read the detector's safetensors file. Raises WeightsError for any other file."""
        self.categories = read_card(path).categories
        network = read_detector_network(path)
        network = network.to(device).eval().requires_grad_(False)
        self.network = network.to(memory_format=torch.channels_last)

    def bequeath(self, student: DetectionNetwork, categories: Sequence[str]) -> None:
        """Copy what fits behind the backbone: the pyramid's outputs and the head, classes by their names.

        Raises WeightsError for a student whose pyramid has other levels or widths.
        """
        if student.neck.features != self.network.neck.features:
            raise WeightsError(
                f"teacher {self.network.architecture}: expected a student with the same pyramid, "
                f"got {student.architecture}; choose the same neck and --neck-channels"
            )
        given, own = self.network.state_dict(), student.state_dict()
        fitting = {
            name: given[name]
            for name, tensor in own.items()
            if not name.startswith(("backbone.", "normalize.", CLASS_LAYER))
            and name in given
            and given[name].shape == tensor.shape
        }
        classes = inherit_class_layer(student, given, self.categories, categories)
        student.load_state_dict(fitting | classes, strict=False)

    @torch.no_grad()
    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """The pyramid's maps (B, C, h, w) of images (B, 3, H, W), BGR, 0..255; fine ones first."""
        output: tuple[Tensor, ...] = self.network(images).levels
        return output


def correlation_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """1 - Pearson's correlation of each channel over a batch's cells, averaged; levels (B, C, h, w)."""
    losses = []
    for own, shown in zip(student, teacher, strict=True):
        difference = _standardised(own) - _standardised(shown)
        losses.append(difference.square().mean() / 2)
    return torch.stack(losses).mean()


def _standardised(maps: Tensor) -> Tensor:
    """Each channel with mean 0 and variance 1 over batch and cells."""
    maps = maps.float()
    mean = maps.mean(dim=(0, 2, 3), keepdim=True)
    variance = maps.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    return (maps - mean) * torch.rsqrt(variance + 1e-5)
