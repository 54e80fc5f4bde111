from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.errors import UsageError, WeightsError
from models.averaging import average_networks
from models.catalogue import WeightsEntry
from models.detector import load_network
from models.network import create_detector_network
from models.training.freezing import fold_frozen_norms, unfold_norms
from models.weights import read_state_dict, save_checkpoint
from tests.models.networks import fill_weights

Save = Callable[..., str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a small detector with random weights and returns its file's path."""

    def save(
        name: str, seed: int = 0, categories: tuple[str, ...] = ("person", "car"), **said: object
    ) -> str:
        network = create_detector_network("resnet18_thin", "fpn", len(categories), 16)
        values: dict[str, object] = {
            "canvas": (96, 64),
            "score_threshold": 0.5,
            "licence": "CC0-1.0",
            "source": f"pictures of {name}",
        }
        entry = WeightsEntry(name, network.architecture, categories, **(values | said))  # type: ignore[arg-type]
        save_checkpoint(tmp_path / f"{name}.safetensors", fill_weights(network, seed), entry)
        return str(tmp_path / f"{name}.safetensors")

    return save


def folded(network: nn.Module) -> dict[str, Tensor]:
    fold_frozen_norms(network)
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def test_shares_count_relative_to_their_sum(save: Save) -> None:
    files = [save("old", 1), save("new", 2)]
    old, new = (folded(load_network(file)[0]) for file in files)
    network, _ = average_networks(dict(zip(files, (3.0, 1.0), strict=True)))
    assert read_state_dict(files[0]).keys() <= network.state_dict().keys()
    for name, tensor in folded(network).items():
        torch.testing.assert_close(tensor, 0.75 * old[name] + 0.25 * new[name])


def test_a_run_with_kept_norms_and_its_start_have_the_mean_of_what_they_compute(save: Save) -> None:
    start = save("start")
    network, entry = load_network(start)
    fold_frozen_norms(network)
    trained = Path(start).with_name("trained.safetensors")
    save_checkpoint(trained, unfold_norms(network), entry)
    mean, _ = average_networks({start: 1, str(trained): 1})
    expected = folded(load_network(start)[0])
    for name, tensor in folded(mean).items():
        torch.testing.assert_close(
            tensor, expected[name], rtol=2e-3, atol=2e-3
        )  # files are in half precision


def test_the_description_is_the_first_ones_with_all_sources_and_licences(save: Save) -> None:
    first = save("first", canvas=(96, 64), score_threshold=0.4)
    second = save("second", canvas=(64, 64), licence="Apache-2.0")
    third = save("third", source="pictures of first")
    _, entry = average_networks({first: 1, second: 1, third: 1})
    assert (entry.name, entry.canvas, entry.score_threshold, entry.sha256) == ("first", (96, 64), 0.4, "")
    assert entry.source == "pictures of first + pictures of second"
    assert entry.licence == "CC0-1.0 + Apache-2.0"


def test_other_classes_are_refused(save: Save) -> None:
    first, second = save("first"), save("second", categories=("car", "person"))
    with pytest.raises(WeightsError, match=r"second.safetensors: expected the categories of .*first.safet"):
        average_networks({first: 1, second: 1})


def test_another_network_is_refused(save: Save) -> None:
    first, second = save("first"), save("second", categories=("person", "car", "bus"))
    with pytest.raises(WeightsError, match=r"architecture of .*first\.safet.* 2 classes; got .* 3 classes"):
        average_networks({first: 1, second: 1})


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_is_above_zero(save: Save, share: float) -> None:
    with pytest.raises(UsageError, match="expected a share above 0, got"):
        average_networks({save("first"): 1, save("second"): share})


def test_one_alone_is_refused(save: Save) -> None:
    with pytest.raises(UsageError, match="expected two or more weights to average, got 1"):
        average_networks({save("first"): 1})
