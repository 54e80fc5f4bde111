"""What runs a detection network: pictures on the device in, predictions out."""

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.folding import fold_batch_norms
from models.fused_convolution import can_fuse, fuse_convolutions
from models.network import DetectionNetwork, Predictions, place_on_canvas


@dataclass(frozen=True, slots=True)
class Execution:
    """How a network runs."""

    device: torch.device
    dtype: torch.dtype
    compile: bool = False


class Engine(Protocol):
    """A detection network, ready to run."""

    @property
    def device(self) -> torch.device:
        """Where its input lies."""

    @property
    def multiple(self) -> int:
        """Width and height of its input are multiples of it, in pixels."""

    def __call__(self, pictures: Tensor) -> Predictions:
        """Predictions for BGR pictures, uint8 (B, H, W, 3), on the device."""


class TorchEngine:
    """PyTorch in its fastest way on the device."""

    def __init__(self, network: DetectionNetwork, execution: Execution) -> None:
        self.device = execution.device
        self.multiple = max(network.head.strides)
        self._dtype = execution.dtype
        self._network = FastNetwork(network, execution)

    def __call__(self, pictures: Tensor) -> Predictions:
        # (B, H, W, 3) seen as (B, 3, H, W) is channels_last already; whole numbers to 255 are exact in bf16.
        return self._network(pictures.permute(0, 3, 1, 2).to(self._dtype))  # type: ignore[no-any-return]


class FastNetwork(nn.Module):
    """A detection network made ready for inference; images (B, 3, H, W) of the execution's type."""

    def __init__(self, network: DetectionNetwork, execution: Execution) -> None:
        super().__init__()
        self._strides = network.head.strides
        folded = _move(fold_batch_norms(network), execution)
        self._convolve = _speed_up(folded, folded.convolve, execution)

    def forward(self, images: Tensor) -> Predictions:
        logits, sides, levels = self._convolve(images)
        return place_on_canvas(logits, sides, levels, self._strides)


def speed_up(network: nn.Module, execution: Execution) -> Any:
    """What a network's forward computes, made ready for inference as a detector's is; a copy."""
    folded = _move(fold_batch_norms(network), execution)
    return _speed_up(folded, folded.forward, execution)


def _move(network: Any, execution: Execution) -> Any:
    """The network itself; norms that could not be folded keep float32, which costs no time."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [copy.deepcopy(norm.state_dict()) for norm in norms]
    network.to(execution.device, execution.dtype).to(memory_format=torch.channels_last)
    for norm, state in zip(norms, kept, strict=True):
        norm.float().load_state_dict(state)
    return network


def _speed_up(network: nn.Module, forward: Any, execution: Execution) -> Any:
    if execution.compile:
        # One graph for batches and pictures of every size; a batch of one gets a second.
        return torch.compile(forward, dynamic=True)
    if execution.device.type == "cpu" and can_fuse():
        return fuse_convolutions(network, forward)
    return forward
