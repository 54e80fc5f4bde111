"""Batches that depend on nothing but the seed and the step, so that a resumed run sees the same ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from core.errors import UsageError
from models.training.assignment import GroundTruth
from models.training.augmentation import Example, Strength, compose
from models.training.cutouts import Cutouts
from models.training.dataset import DetectionDataset

PICTURES_PER_EXAMPLE = 9
"""Drawn for every example; a plain one uses the first, a mosaic four or all."""


@dataclass(frozen=True, slots=True)
class Phase:
    """How examples look during a part of the training."""

    until: float
    """Share of the training, in (0, 1], at which the phase ends."""
    canvases: tuple[tuple[int, int], ...]
    """Sizes (w, h) that batches alternate between at random; multiples of 32."""
    strength: Strength


@dataclass(frozen=True, slots=True)
class ExampleKey:
    """Names one example: the same key always composes the same picture."""

    step: int
    slot: int
    canvas: tuple[int, int]
    strength: Strength


@dataclass(frozen=True, slots=True)
class Batch:
    """Composed pictures and their ground truth, ready for the network."""

    step: int
    images: Tensor
    """uint8 (B, H, W, 3) BGR."""
    truth: GroundTruth


class ExampleDataset(Dataset[tuple[int, Example]]):
    """Composes the example of a key; runs inside the loader's workers."""

    def __init__(
        self,
        dataset: DetectionDataset,
        weights: NDArray[np.float64],
        seed: int,
        cutouts: Cutouts | None = None,
    ) -> None:
        self.dataset = dataset
        self.weights = weights
        self.seed = seed
        self.cutouts = cutouts

    def __getitem__(self, key: ExampleKey) -> tuple[int, Example]:
        rng = np.random.default_rng([self.seed, key.step, key.slot])
        indices = rng.choice(len(self.dataset), PICTURES_PER_EXAMPLE, p=self.weights)
        return key.step, compose(self.dataset, indices, key.canvas, key.strength, rng, self.cutouts)


class StepSampler(Sampler[list[ExampleKey]]):
    """Endless batches of keys from a first step on; asks for the phase of every step."""

    def __init__(
        self, first_step: int, slots: Sequence[int], seed: int, phase_of_step: Callable[[int], Phase]
    ) -> None:
        self.first_step = first_step
        self.slots = slots
        self.seed = seed
        self.phase_of_step = phase_of_step

    def __iter__(self) -> Iterator[list[ExampleKey]]:
        step = self.first_step
        while True:
            phase = self.phase_of_step(step)
            choice = np.random.default_rng([self.seed, step]).integers(len(phase.canvases))
            canvas = phase.canvases[int(choice)]
            yield [ExampleKey(step, slot, canvas, phase.strength) for slot in self.slots]
            step += 1


def sampling_weights(dataset: DetectionDataset, source_weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Probability (N,) of drawing each picture: its source's weight (1 unless given), normalised.

    Raises UsageError when a weight names no source of the dataset or leaves nothing to draw.
    """
    sources = {picture.source for picture in dataset.pictures}
    unknown = sorted(set(source_weights) - sources)
    if unknown:
        raise UsageError(f"source weights: expected sources out of {sorted(sources)}, got {unknown[0]!r}")
    weights = np.array([source_weights.get(picture.source, 1.0) for picture in dataset.pictures])
    if weights.min() < 0 or weights.sum() <= 0:
        raise UsageError("source weights: expected weights from 0 up, not all 0; raise one of them")
    return np.asarray(weights / weights.sum(), np.float64)


def create_loader(examples: ExampleDataset, sampler: StepSampler, workers: int) -> DataLoader[Batch]:
    """Load batches in the background (`workers` 0: in this process)."""
    return DataLoader(
        examples,  # type: ignore[arg-type]  # collate makes batches of its examples
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_single_thread,
        prefetch_factor=4 if workers else None,
    )


def _single_thread(worker: int) -> None:
    """Leave the cores to the network."""
    del worker
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def collate(examples: list[tuple[int, Example]]) -> Batch:
    """Stack examples of one canvas, padding their objects and ignored regions."""
    composed = [example for _, example in examples]
    class_count = composed[0].ignored_classes.shape[1]
    objects = max(len(example.labels) for example in composed)
    regions = max(len(example.ignored_boxes) for example in composed)
    boxes = np.zeros((len(composed), objects, 4), np.float32)
    labels = np.zeros((len(composed), objects), np.int64)
    present = np.zeros((len(composed), objects), np.bool_)
    ignored_boxes = np.zeros((len(composed), regions, 4), np.float32)
    ignored_classes = np.zeros((len(composed), regions, class_count), np.bool_)
    for row, example in enumerate(composed):
        count, ignored = len(example.labels), len(example.ignored_boxes)
        boxes[row, :count] = example.boxes
        labels[row, :count] = example.labels
        present[row, :count] = True
        ignored_boxes[row, :ignored] = example.ignored_boxes
        ignored_classes[row, :ignored] = example.ignored_classes
    truth = GroundTruth(
        *(torch.from_numpy(array) for array in (boxes, labels, present, ignored_boxes, ignored_classes))
    )
    images = torch.from_numpy(np.stack([example.image for example in composed]))
    return Batch(examples[0][0], images, truth)
