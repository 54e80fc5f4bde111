"""Where and in which arithmetic a network runs."""

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
    return _DTYPES[name]


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
