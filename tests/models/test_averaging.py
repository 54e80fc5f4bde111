from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.errors import UsageError, WeightsError
from models.averaging import average_networks
from models.catalogue import WeightsEntry
from models.network import create_detector_network
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


def test_shares_count_relative_to_their_sum(save: Save) -> None:
    files = [save("old", 1), save("new", 2)]
    old, new = (read_state_dict(file) for file in files)
    network, _ = average_networks(dict(zip(files, (3.0, 1.0), strict=True)))
    mean = network.state_dict()
    assert set(old) <= set(mean)
    for name in old:
        torch.testing.assert_close(mean[name], 0.75 * old[name].float() + 0.25 * new[name].float())


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
