"""What a network knows before its first step: open_nsfw's backbone, or weights that were trained before."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from core.errors import WeightsError
from models.architecture import Architecture
from models.backbones.dpn import DPN
from models.backbones.resnet import ResNet
from models.catalogue import read_card
from models.network import DetectionNetwork, create_detector_network
from models.opennsfw import calibrate_batch_norm, load_opennsfw
from models.training.transplant import transplant_detector
from models.weights import load_state_dict, read_state_dict

CLASS_LAYER = "head.class_logits."


def load_start_weights(
    network: DetectionNetwork, path: Path, categories: Sequence[str], pictures: Iterable[Tensor]
) -> None:
    """Fill a network that is to detect `categories`, in place, from `path`.

    An .onnx file is open_nsfw's (see models/opennsfw.py): it fills the backbone, whose batch norms are then
    given the statistics of `pictures` (B, 3, H, W), float, BGR, 0..255. A detector on a ResNet is moved
    into a dual path network of the same depths and widths (models/training/transplant.py). Any other file
    is read as a detector's or a backbone's weights. Classes that a detector names as we do start as it has
    learned them, others at random.
    Raises WeightsError, also for a detector that does not say its classes.
    """
    if path.suffix == ".onnx":
        if not isinstance(network.backbone, ResNet):
            raise WeightsError(
                f"{path}: expected a resnet50_thin to start, got a {network.architecture.backbone}"
            )
        load_opennsfw(network.backbone, path)
        calibrate_batch_norm(network.backbone, (network.normalize(batch) for batch in pictures))
        return
    given = read_state_dict(path)
    class_layer = {}
    if any(name.startswith(CLASS_LAYER) for name in given):
        class_layer = inherit_class_layer(network, given, read_card(path).categories, categories)
    if isinstance(network.backbone, DPN) and any(name.startswith("backbone.layer1.") for name in given):
        transplant_detector(read_detector_network(path), network, pictures)
        network.load_state_dict(class_layer, strict=False)
        return
    load_state_dict(network, {**given, **class_layer})


def inherit_class_layer(
    network: DetectionNetwork, given: Mapping[str, Tensor], learned: Sequence[str], categories: Sequence[str]
) -> dict[str, Tensor]:
    """A network's class layer with the rows of a detector of classes `learned`, for all that it names alike.

    `given` are the detector's weights; where its layer reads other widths nothing is taken.
    """
    layer = {
        name: tensor.clone() for name, tensor in network.state_dict().items() if name.startswith(CLASS_LAYER)
    }
    for name, tensor in layer.items():
        if given[name].shape[1:] != tensor.shape[1:]:
            return {}
        for row, category in enumerate(categories):
            if category in learned:
                tensor[row] = given[name][learned.index(category)]
    return layer


def read_detector_network(path: Path) -> DetectionNetwork:
    """The one-stage detector of a safetensors file, in training mode. Raises WeightsError for any other."""
    entry = read_card(path)
    parts = entry.architecture
    if not isinstance(parts, Architecture):
        raise WeightsError(f"{path}: expected a one-stage detector's weights, got those of {parts}")
    network = create_detector_network(
        parts.backbone,
        parts.neck,
        parts.num_classes,
        parts.neck_channels,
        normalization=entry.normalization,
    )
    load_state_dict(network, read_state_dict(path))
    return network
