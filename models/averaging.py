"""One network out of several: the mean of their weights.

Networks that were trained on from the same weights lie close enough that the mean of them is a network too,
and often a better one than each: their errors differ (Wortsman et al. 2022, "Model soups",
arXiv:2203.05482).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from core.errors import UsageError, WeightsError
from models.catalogue import WeightsEntry
from models.detector import load_network
from models.network import DetectionNetwork
from models.training.freezing import fold_frozen_norms, unfold_norms


def average_networks(shares: Mapping[str, float]) -> tuple[DetectionNetwork, WeightsEntry]:
    """The mean of two or more detectors, each a name or a file with its share, and its description.

    The description is the first one's, with the sources and licences of all; shares count relative to their
    sum. Batch norms are folded before: a run with kept norms writes in other numbers what its start computes.
    Norms that were trained apart describe features that the mean has no longer, so it is best for runs with
    kept norms. Raises UsageError for fewer than two or a share that is not above zero, WeightsError for a
    detector of another network or other classes, ModelNotFoundError for an unknown name.
    """
    if len(shares) < 2:
        raise UsageError(f"expected two or more weights to average, got {len(shares)}; name others beside it")
    for name, share in shares.items():
        if not 0 < share < float("inf"):
            raise UsageError(f"{name}: expected a share above 0, got {share:g}; leave it out instead")
    total = sum(shares.values())
    (first, first_share), *others = shares.items()
    network, entry = _load_folded(first)
    mean = {name: tensor.double() * (first_share / total) for name, tensor in network.state_dict().items()}
    entries = [entry]
    for name, share in others:
        other, described = _load_folded(name)
        _refuse_other(first, entry, name, described)
        entries.append(described)
        for key, tensor in other.state_dict().items():
            mean[key] += tensor.double() * (share / total)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            tensor.copy_(mean[key])
    return unfold_norms(network), replace(
        entry,
        source=" + ".join(dict.fromkeys(one.source for one in entries)),
        licence=" + ".join(dict.fromkeys(one.licence for one in entries)),
        sha256="",
    )


def _load_folded(name: str) -> tuple[DetectionNetwork, WeightsEntry]:
    network, entry = load_network(name)
    fold_frozen_norms(network)
    return network, entry


def _refuse_other(first: str, entry: WeightsEntry, name: str, other: WeightsEntry) -> None:
    for what in ("architecture", "categories", "normalization"):
        expected, got = getattr(entry, what), getattr(other, what)
        if got != expected:
            raise WeightsError(f"{name}: expected the {what} of {first}, {expected}; got {got}")
