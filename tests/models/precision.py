"""The precisions that this machine computes in."""

import pytest
import torch

from models.device import can_compute_bf16

needs_bf16 = pytest.mark.skipif(not can_compute_bf16(), reason="this CPU does not compute in bf16")
FAST_DTYPES = [torch.float32, *([torch.bfloat16] if can_compute_bf16() else [])]
