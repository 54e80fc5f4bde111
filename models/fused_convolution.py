"""Convolutions that add and activate in the same pass over memory, for inference on a CPU.

oneDNN writes an activated sum where PyTorch's eager mode makes three passes; torch.compile uses the same
operators, after a minute of compilation.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Activation:
    """One of oneDNN's, with its numbers."""

    name: str = "none"
    numbers: tuple[float, ...] = ()


class FusedConv(nn.Module):
    """activation(convolution(x) + other), or without `other`; (B, before, H, W) to (B, after, H', W')."""

    def __init__(self, convolution: nn.Conv2d, activation: Activation) -> None:
        super().__init__()
        self._shape: tuple[Any, ...] = (
            convolution.padding,
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )
        # As it is: packed by mkldnn_reorder_conv2d_weight without a size, grouped ones took twice the time.
        self._weight = convolution.weight.detach()
        self._bias = None if convolution.bias is None else convolution.bias.detach()
        self._activation = activation
        self._operator = torch.ops.mkldnn._convolution_pointwise

    def forward(self, features: Tensor, other: Tensor | None = None) -> Tensor:
        activation = self._activation.name, list(self._activation.numbers), ""
        if other is None:
            return self._operator(  # type: ignore[no-any-return]
                features, self._weight, self._bias, *self._shape, *activation
            )
        return self._operator.binary(  # type: ignore[no-any-return]
            features, other, self._weight, self._bias, *self._shape, "add", 1.0, *activation
        )


def can_fuse() -> bool:
    """Whether this PyTorch has the operators; they are not part of its public interface."""
    available: Any = torch.backends.mkldnn.is_available
    return bool(available()) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def fuse_convolutions(network: nn.Module, forward: Callable[..., Any] | None = None) -> fx.GraphModule:
    """What `forward` (by default the network's own) computes, with every convolution fused.

    The network must be ready for inference: in eval mode, on the CPU, in its final data type, batch norms
    folded. It has to be a straight line of tensors that torch.fx can trace.
    """
    call = _Call(network, forward or network.forward)
    module = fx.GraphModule(call, fx.Tracer().trace(call))
    _skip_identities(module)
    fused: dict[tuple[str, Activation], str] = {}
    for node in list(module.graph.nodes):
        convolution = _convolution(module, node)
        if convolution is not None:
            _fuse(module, node, convolution, fused)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module.eval()


class _Call(nn.Module):
    """A method of a network as a network."""

    def __init__(self, network: nn.Module, method: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self._method = method

    def forward(self, images: Tensor) -> Any:
        return self._method(images)


def _skip_identities(module: fx.GraphModule) -> None:
    """Folded batch norms left them between a convolution and what may join it."""
    for node in list(module.graph.nodes):
        if node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _fuse(
    module: fx.GraphModule, node: fx.Node, convolution: nn.Conv2d, fused: dict[tuple[str, Activation], str]
) -> None:
    """Replace a convolution by one node, with a sum and an activation behind it that nothing else reads."""
    chain, other = [node], None
    user = _only_user(node)
    if convolution.groups == 1 and user is not None and _activation(module, user) is not None:
        other = _sum_partner(node, user)
        if other is not None:
            chain.append(user)
    activation = _activation(module, chain[-1])
    if activation is not None:
        chain.append(next(iter(chain[-1].users)))
    key = (str(node.target), activation or Activation())
    if key not in fused:
        fused[key] = f"fused_{len(fused)}"
        module.add_submodule(fused[key], FusedConv(convolution, key[1]))
    with module.graph.inserting_after(chain[-1]):
        new = module.graph.call_module(
            fused[key], (node.args[0],) if other is None else (node.args[0], other)
        )
    chain[-1].replace_all_uses_with(new)
    for old in reversed(chain):
        module.graph.erase_node(old)


def _convolution(module: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    if node.op != "call_module":
        return None
    found = module.get_submodule(str(node.target))
    return found if isinstance(found, nn.Conv2d) and found.padding_mode == "zeros" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _sum_partner(convolution: fx.Node, node: fx.Node) -> fx.Node | None:
    """The other tensor of a sum; in place, the sum may only change the convolution's output."""
    plain = node.op == "call_function" and node.target in (operator.add, torch.add)
    in_place = (node.op == "call_method" and node.target == "add_") or node.target is operator.iadd
    if len(node.args) != 2 or node.kwargs or not (plain or (in_place and node.args[0] is convolution)):
        return None
    return next((one for one in node.args if isinstance(one, fx.Node) and one is not convolution), None)


def _activation(module: fx.GraphModule, node: fx.Node) -> Activation | None:
    """The activation that alone reads a node."""
    user = _only_user(node)
    if user is None:
        return None
    if user.op == "call_function" and user.target is F.relu:
        return Activation("relu")
    if user.op != "call_module":
        return None
    match module.get_submodule(str(user.target)):
        case nn.ReLU():
            return Activation("relu")
        case nn.LeakyReLU(negative_slope=slope):
            return Activation("leaky_relu", (float(slope),))
        case nn.SiLU():
            return Activation("swish")
    return None
