from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from core.errors import SettingsError, WeightsError
from models import export as exporting
from models.detector import load_detector, load_network
from models.export import export_int8
from models.onnx_detector import read_onnx_card
from models.quantization import CalibrationPictures
from tests.clips import numbered_picture

PICTURES = [numbered_picture(7 * number, size) for number, size in enumerate([(320, 240), (240, 320)] * 4)]


@pytest.fixture(scope="module")
def int8_file(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "tiny_int8.onnx"
    report = export_int8(*load_network(tiny_onnx.with_suffix(".safetensors")), PICTURES, path)
    assert report.path == path
    assert report.pictures == len(PICTURES)
    assert report.objects > 10
    assert 0.8 * report.objects <= report.found <= report.objects
    assert list(path.parent.iterdir()) == [path]
    return path


def test_convolutions_take_and_give_integers(int8_file: Path) -> None:
    graph = onnx.load(str(int8_file)).graph
    made_by = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(made_by[node.input[0]].op_type == "DequantizeLinear" for node in convolutions)
    weights = [
        one for one in graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4
    ]
    assert len(weights) >= len({node.input[1] for node in convolutions})


def test_an_int8_file_detects_nearly_what_its_weights_detect(tiny_onnx: Path, int8_file: Path) -> None:
    exact, quantized = load_detector(tiny_onnx), load_detector(int8_file)
    for one, other in zip(exact.predict(PICTURES), quantized.predict(PICTURES), strict=True):
        np.testing.assert_allclose(one.scores[:1], other.scores[:1], atol=0.1)


def test_an_int8_file_is_known_by_its_name_and_precision(int8_file: Path) -> None:
    assert read_onnx_card(int8_file).name == "tiny_int8"
    assert load_detector(int8_file, precision="int8").name == "tiny_int8"
    with pytest.raises(SettingsError, match="runs in the int8 that it holds, got 'fp32'"):
        load_detector(int8_file, precision="fp32")


def test_pictures_without_objects_tell_nothing(tiny_onnx: Path, tmp_path: Path) -> None:
    network, entry = load_network(tiny_onnx.with_suffix(".safetensors"))
    path = tmp_path / "blind.onnx"
    with pytest.raises(WeightsError, match="got 8 without any; take pictures or a video"):
        export_int8(network, replace(entry, score_threshold=1.0), PICTURES, path)
    assert list(tmp_path.iterdir()) == []


def test_an_int8_file_that_finds_less_is_not_kept(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integers whose ranges come from black pictures clip whatever is seen later."""

    def in_the_dark(_: object, *rest: object) -> CalibrationPictures:
        return CalibrationPictures([np.zeros_like(PICTURES[0])], *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "CalibrationPictures", in_the_dark)
    network, entry = load_network(tiny_onnx.with_suffix(".safetensors"))
    with pytest.raises(WeightsError, match=r"expected 80% of the network's \d+ objects .* it was not kept"):
        export_int8(network, entry, PICTURES, tmp_path / "dark.onnx")
    assert list(tmp_path.iterdir()) == []
