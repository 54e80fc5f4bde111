"""From a picture of any size to the detector's canvas, and from pixel values to the network's input."""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from core.types import Size
from models.architecture import Normalization

Picture: TypeAlias = NDArray[np.uint8] | Tensor
"""uint8 (H, W, 3) BGR; a tensor may lie on the device, where it was decoded."""

PAD_VALUE = 114
"""Grey of the letterbox's margin: near the mean of natural pictures, so that edges are faint."""
MOST_ENLARGED = 1.25
"""Small pictures are not enlarged by more, which shows nothing new; chosen on validation pictures."""
LINEAR_FROM = 0.6
"""Scale from which linear interpolation leaves out no source pixel to speak of."""


class Normalize(nn.Module):
    """BGR values 0..255 (B, 3, H, W) to what the backbone expects; the first layer of every network."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.normalization = normalization
        self.plain = normalization.std == (1.0, 1.0, 1.0)
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(normalization.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(normalization.std).view(shape), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.normalization.rgb:
            images = images.flip(1)
        images = images - self._spread(self.mean, images)
        return images if self.plain else images / self._spread(self.std, images)

    @staticmethod
    def _spread(statistic: Tensor, images: Tensor) -> Tensor:
        """The statistic (1, 3, 1, 1) at every pixel of one image, in the images' own memory layout.

        Broadcasting over the three innermost values of channels_last instead takes 2 ms per image, not 0.2.
        """
        return torch.empty_like(images[:1]).copy_(statistic)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture lies on a canvas: scaled, its top-left corner on the canvas's. Sizes in pixels."""

    source: Size
    """Of the picture as given."""
    scaled: Size
    """Of the picture on the canvas."""
    canvas: Size

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels per source pixel in x and y, as rounding to whole pixels left them."""
        return self.scaled[0] / self.source[0], self.scaled[1] / self.source[1]


def fit_letterbox(source: Size, limit: Size, multiple: int) -> Letterbox:
    """A picture scaled to fit a landscape limit with its aspect kept; a portrait one swaps the limit's sides.

    Small pictures grow `MOST_ENLARGED` times at most. The canvas is no larger than the scaled picture needs,
    with sides that are multiples of `multiple`.
    """
    if source[0] < source[1]:
        limit = limit[1], limit[0]
    factor = min(limit[0] / source[0], limit[1] / source[1], MOST_ENLARGED)
    width, height = (max(1, round(side * factor)) for side in source)
    return Letterbox(
        source, (width, height), (-(-width // multiple) * multiple, -(-height // multiple) * multiple)
    )


def draw_letterbox(image: NDArray[np.uint8], letterbox: Letterbox, canvas: NDArray[np.uint8]) -> None:
    """Scale a BGR picture (h, w, 3) into the top-left of a canvas (H, W, 3); the rest becomes grey.

    Shrinking by much averages areas, against aliasing; else linear interpolation, which takes a fifth of the
    time (0.3 ms for 768x576 to 640x480), reaches every source pixel.
    """
    width, height = letterbox.scaled
    if letterbox.scaled == letterbox.source:
        canvas[:height, :width] = image
    else:
        method = cv2.INTER_AREA if letterbox.scale[0] < LINEAR_FROM else cv2.INTER_LINEAR
        canvas[:height, :width] = cv2.resize(image, letterbox.scaled, interpolation=method)
    canvas[height:] = PAD_VALUE
    canvas[:height, width:] = PAD_VALUE


def draw_on_device(picture: Tensor, letterbox: Letterbox, canvas: Tensor) -> None:
    """`draw_letterbox` for a tensor uint8 (h, w, 3) on a canvas uint8 (H, W, 3) on the device.

    Interpolates with anti-aliasing; where nothing is scaled, as on its way through the queue, the same bytes.
    """
    width, height = letterbox.scaled
    if letterbox.scaled != letterbox.source:
        planes = picture.to(canvas.device).permute(2, 0, 1)[None].float()  # (1, 3, h, w)
        scaled = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
        picture = scaled[0].permute(1, 2, 0).round_().clamp_(0, 255)
    canvas[:height, :width].copy_(picture, non_blocking=True)
    canvas[height:] = PAD_VALUE
    canvas[:height, width:] = PAD_VALUE
