"""Stand-ins that are real where it matters: small enough for tests, running the product's own code."""

from pathlib import Path

TINY_CATEGORIES = ("person", "car", "motorcycle", "bus", "truck")


def save_tiny_detector(path: Path, canvas: tuple[int, int] = (128, 96), score_threshold: float = 0.3) -> Path:
    """Write a real detector file with fixed random weights: a few boxes of several classes in most pictures.

    Loads with `load_detector(path)` like any other and takes about a millisecond per picture. What it finds
    means nothing, but is the same for the same picture.
    """
    import torch

    from models.network import create_detector_network
    from models.weights import WeightsEntry, save_checkpoint

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = create_detector_network("resnet18_thin", "fpn", len(TINY_CATEGORIES), 16)
        torch.nn.init.normal_(network.head.class_logits.weight, std=6.0)
        torch.nn.init.normal_(network.head.box_distances.weight, std=3.0)
    entry = WeightsEntry(
        name=path.stem,
        architecture=network.architecture,
        categories=TINY_CATEGORIES,
        canvas=canvas,
        score_threshold=score_threshold,
        licence="none: random numbers",
        source="tests.fakes.save_tiny_detector",
        normalization=network.normalize.normalization,
        exclusive=(("car", "bus", "truck"),),
    )
    save_checkpoint(path, network, entry)
    return path
