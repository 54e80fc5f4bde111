"""The way of pictures to the device: host memory that is used again, and a stream per thread."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

KEPT_SHAPES = 4
"""Cameras of one detector have few shapes; memory of the least recently used one is given up."""


class Staging:
    """Host memory in which batches are drawn, per thread and shape, and their way to the device.

    On CUDA the memory is pinned, so that copies run beside the host's work, and each thread has a stream of
    its own, so that one's copies run beside another's kernels. Memory is written anew only after the results
    of its last batch were fetched, by which time it was read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_cuda = device.type == "cuda"
        self._own = threading.local()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """What the body does on the device is in this thread's stream."""
        if not self._on_cuda:
            yield
            return
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._own.stream):
            yield

    def canvases(self, count: int, height: int, width: int) -> Tensor:
        """Host memory uint8 (count, height, width, 3) with any content; this thread's until it asks again."""
        kept: OrderedDict[tuple[int, int], Tensor] = self._own.__dict__.setdefault("kept", OrderedDict())
        memory = kept.pop((height, width), None)
        if memory is None or len(memory) < count:
            memory = torch.empty((count, height, width, 3), dtype=torch.uint8, pin_memory=self._on_cuda)
        kept[(height, width)] = memory
        if len(kept) > KEPT_SHAPES:
            kept.popitem(last=False)
        return memory[:count]

    def upload(self, canvases: Tensor) -> Tensor:
        """The same on the device, the copy perhaps still running in this thread's stream."""
        return canvases.to(self._device, non_blocking=True)


def bucket_of(count: int) -> int:
    """Size of the batch that `count` pictures run in: the next power of two.

    CUDA's libraries choose kernels and reserve memory anew for every size that they have not seen.
    """
    return 1 << (count - 1).bit_length()
