"""framewatch's own detectors: one pass of a one-stage network over batches of pictures of any size."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.types import Detections, Size
from models.catalogue import WeightsEntry
from models.engine import Engine, Execution, TorchEngine
from models.network import DetectionNetwork, Predictions
from models.postprocess import Postprocess
from models.preprocessing import Letterbox, Picture, draw_letterbox, draw_on_device, fit_letterbox
from models.staging import Staging, bucket_of


class CanvasDetector:
    """An engine with the letterbox before and the postprocess behind it.

    Pictures are scaled to fit the canvas (swapped for portrait) and share a batch with those of the same
    shape: a tensor holds no more margin than its strides ask for, and what is found in a picture does not
    depend on the others of its batch.
    """

    def __init__(self, engine: Engine, entry: WeightsEntry, score_threshold: float | None = None) -> None:
        self.name = entry.name
        self.categories = entry.categories
        self.sha256 = entry.sha256
        self.score_threshold = entry.score_threshold if score_threshold is None else score_threshold
        self._canvas = entry.canvas
        self.engine = engine
        self._staging = Staging(engine.device)
        self._buckets = engine.device.type == "cuda"
        self._postprocess = Postprocess(
            entry.categories,
            entry.suppression_groups(),
            self.score_threshold,
            entry.iou_threshold,
            entry.part_share,
        )

    def predict(self, images: Sequence[Picture]) -> list[Detections]:
        """Objects in each picture uint8 (H, W, 3) BGR, boxes in its own pixels and clipped to it."""
        letterboxes = [
            fit_letterbox((image.shape[1], image.shape[0]), self._canvas, self.engine.multiple)
            for image in images
        ]
        same_canvas: dict[tuple[Size, bool], list[int]] = defaultdict(list)
        for index, (image, letterbox) in enumerate(zip(images, letterboxes, strict=True)):
            same_canvas[letterbox.canvas, isinstance(image, Tensor)].append(index)
        found: dict[int, Detections] = {}
        for members in same_canvas.values():
            batch = [(images[index], letterboxes[index]) for index in members]
            found.update(zip(members, self._predict_batch(batch), strict=True))
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def _predict_batch(self, batch: Sequence[tuple[Picture, Letterbox]]) -> list[Detections]:
        with self._staging.stream():
            output = _first(self.engine(self._draw(batch)), len(batch))
            return self._postprocess(output, [letterbox for _, letterbox in batch])

    def _draw(self, batch: Sequence[tuple[Picture, Letterbox]]) -> Tensor:
        """Canvases uint8 (B, H, W, 3) on the device; on CUDA as many as the bucket has."""
        width, height = batch[0][1].canvas
        count = bucket_of(len(batch)) if self._buckets else len(batch)
        if isinstance(batch[0][0], Tensor):
            shape = (count, height, width, 3)
            canvases = torch.empty(shape, dtype=torch.uint8, device=self.engine.device)
            for (picture, letterbox), canvas in zip(batch, canvases[: len(batch)], strict=True):
                draw_on_device(torch.as_tensor(picture), letterbox, canvas)
            return canvases
        memory = self._staging.canvases(count, height, width)
        for (picture, letterbox), drawn in zip(batch, memory.numpy()[: len(batch)], strict=True):
            draw_letterbox(np.asarray(picture), letterbox, drawn)
        return self._staging.upload(memory)

    def warm_up(self, batch_size: int) -> None:
        """Run on blank pictures of the whole canvas, in every bucket up to the batch size."""
        width, height = self._canvas
        sizes = {batch_size}
        if self._buckets:
            sizes |= {1 << power for power in range(batch_size.bit_length())}
        for size in sorted(sizes):
            self.predict([np.zeros((height, width, 3), np.uint8)] * size)


class OneStageDetector(CanvasDetector):
    """A detection network of ours in PyTorch."""

    def __init__(
        self,
        network: DetectionNetwork,
        entry: WeightsEntry,
        execution: Execution,
        score_threshold: float | None = None,
    ) -> None:
        super().__init__(TorchEngine(network, execution), entry, score_threshold)


def _first(output: Predictions, count: int) -> Predictions:
    """Predictions for the first pictures of a batch."""
    return Predictions(output.logits[:count], output.boxes[:count])
