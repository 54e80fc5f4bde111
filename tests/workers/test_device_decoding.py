"""Of the way to the device, all but CUDA itself: torchvision decodes on the CPU by the same call."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision

from core.types import QueuedFrame
from models.detector import load_detector
from models.preprocessing import Picture
from tests.fakes import save_tiny_detector
from tests.workers.rig import make_frame
from workers.decoding import JpegDecoder, decode_frame
from workers.device_decoding import DeviceJpegDecoder, can_decode_on

pytestmark = pytest.mark.filterwarnings(
    "ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"
)

CPU = torch.device("cpu")


def refuse(frames: Sequence[QueuedFrame]) -> list[Picture | None]:
    raise AssertionError("expected the device to decode these frames")


def test_a_batch_is_decoded_where_the_detector_is() -> None:
    frames = [make_frame(index) for index in range(4)]
    pictures = DeviceJpegDecoder(CPU, refuse)(frames)
    for frame, picture in zip(frames, pictures, strict=True):
        assert isinstance(picture, torch.Tensor)
        expected = decode_frame(frame)
        assert picture.shape == expected.shape
        assert np.abs(picture.numpy().astype(int) - expected).mean() < 1.0


def test_the_detector_takes_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = save_tiny_detector(tmp_path_factory.mktemp("weights") / "tiny.safetensors", (160, 128))
    detector = load_detector(path, "cpu", "fp32")
    frames = [make_frame(index) for index in range(3)]
    found = detector.predict([one for one in DeviceJpegDecoder(CPU, refuse)(frames) if one is not None])
    expected = detector.predict([decode_frame(frame) for frame in frames])
    assert sum(map(len, found)) > 0
    for one, other in zip(found, expected, strict=True):
        assert abs(len(one) - len(other)) <= 1
        np.testing.assert_allclose(one.boxes[:1], other.boxes[:1], atol=2.0)


@pytest.mark.parametrize("jpeg", [b"no picture", b"no picture, but with the end of one\xff\xd9"])
def test_a_corrupt_frame_takes_its_batch_through_the_host(
    jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    on_host = JpegDecoder(threads=1)
    frames = [make_frame(0), make_frame(1, jpeg=jpeg), make_frame(2)]
    with caplog.at_level(logging.INFO):
        pictures = DeviceJpegDecoder(CPU, on_host)(frames)
    on_host.close()
    assert [picture is None for picture in pictures] == [False, True, False]
    assert "a batch is decoded on the host" in caplog.text
    assert "dropped as corrupt: frame 1 of gate" in caplog.text


def test_only_a_cuda_device_that_torchvision_can_decode_on_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not can_decode_on(CPU)
    cuda = torch.device("cuda")
    asked: list[torch.device] = []

    def decode(_: object, *, device: torch.device, **options: object) -> list[torch.Tensor]:
        asked.append(device)
        return []

    monkeypatch.setattr(torchvision.io, "decode_jpeg", decode)
    assert can_decode_on(cuda)
    assert asked == [cuda]
    monkeypatch.delattr(torchvision.io, "decode_jpeg")
    assert not can_decode_on(cuda)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without CUDA")
def test_torchvision_without_nvjpeg_leaves_decoding_to_the_host() -> None:
    assert not can_decode_on(torch.device("cuda"))
