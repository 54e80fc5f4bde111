"""framewatch's own detectors: one pass of a one-stage network over batches of pictures of any size."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.types import Detections, Size
from models.catalogue import WeightsEntry
from models.folding import fold_batch_norms
from models.network import DetectionNetwork, HeadOutput
from models.postprocess import Postprocess
from models.preprocessing import Letterbox, draw_letterbox, fit_letterbox

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Execution:
    """How a network runs."""

    device: torch.device
    dtype: torch.dtype
    compile: bool = False


class OneStageDetector:
    """A detection network with its letterbox and postprocess around it.

    Pictures are scaled to fit the canvas (swapped for portrait) and share a batch with those of the same
    shape: a tensor holds no more margin than its strides ask for, and what is found in a picture does not
    depend on the others of its batch.
    """

    def __init__(
        self,
        network: DetectionNetwork,
        entry: WeightsEntry,
        execution: Execution,
        score_threshold: float | None = None,
    ) -> None:
        self.name = entry.name
        self.categories = entry.categories
        self.sha256 = entry.sha256
        self.score_threshold = entry.score_threshold if score_threshold is None else score_threshold
        self._canvas = entry.canvas
        self._execution = execution
        self._multiple = max(network.head.strides)
        folded = fold_batch_norms(network).to(execution.device, execution.dtype)
        self._network = folded.to(memory_format=torch.channels_last)
        self._forward = torch.compile(self._network) if execution.compile else self._network
        self._postprocess = Postprocess(
            entry.categories, entry.suppression_groups(), score_threshold=self.score_threshold
        )

    def predict(self, images: Sequence[Image]) -> list[Detections]:
        """Objects in each picture uint8 (H, W, 3) BGR, boxes in its own pixels and clipped to it."""
        letterboxes = [
            fit_letterbox((image.shape[1], image.shape[0]), self._canvas, self._multiple) for image in images
        ]
        same_canvas: dict[Size, list[int]] = defaultdict(list)
        for index, letterbox in enumerate(letterboxes):
            same_canvas[letterbox.canvas].append(index)
        found: dict[int, Detections] = {}
        for members in same_canvas.values():
            batch = [(images[index], letterboxes[index]) for index in members]
            found.update(zip(members, self._predict_batch(batch), strict=True))
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def _predict_batch(self, batch: Sequence[tuple[Image, Letterbox]]) -> list[Detections]:
        width, height = batch[0][1].canvas
        canvases = np.empty((len(batch), height, width, 3), np.uint8)
        for (image, letterbox), canvas in zip(batch, canvases, strict=True):
            draw_letterbox(image, letterbox, canvas)
        pixels = torch.from_numpy(canvases).to(self._execution.device, non_blocking=True)
        # (B, H, W, 3) seen as (B, 3, H, W) is channels_last already; whole numbers to 255 are exact in bf16.
        output: HeadOutput = self._forward(pixels.permute(0, 3, 1, 2).to(self._execution.dtype))
        return self._postprocess(output, [letterbox for _, letterbox in batch])

    def warm_up(self, batch_size: int) -> None:
        """Run once on blank pictures of the whole canvas."""
        width, height = self._canvas
        self.predict([np.zeros((height, width, 3), np.uint8)] * batch_size)
