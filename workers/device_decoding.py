"""JPEG bytes of the queue -> pictures on the device, a batch at a time: nvJPEG by way of torchvision."""

import importlib
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from core.errors import CorruptFrameError
from core.types import QueuedFrame
from models.preprocessing import Picture
from workers.decoding import DecodeFrames, require_end, require_size

logger = logging.getLogger(__name__)


@cache
def _torchvision_io() -> Any:
    """Imported where a GPU is: it costs every process seconds and 160 MB."""
    return importlib.import_module("torchvision.io")


def can_decode_on(device: torch.device) -> bool:
    """Whether pictures can be decoded on the device, so that they need not travel there."""
    # torchvision 0.29 has it, and says that a later one will not.
    if device.type != "cuda" or not hasattr(_torchvision_io(), "decode_jpeg"):
        return False
    try:
        decode_on(device, [bytes(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1])])
    except RuntimeError as error:  # torchvision was built without nvJPEG
        logger.info("JPEG is decoded on the host: %s", error)
        return False
    return True


def decode_on(device: torch.device, jpegs: Sequence[bytes]) -> list[Tensor]:
    """Pictures uint8 (H, W, 3) BGR on the device. Raises RuntimeError if any of them cannot be decoded."""
    encoded = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
    io = _torchvision_io()
    planes = io.decode_jpeg(encoded, mode=io.ImageReadMode.RGB, device=device)
    return [one.flip(0).permute(1, 2, 0) for one in planes]  # (3, H, W) RGB


class DeviceJpegDecoder:
    """Decodes a batch in one call; what the device cannot decode goes the way through the host."""

    def __init__(self, device: torch.device, on_host: DecodeFrames) -> None:
        self._device = device
        self._on_host = on_host

    def __call__(self, frames: Sequence[QueuedFrame]) -> list[Picture | None]:
        """Pictures in the order of the frames; None, with a line in the log, where a frame is corrupt."""
        try:
            for frame in frames:
                require_end(frame)
            pictures = decode_on(self._device, [frame.jpeg for frame in frames])
            for frame, picture in zip(frames, pictures, strict=True):
                require_size(frame, picture.shape[1], picture.shape[0])
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()  # another stream reads them
        except (CorruptFrameError, RuntimeError) as error:
            # nvJPEG tells neither which picture of a batch it refuses, nor knows every kind of JPEG.
            logger.info("a batch is decoded on the host: %s", error)
            return list(self._on_host(frames))
        return list(pictures)
