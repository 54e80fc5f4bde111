import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from models.detector import load_detector
from models.one_stage import OneStageDetector
from models.preprocessing import draw_letterbox, draw_on_device, fit_letterbox
from models.staging import KEPT_SHAPES, Staging, bucket_of
from tests.clips import numbered_picture
from tests.fakes import save_tiny_detector

CPU = torch.device("cpu")


def test_memory_of_a_shape_is_used_again() -> None:
    staging = Staging(CPU)
    first = staging.canvases(4, 32, 64)
    assert (first.shape, first.dtype) == ((4, 32, 64, 3), torch.uint8)
    assert staging.canvases(2, 32, 64).data_ptr() == first.data_ptr()
    assert staging.canvases(8, 32, 64).shape == (8, 32, 64, 3)
    with staging.stream():
        assert torch.equal(staging.upload(first), first)


def test_few_shapes_are_kept() -> None:
    staging = Staging(CPU)
    oldest = staging.canvases(1, 32, 32)
    for width in range(64, 64 + 32 * KEPT_SHAPES, 32):
        staging.canvases(1, 32, width)
    assert staging.canvases(1, 32, 32).data_ptr() != oldest.data_ptr()
    assert len(staging._own.kept) == KEPT_SHAPES


def test_every_thread_has_memory_of_its_own() -> None:
    staging = Staging(CPU)
    own, others = staging.canvases(1, 32, 32), []
    thread = threading.Thread(target=lambda: others.append(staging.canvases(1, 32, 32)))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != own.data_ptr()


@pytest.mark.parametrize(("count", "bucket"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16)])
def test_buckets_are_powers_of_two(count: int, bucket: int) -> None:
    assert bucket_of(count) == bucket


@pytest.fixture
def detector(tmp_path: Path) -> OneStageDetector:
    loaded = load_detector(save_tiny_detector(tmp_path / "tiny.safetensors", (320, 240)), "cpu", "fp32")
    assert isinstance(loaded, OneStageDetector)
    return loaded


def test_a_batch_in_a_larger_bucket_finds_the_same(detector: OneStageDetector) -> None:
    pictures = [numbered_picture(number * 9, (320, 240)) for number in range(3)]
    expected = detector.predict(pictures)
    sizes: list[int] = []
    engine = detector.engine
    detector.engine = _Watched(engine, sizes)
    detector._buckets = True
    detector.predict([numbered_picture(50, (320, 240))] * 4)
    found = detector.predict(pictures)
    assert sizes == [4, 4]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        assert one.labels.tolist() == other.labels.tolist()
    sizes.clear()
    detector.warm_up(6)
    assert sizes == [1, 2, 4, 8]


class _Watched:
    """An engine that notes the size of each batch."""

    def __init__(self, engine: object, sizes: list[int]) -> None:
        self.device, self.multiple = engine.device, engine.multiple  # type: ignore[attr-defined]
        self._engine, self._sizes = engine, sizes

    def __call__(self, pictures: torch.Tensor) -> object:
        self._sizes.append(len(pictures))
        return self._engine(pictures)  # type: ignore[operator]


def test_pictures_may_lie_on_the_device_already(detector: OneStageDetector) -> None:
    """Of the canvas's size, as on their way through the queue, they give the same numbers."""
    pictures = [numbered_picture(number * 9, (320, 240)) for number in range(3)]
    mixed = [pictures[0], *(torch.from_numpy(picture) for picture in pictures[1:])]
    for one, other in zip(detector.predict(mixed), detector.predict(pictures), strict=True):
        assert len(one) > 3
        np.testing.assert_allclose(one.boxes[:3], other.boxes[:3], atol=1e-3)
        np.testing.assert_allclose(one.scores[:3], other.scores[:3], atol=1e-5)


@pytest.mark.parametrize("size", [(128, 96), (320, 240), (64, 50)])
def test_the_device_draws_what_the_host_draws(size: tuple[int, int]) -> None:
    picture = numbered_picture(7, (max(size[0], 200), size[1]))
    letterbox = fit_letterbox((picture.shape[1], picture.shape[0]), (128, 96), 32)
    shape = (letterbox.canvas[1], letterbox.canvas[0], 3)
    host, device = np.zeros(shape, np.uint8), torch.zeros(shape, dtype=torch.uint8)
    draw_letterbox(picture, letterbox, host)
    draw_on_device(torch.from_numpy(picture), letterbox, device)
    assert np.abs(host.astype(int) - device.numpy()).mean() < 2.0
