"""From a picture of any size to the detector's canvas, and from pixel values to the network's input."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.types import Size
from models.architecture import Normalization

PAD_VALUE = 114
"""Grey of the letterbox's margin: near the mean of natural pictures, so that edges are faint."""


class Normalize(nn.Module):
    """BGR values 0..255 (B, 3, H, W) to what the backbone expects; the first layer of every network."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.normalization = normalization
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(normalization.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(normalization.std).view(shape), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.normalization.rgb:
            images = images.flip(1)
        return (images - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture was placed on the canvas: scaled by (x, y), from the top-left corner."""

    source: Size
    scale: tuple[float, float]
    """Canvas pixels per source pixel, as rounding to whole pixels left them."""


def fit_letterbox(source: Size, canvas: Size) -> tuple[Letterbox, Size]:
    """Placement of a picture with its aspect kept, and its size on the canvas in whole pixels."""
    factor = min(canvas[0] / source[0], canvas[1] / source[1])
    width = min(canvas[0], max(1, round(source[0] * factor)))
    height = min(canvas[1], max(1, round(source[1] * factor)))
    return Letterbox(source, (width / source[0], height / source[1])), (width, height)


def draw_letterbox(image: NDArray[np.uint8], canvas: NDArray[np.uint8]) -> Letterbox:
    """Scale a BGR picture (h, w, 3) into the top-left of a canvas (H, W, 3); the rest becomes grey.

    Shrinking averages areas and enlarging interpolates linearly: the choice with the least aliasing.
    """
    placement, (width, height) = fit_letterbox(
        (image.shape[1], image.shape[0]), (canvas.shape[1], canvas.shape[0])
    )
    if (width, height) == placement.source:
        canvas[:height, :width] = image
    else:
        method = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
        canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=method)
    canvas[height:] = PAD_VALUE
    canvas[:height, width:] = PAD_VALUE
    return placement
