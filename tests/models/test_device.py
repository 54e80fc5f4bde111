import pytest
import torch

from core.errors import SettingsError
from models.device import can_compute_bf16, choose_device, choose_precision

CPU = torch.device("cpu")


def test_auto_takes_cuda_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "mps", "cpu:x", ""])
def test_a_device_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(SettingsError, match=r"device: expected .*; (got|use)") as error:
        choose_device(name)
    assert "\n" not in str(error.value)


def test_auto_precision_is_bfloat16_where_the_cpu_computes_in_it() -> None:
    has = torch.cpu.get_capabilities()
    expected = torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    assert choose_precision("auto", CPU) in (expected, torch.bfloat16)


def test_a_named_precision_is_taken() -> None:
    assert choose_precision("fp32", CPU) is torch.float32
    if can_compute_bf16():
        assert choose_precision("bf16", CPU) is torch.bfloat16


def test_bf16_is_refused_where_the_cpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(SettingsError, match=r"bf16 needs a CPU with AVX-512 .* use fp32 or auto"):
        choose_precision("bf16", CPU)
    assert choose_precision("auto", CPU) is torch.float32


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_a_precision_that_cannot_work_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="precision:"):
        choose_precision(name, CPU)
