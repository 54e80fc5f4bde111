from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from models.fused_convolution import FusedConv, fuse_convolutions
from tests.models.precision import FAST_DTYPES


class Small(nn.Module):
    """Convolutions a and b, and whatever `compute` makes of them."""

    def __init__(self, compute: Callable[["Small", Tensor], Tensor], groups: int = 1) -> None:
        super().__init__()
        self.a = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
        self.b = nn.Conv2d(8, 8, 1, bias=False)
        self.leaky, self.silu = nn.LeakyReLU(0.1, inplace=True), nn.SiLU()
        self.skip = nn.Identity()
        self._compute = compute

    def forward(self, images: Tensor) -> Tensor:
        return self._compute(self, images)


CASES: dict[str, tuple[Callable[[Small, Tensor], Tensor], int]] = {
    "relu": (lambda net, x: F.relu(net.a(x), inplace=True), 1),
    "relu behind an identity": (lambda net, x: F.relu(net.skip(net.a(x))), 1),
    "leaky": (lambda net, x: net.leaky(net.a(x)), 1),
    "silu": (lambda net, x: net.silu(net.a(x)), 1),
    "nothing": (lambda net, x: net.a(x) * 2, 2),
    "sum": (lambda net, x: F.relu(net.a(x).add_(x)), 1),
    "sum the other way round": (lambda net, x: F.relu(x + net.a(x)), 1),
    "two convolutions": (lambda net, x: F.relu(net.a(x) + net.b(x)), 2),
    "two activations of one convolution": (lambda net, x: F.relu(net.a(x)) + net.leaky(net.a(x)), 3),
    "an output that is read twice": (lambda net, x: (lambda y: F.relu(y) - y)(net.a(x)), 3),
    "a sum that is read twice": (lambda net, x: (lambda y: F.relu(y) - y)(net.a(x) + x), 4),
    "a sum with itself": (lambda net, x: (lambda y: F.relu(y + y))(net.a(x)), 3),
    "a sum with a number": (lambda net, x: F.relu(net.a(x) + 0.5), 3),
    "a sum in place of what is read again": (
        lambda net, x: (lambda y: F.relu(y.add_(net.a(x))) * y)(net.b(x)),
        5,
    ),
}


def steps(module: fx.GraphModule) -> int:
    return sum(node.op not in ("placeholder", "output") for node in module.graph.nodes)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dtype", FAST_DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_fused_convolutions_compute_the_same(case: str, dtype: torch.dtype, groups: int) -> None:
    compute, expected_steps = CASES[case]
    torch.manual_seed(0)
    network = Small(compute, groups).eval().to(dtype).to(memory_format=torch.channels_last)
    fused = fuse_convolutions(network)
    images = torch.randn(2, 8, 9, 7).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        got, expected = fused(images.clone()), network(images.clone())
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    assert any(isinstance(module, FusedConv) for module in fused.modules())
    assert not any(isinstance(module, nn.Conv2d) for module in fused.modules())
    if groups == 1:
        assert steps(fused) == expected_steps
