"""A detection network from parts: normalisation, backbone, neck, head."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architecture import Architecture, Normalization
from models.backbones import Backbone, backbone_normalization, create_backbone
from models.heads.anchor_free import AnchorFreeHead, grid_points
from models.necks import Neck, create_neck
from models.preprocessing import Normalize


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a network says about one batch at the A points of all levels, fine levels first, row by row."""

    logits: Tensor
    """(B, A, K): a sigmoid makes them scores."""
    boxes: Tensor
    """(B, A, 4): x1, y1, x2, y2 in canvas pixels, float32, not clipped."""


@dataclass(frozen=True, slots=True)
class HeadOutput(Predictions):
    """Predictions with what training asks for besides."""

    points: Tensor
    """(A, 2): x, y of the cells' centres in canvas pixels."""
    strides: Tensor
    """(A,): canvas pixels per cell of each point's level."""
    levels: tuple[Tensor, ...] = ()
    """The neck's maps (B, C, h, w) that the head saw, fine ones first."""


class DetectionNetwork(nn.Module):
    """Backbone -> neck -> head on BGR pictures; sides of the input should be multiples of the last stride."""

    def __init__(
        self, architecture: Architecture, normalize: Normalize, backbone: Backbone, neck: Neck
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.normalize = normalize
        self.backbone = backbone
        self.neck = neck
        self.head = AnchorFreeHead(neck.features, architecture.num_classes)

    def forward(self, images: Tensor) -> HeadOutput:
        """Predictions for images (B, 3, H, W), float, BGR, 0..255."""
        logits, sides, levels = self.convolve(images)
        return place_on_canvas(logits, sides, levels, self.head.strides)

    def convolve(self, images: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The head's logits (B, A, K) and distances (B, A, 4) in strides, and the maps that it saw."""
        levels = self.neck(self.backbone.forward_features(self.normalize(images)))
        return *self.head(levels), levels


def place_on_canvas(
    logits: Tensor, sides: Tensor, levels: tuple[Tensor, ...], head_strides: tuple[int, ...]
) -> HeadOutput:
    """Boxes in canvas pixels from the head's distances at the points of the levels' cells."""
    sizes = [(level.shape[2], level.shape[3]) for level in levels]
    points = grid_points(sizes, head_strides, sides.device)
    strides = torch.cat(  # (A,)
        [
            torch.full((height * width,), float(stride), device=sides.device)
            for (height, width), stride in zip(sizes, head_strides, strict=True)
        ]
    )
    reach = sides * strides[:, None]  # (B, A, 4) in canvas pixels
    boxes = torch.cat((points - reach[..., :2], points + reach[..., 2:]), dim=-1)
    return HeadOutput(logits, boxes, points, strides, levels)


def create_detector_network(
    backbone: str = "resnet50_thin",
    neck: str = "fpn",
    num_classes: int = 5,
    neck_channels: int = 64,
    *,
    normalization: Normalization | None = None,
) -> DetectionNetwork:
    """A network with fresh weights; the normalisation is the backbone's own unless given.

    Raises ModelNotFoundError for an unknown backbone or neck.
    """
    body = create_backbone(backbone)
    return DetectionNetwork(
        Architecture(backbone, neck, num_classes, neck_channels),
        Normalize(normalization or backbone_normalization(backbone)),
        body,
        create_neck(neck, body.features, neck_channels),
    )
