import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model, get_model_weights

from core.errors import WeightsError
from models.catalogue import get_weights
from models.detector import load_detector
from models.engine import Execution
from models.torchvision_detectors import TorchvisionDetector, builder_of, download
from tests.clips import numbered_picture
from tests.file_server import serving

NAMES = ("fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_tells_which_detector_it_is_of(name: str) -> None:
    with torch.device("meta"):
        state = get_model(name, weights=None, weights_backbone=None, num_classes=91).state_dict()
    assert builder_of(state) == name


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_agrees_with_torchvisions_coco_weights(name: str) -> None:
    entry, theirs = get_weights(name), get_model_weights(name).COCO_V1
    assert entry.source == theirs.url
    assert Path(theirs.url).stem.endswith(f"-{entry.sha256}")
    assert list(entry.categories) == [
        category for category in theirs.meta["categories"] if category not in ("__background__", "N/A")
    ]


def fetch_over_http(path: Path) -> Path:
    """The file in torch's cache, as `load_detector(name)` gets it, over a connection that breaks off once."""
    content = path.read_bytes()
    with serving(content) as server:
        server.breaks_after = len(content) * 2 // 3
        digest = hashlib.sha256(content).hexdigest()[:8]
        entry = replace(get_weights("fcos_resnet50_fpn"), source=server.url, sha256=digest)
        fetched = download(entry)
        assert server.asked == [None, f"bytes={server.breaks_after}-"]
    assert download(entry) == fetched, "what is there needs no network"
    return fetched


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_weights_from_a_file_or_over_http_give_torchvisions_own_boxes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    torch.manual_seed(3)
    theirs = get_model(name, weights=None, weights_backbone=None, num_classes=91).eval()
    path = tmp_path / "local.pth"
    torch.save(theirs.state_dict(), path)
    if name == "fcos_resnet50_fpn":  # one of them stands for all
        path = fetch_over_http(path)
        assert path.parent == tmp_path / "checkpoints"
    execution = Execution(torch.device("cpu"), torch.float32)
    detector = TorchvisionDetector(get_weights(name), path, execution, score_threshold=0.0)
    their_head, our_head = (getattr(network, "roi_heads", network) for network in (theirs, detector._network))
    assert our_head.score_thresh == 0.0 < their_head.score_thresh, "torchvision's own cut makes way"
    their_head.score_thresh = 0.0
    for network in (detector._network, theirs):  # small pictures are quick
        network.transform.min_size = (96,)
    picture = numbered_picture(3, (200, 150))
    with torch.no_grad():
        (expected,) = theirs([torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1) / 255])
    found, blank = detector.predict([picture, np.zeros((90, 120, 3), np.uint8)])
    assert detector.predict([]) == []
    assert len(detector.categories) == 80
    assert len(found) > 0
    for box, score, label in zip(found.boxes[:5], found.scores[:5], found.labels[:5], strict=True):
        distance = (expected["boxes"] - torch.from_numpy(box)).abs().amax(dim=1)
        nearest = int(distance.argmin())
        assert distance[nearest] < 0.01
        assert score == pytest.approx(float(expected["scores"][nearest]), abs=1e-4)
        assert 0 <= label < 80
    assert blank.categories == found.categories


def test_weights_that_cannot_be_fetched_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    entry = replace(get_weights("fcos_resnet50_fpn"), source="http://127.0.0.1:9/fcos-99b0c9b7.pth")
    with pytest.raises(WeightsError, match=r"cannot fetch .* give the file's path") as error:
        download(entry)
    assert "\n" not in str(error.value)


def test_a_local_file_of_another_size_is_refused(tmp_path: Path) -> None:
    torch.save({"rpn.head.conv.1.0.weight": torch.ones(1)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="weights of another network"):
        load_detector(tmp_path / "odd.pth")
