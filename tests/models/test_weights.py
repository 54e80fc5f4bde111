import contextlib
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import WeightsError
from models.catalogue import CARD_KEY, encode_card
from models.detector import load_detector
from models.network import create_detector_network
from models.weights import (
    WeightsEntry,
    load_state_dict,
    read_card,
    read_state_dict,
    save_checkpoint,
)
from tests.models.networks import stir_batch_norms


def entry_for(network: torch.nn.Module, **changes: object) -> WeightsEntry:
    values: dict[str, object] = {
        "name": "yard",
        "architecture": network.architecture,
        "categories": ("person", "car"),
        "canvas": (96, 64),
        "score_threshold": 0.5,
        "licence": "CC0-1.0",
        "source": "a test",
    }
    return WeightsEntry(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return stir_batch_norms(create_detector_network("resnet18_thin", "fpn", 2, 16))


def test_a_checkpoint_brings_back_the_same_network(tmp_path: Path, network: torch.nn.Module) -> None:
    path = tmp_path / "yard.safetensors"
    save_checkpoint(path, network, entry_for(network))
    again = create_detector_network("resnet18_thin", "fpn", 2, 16).eval()
    load_state_dict(again, read_state_dict(path))
    images = torch.linspace(0, 255, 3 * 64 * 96).view(1, 3, 64, 96)
    with torch.no_grad():
        before, after = network(images), again(images)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(after.boxes, before.boxes, rtol=1e-2, atol=0.1)
    assert read_card(path).categories == ("person", "car")
    assert [file.name for file in tmp_path.iterdir()] == ["yard.safetensors"]


def test_the_same_network_makes_the_same_file(tmp_path: Path, network: torch.nn.Module) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for file in files:
        save_checkpoint(file, network, entry_for(network))
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 1


def test_matrices_are_stored_in_half_and_statistics_in_full(tmp_path: Path, network: torch.nn.Module) -> None:
    path = tmp_path / "yard.safetensors"
    save_checkpoint(path, network, entry_for(network))
    state = read_state_dict(path)
    assert state["backbone.conv1.weight"].dtype == torch.float16
    assert state["backbone.bn1.running_var"].dtype == torch.float32
    assert path.stat().st_size < 1.1 * sum(2 * tensor.numel() for tensor in state.values()) + 100_000


def test_a_description_of_another_network_is_refused(tmp_path: Path, network: torch.nn.Module) -> None:
    other = create_detector_network("resnet18_thin", "fpn", 3, 16)
    with pytest.raises(WeightsError, match="expected a description of resnet18_thin"):
        save_checkpoint(tmp_path / "x.safetensors", network, entry_for(other))
    with pytest.raises(WeightsError, match="with 1 categories"):
        save_checkpoint(tmp_path / "x.safetensors", network, entry_for(network, categories=("person",)))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_a_wider_network_are_refused_and_change_nothing(network: torch.nn.Module) -> None:
    wide = create_detector_network("resnet18_thin", "fpn", 2, 32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"expected neck.* of shape .*, got") as error:
        load_state_dict(network, wide.state_dict())
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_prefix_of_distributed_training_is_taken_off(network: torch.nn.Module) -> None:
    again = create_detector_network("resnet18_thin", "fpn", 2, 16)
    load_state_dict(again, {f"module.{name}": tensor for name, tensor in network.state_dict().items()})
    assert torch.equal(
        again.state_dict()["neck.lateral.0.0.weight"], network.state_dict()["neck.lateral.0.0.weight"]
    )


def test_a_torch_file_of_tensors_is_read(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "plain.pth")
    assert torch.equal(read_state_dict(tmp_path / "plain.pth")["weight"], torch.ones(2))


class Intruder:
    """Pickled, it is a call that makes a file as soon as someone unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a.safetensors"])
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_nothing_is_unpickled(tmp_path: Path, name: str, write: Callable[[object, Path], object]) -> None:
    path, trace = tmp_path / name, tmp_path / "trace"
    write({"backbone.conv1.weight": Intruder(trace)}, path)
    for read in (read_state_dict, load_detector):
        with pytest.raises(WeightsError, match=r"could run code and is not read|expected a safetensors file"):
            read(path)
    assert not trace.exists()
    careless = path.rename(tmp_path / "careless.pth")
    torch.load(careless, weights_only=False) if write is torch.save else pickle.loads(careless.read_bytes())
    assert trace.exists(), "this file is dangerous indeed"


def test_a_pickled_module_is_refused_by_the_name_of_what_is_inside(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"objects of torch\.nn\.modules\.linear\.Linear, .* is not read"):
        read_state_dict(tmp_path / "module.pth")


def test_a_file_whose_numbers_or_description_were_changed_is_refused(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    path = tmp_path / "yard.safetensors"
    save_checkpoint(path, network, entry_for(network))
    good = path.read_bytes()
    assert load_detector(path).categories == ("person", "car")
    for changed in (
        good[:-1000] + bytes([good[-1000] ^ 1]) + good[-999:],
        good.replace(b"person", b"parson"),
        good.replace(b"neck.lateral.0.0.weight", b"neck.lateral.1.0.weight", 1),
    ):
        assert changed != good
        path.write_bytes(changed)
        with pytest.raises(WeightsError, match=r"changed or damaged|expected a safetensors file") as error:
            load_detector(path)
        assert "\n" not in str(error.value)


def test_a_file_of_before_there_were_digests_is_read(tmp_path: Path, network: torch.nn.Module) -> None:
    card = encode_card(entry_for(network))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "old.safetensors", metadata={CARD_KEY: card})
    assert load_detector(tmp_path / "old.safetensors").categories == ("person", "car")


def test_weights_of_another_network_than_described_are_refused(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    wide = create_detector_network("resnet18_thin", "fpn", 2, 32)
    card = encode_card(entry_for(wide))
    save_file(dict(network.state_dict()), tmp_path / "odd.safetensors", metadata={CARD_KEY: card})
    with pytest.raises(WeightsError, match=r"expected .* of shape \(32, .*got \(16, "):
        load_detector(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"just some text\n", bytes(64)])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name}: expected"):
        read_state_dict(tmp_path / name)


def test_a_truncated_torch_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        read_state_dict(path)


@pytest.mark.parametrize("kept", range(40, 400, 17))
def test_a_damaged_file_of_the_old_torch_format_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "old.pth"
    torch.save({"weight": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for damaged in (content[:kept], content[:kept] + b"K" + content[kept + 1 :]):
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsError):  # a changed byte may leave a good file
            read_state_dict(path)


def test_a_missing_file_and_one_without_a_card_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="check the path"):
        read_state_dict(tmp_path / "none.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match=r"describe themselves.*save_checkpoint"):
        read_card(tmp_path / "bare.safetensors")


def test_importing_weights_imports_no_torchvision() -> None:
    code = "import sys, models.weights; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
