"""What a network knows before its first step: open_nsfw's backbone, or weights that were trained before."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from core.errors import WeightsError
from models.backbones.resnet import ResNet
from models.network import DetectionNetwork
from models.opennsfw import calibrate_batch_norm, load_opennsfw
from models.weights import load_state_dict, read_state_dict

CLASS_LAYER = "head.class_logits."


def load_start_weights(network: DetectionNetwork, path: Path, pictures: Iterable[Tensor]) -> None:
    """Fill a network in place from `path`.

    An .onnx file is open_nsfw's (see models/opennsfw.py): it fills the backbone, whose batch norms are then
    given the statistics of `pictures` (B, 3, H, W), float, BGR, 0..255. Any other file is read as a
    detector's or a backbone's weights; a detector of other classes leaves the class layer its random start.
    Raises WeightsError.
    """
    if path.suffix == ".onnx":
        if not isinstance(network.backbone, ResNet):
            raise WeightsError(
                f"{path}: expected a resnet50_thin to start, got a {network.architecture.backbone}"
            )
        load_opennsfw(network.backbone, path)
        calibrate_batch_norm(network.backbone, (network.normalize(batch) for batch in pictures))
        return
    own = network.state_dict()
    given = read_state_dict(path)
    refit = {
        name: own[name]
        for name in own
        if name.startswith(CLASS_LAYER) and name in given and given[name].shape != own[name].shape
    }
    load_state_dict(network, {**given, **refit})
