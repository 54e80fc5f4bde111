"""Where and in which arithmetic a network runs."""

from typing import Any

import torch

from core.errors import SettingsError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` takes the first CUDA device, else the CPU.

    Raises SettingsError for a name that is none of auto, cpu, cuda, cuda:N, or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SettingsError(f"device: expected auto, cpu, cuda or cuda:N; got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device: expected one of {torch.cuda.device_count()} CUDA devices, got {name!r}; use auto or cpu"
        )
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The data type of that name; `auto` takes the fastest that the device computes in hardware.

    Raises SettingsError for a name that is none of auto, fp32, bf16, fp16, or a type the device lacks.
    """
    if name == "auto":
        if _has_bf16(device):
            return torch.bfloat16
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise SettingsError(f"precision: expected auto, {', '.join(_DTYPES)}; got {name!r}")
    if name == "fp16" and device.type == "cpu":
        raise SettingsError("precision: fp16 is for CUDA devices; use bf16, fp32 or auto on a CPU")
    if name == "bf16" and device.type == "cpu" and not can_compute_bf16():
        raise SettingsError(
            "precision: bf16 needs a CPU with AVX-512 (BW, VL and DQ) or AVX-NE-CONVERT, and this one has "
            "neither; use fp32 or auto"
        )
    return _DTYPES[name]


def can_compute_bf16() -> bool:
    """Whether oneDNN convolves in bf16 on this CPU, be it by converting to float32 and back."""
    library: Any = torch.backends.mkldnn
    operators: Any = torch.ops.mkldnn
    return bool(library.is_available() and operators._is_mkldnn_bf16_supported())


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    in_hardware = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return in_hardware and can_compute_bf16()
