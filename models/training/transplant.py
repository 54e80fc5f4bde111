"""Starting a dual path network from a trained ResNet.

The residual path of a dual path network is a ResNet's (Chen et al. 2017, arXiv:1707.01629, section 3.2), so
a ResNet's bottlenecks can be moved there: where depths and widths agree, every 1x1 convolution fits, and of
every 3x3 the part that a grouped one has. Its channels are first put into the groups that keep most of it.
The dense path starts from noise, and little of it is heard at first. What was cut off is soon learned again,
best from the very detector that gave the rest (`models.training.distillation`).
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import WeightsError
from models.backbones.dpn import DPN, DualPathBlock, PreActivation
from models.backbones.resnet import Bottleneck, ResNet
from models.network import DetectionNetwork
from models.opennsfw import calibrate_batch_norm

DENSE_SHARE = 0.1
"""How loud the untrained dense path is heard, beside its random start."""
GROUPING_STARTS = 8
GROUPING_ROUNDS = 60


@torch.no_grad()
def transplant(source: ResNet, target: DPN, pictures: Iterable[Tensor]) -> None:
    """Move a ResNet's bottlenecks into a dual path network of the same depths and residual widths, in place.

    `pictures` (B, 3, H, W), normalised for the ResNet, give the batch norms their statistics.
    Raises WeightsError where depths or widths differ.
    """
    layers = [source.layer1, source.layer2, source.layer3, source.layer4]
    _require_same_shape(layers, target)
    batches = list(pictures)
    target.stem[0].weight.copy_(source.conv1.weight)  # type: ignore[operator]
    target.stem[1].load_state_dict(source.bn1.state_dict())
    offset = torch.zeros(0)  # what the path is short of: a dual path network's convolutions have no bias
    for stage, layer in zip(target.stages, layers, strict=True):
        assert isinstance(stage, nn.Sequential)
        for block, bottleneck in zip(stage, layer, strict=True):
            assert isinstance(block, DualPathBlock)
            assert isinstance(bottleneck, Bottleneck)
            offset = _move_block(bottleneck, block, offset)
    _pass_through(target.norm, offset)
    _settle_norms(target, batches)


@torch.no_grad()
def transplant_detector(
    source: DetectionNetwork, target: DetectionNetwork, pictures: Iterable[Tensor]
) -> None:
    """Move a detector on a ResNet into one on a dual path network with the same neck and classes, in place.

    `pictures` (B, 3, H, W), float, BGR, 0..255, give the batch norms their statistics. Raises WeightsError.
    """
    assert isinstance(source.backbone, ResNet)
    assert isinstance(target.backbone, DPN)
    transplant(source.backbone, target.backbone, (target.normalize(batch) for batch in pictures))
    given = source.state_dict()
    for name, tensor in target.state_dict().items():
        if name.startswith(("backbone.", "normalize.")) or name not in given:
            continue
        if given[name].shape == tensor.shape:
            tensor.copy_(given[name])
        elif tensor.ndim == 4 and tensor.shape[1] > given[name].shape[1]:  # reads the dense path as well
            known = given[name].shape[1]
            tensor[:, :known] = given[name]
            tensor[:, known:] *= DENSE_SHARE


def _require_same_shape(layers: Sequence[nn.Sequential], target: DPN) -> None:
    bottlenecks = all(isinstance(block, Bottleneck) for layer in layers for block in layer)
    depths = tuple(len(layer) for layer in layers)
    first = layers[0][0]
    if not bottlenecks or not isinstance(first, Bottleneck):
        raise WeightsError("expected a ResNet with bottlenecks to start from, got one of basic blocks")
    widths = (first.conv1.out_channels, first.conv3.out_channels)
    wanted = (target.config.width, target.config.residual)
    if depths != target.config.depths or widths != wanted:
        raise WeightsError(
            f"expected a ResNet of depths {target.config.depths} and widths {wanted} to start from, "
            f"got {depths} and {widths}; dpn50_thin starts from a resnet50_thin"
        )


def _move_block(source: Bottleneck, target: DualPathBlock, offset: Tensor) -> Tensor:
    """One bottleneck. `offset` is what the path before it is short of; answers what it is short of behind."""
    before, groups = source.conv1.in_channels, target.group.conv.groups
    order_in, order_out = group_channels(source.conv2.weight.square().sum(dim=(2, 3)).numpy(), groups)
    for reader in (target.reduce, target.project):
        if isinstance(reader, PreActivation):
            _pass_through(reader.norm, offset)
            reader.conv.weight[:, before:] *= DENSE_SHARE
    target.reduce.conv.weight[:, :before] = source.conv1.weight[order_in]
    target.group.conv.weight.copy_(_block_diagonal(source.conv2.weight[order_out][:, order_in], groups))
    _copy_norm(source.bn1, target.group.norm, order_in)
    _copy_norm(source.bn2, target.expand.norm, order_out)
    scale, shift = _affine(source.bn3)
    target.expand.conv.weight[: target.residual] = (source.conv3.weight * scale)[:, order_out]
    if source.downsample is None:
        return offset + shift
    assert isinstance(target.project, PreActivation)
    shortcut, norm = source.downsample
    assert isinstance(shortcut, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    scale, shift_of_shortcut = _affine(norm)
    target.project.conv.weight[: target.residual, :before] = shortcut.weight * scale
    return shift + shift_of_shortcut


def _block_diagonal(weight: Tensor, groups: int) -> Tensor:
    """The part (C, C / groups, 3, 3) of a weight (C, C, 3, 3) that a grouped convolution has."""
    side = weight.shape[0] // groups
    blocks = [weight[i : i + side, i : i + side] for i in range(0, weight.shape[0], side)]
    return torch.cat(blocks)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale (C, 1, 1, 1) and shift (C,) that a norm applies in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale[:, None, None, None], norm.bias - norm.running_mean * scale


def _copy_norm(source: nn.BatchNorm2d, target: nn.Module, order: Tensor | None = None) -> None:
    for name, tensor in source.named_parameters():
        getattr(target, name).copy_(tensor if order is None else tensor[order])


def _pass_through(norm: nn.Module, offset: Tensor) -> None:
    """Let a norm, in eval mode, add `offset` to the first channels and nothing else."""
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight.fill_(1.0)
    norm.bias.zero_()
    norm.bias[: len(offset)] = offset
    norm.reset_running_stats()
    norm.running_var.fill_(1.0 - norm.eps)  # type: ignore[union-attr]


def _settle_norms(network: DPN, batches: Sequence[Tensor]) -> None:
    """Statistics anew where a convolution before the norm has lost a part; then calibrate all."""
    cut: list[nn.BatchNorm2d] = []
    for block in network.modules():
        if isinstance(block, DualPathBlock):
            cut += [
                norm for norm in (block.group.norm, block.expand.norm) if isinstance(norm, nn.BatchNorm2d)
            ]
    network.eval()
    for norm in cut:
        norm.train()
        norm.momentum = None  # a plain mean over the batches
        norm.reset_running_stats()
    for batch in batches:
        network(batch)
    for norm in cut:
        norm.momentum = 0.1
    network.train()
    calibrate_batch_norm(network, batches)


def group_channels(energy: NDArray[np.float32], groups: int) -> tuple[Tensor, Tensor]:
    """Orders (C,) of inputs and outputs that bring much of `energy` (C, C) into diagonal blocks.

    `energy` has a row per output. Inputs and outputs are assigned to groups in turn, each where it has most
    in common, from several starts.
    """
    rows = energy / np.sqrt(np.maximum(energy.sum(axis=1, keepdims=True), 1e-12))
    shares = rows / np.sqrt(np.maximum(rows.sum(axis=0, keepdims=True), 1e-12))
    rng = np.random.default_rng(0)
    best, best_kept = None, -1.0
    for _ in range(GROUPING_STARTS):
        of_input = rng.permutation(len(shares)) % groups
        kept = -1.0
        for _ in range(GROUPING_ROUNDS):
            of_output = _balanced(_sums_by_group(shares, of_input, groups))
            of_input = _balanced(_sums_by_group(shares.T, of_output, groups))
            now = float(shares[of_output[:, None] == of_input[None]].sum())
            if now <= kept:
                break
            kept = now
        if kept > best_kept:
            best_kept = kept
            best = (np.argsort(of_input, kind="stable"), np.argsort(of_output, kind="stable"))
    assert best is not None
    return torch.from_numpy(best[0]), torch.from_numpy(best[1])


def _sums_by_group(shares: NDArray[np.float32], group: NDArray[np.intp], groups: int) -> NDArray[np.float32]:
    """(C, groups): each row's sum over the columns of every group."""
    return np.stack([shares[:, group == one].sum(axis=1) for one in range(groups)], axis=1)


def _balanced(affinity: NDArray[np.float32]) -> NDArray[np.intp]:
    """The group (C,) of every row: the best with room left, rows that care most first."""
    count, groups = affinity.shape
    room = [count // groups] * groups
    chosen = np.zeros(count, np.intp)
    ordered = np.sort(affinity, axis=1)
    for row in np.argsort(ordered[:, 0] - ordered[:, -1], kind="stable"):
        group = next(one for one in np.argsort(-affinity[row]) if room[one])
        room[group] -= 1
        chosen[row] = group
    return chosen
