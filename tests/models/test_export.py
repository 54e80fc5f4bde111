from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from core.errors import SettingsError, WeightsError
from core.types import Detections
from models import export as exporting
from models.catalogue import read_card
from models.detector import load_detector, load_network
from models.export import ExportFormat, Surface, export
from models.onnx_detector import OnnxEngine, read_onnx_card
from tests.clips import numbered_picture


@pytest.fixture
def onnx_file(tiny_onnx: Path) -> Path:
    return tiny_onnx


@pytest.fixture
def weights(tiny_onnx: Path) -> Path:
    return tiny_onnx.with_suffix(".safetensors")


def assert_same(left: Detections, right: Detections) -> None:
    assert left.labels.tolist() == right.labels.tolist()
    np.testing.assert_allclose(left.scores, right.scores, atol=1e-4)
    np.testing.assert_allclose(left.boxes, right.boxes, atol=0.05)


def test_an_onnx_file_detects_what_its_weights_detect(weights: Path, onnx_file: Path) -> None:
    """Landscape, portrait and larger than the canvas, in batches of other sizes than the export saw."""
    eager, exported = load_detector(weights, "cpu", "fp32"), load_detector(onnx_file)
    pictures = [
        numbered_picture(11 * number, size)
        for number, size in enumerate([(320, 240), (240, 320), (1280, 720)])
    ]
    pictures += pictures[:2]
    found = exported.predict(pictures)
    assert sum(map(len, found)) > 5
    for one, other in zip(found, eager.predict(pictures), strict=True):
        assert_same(one, other)
    assert exported.predict([]) == []


def test_an_onnx_file_describes_itself(weights: Path, onnx_file: Path) -> None:
    entry, source = read_onnx_card(onnx_file), read_card(weights)
    assert (entry.name, entry.categories, entry.canvas) == ("tiny", source.categories, source.canvas)
    assert entry.sha256 != source.sha256
    assert load_detector(onnx_file).sha256 == entry.sha256
    assert load_detector(onnx_file, score_threshold=0.9).score_threshold == 0.9


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:FutureWarning")
def test_torchscript_gives_the_networks_own_numbers(weights: Path, tmp_path: Path) -> None:
    network, entry = load_network(weights)
    report = export(network, entry, ExportFormat.TORCHSCRIPT, tmp_path / "tiny.torchscript")
    assert len(report.shapes) == 3
    extra = {"framewatch": ""}
    exported = torch.jit.load(tmp_path / "tiny.torchscript", _extra_files=extra)
    assert b'"tiny"' in extra["framewatch"]  # type: ignore[operator]
    pictures = torch.from_numpy(numbered_picture(3, (256, 160)))[None].repeat(5, 1, 1, 1)
    with torch.no_grad():
        for got, expected in zip(exported(pictures), Surface(network).eval()(pictures), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)


def test_an_export_that_differs_is_not_kept(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(surface: Surface, _: object, path: Path) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
        path.write_bytes(b"something")
        return lambda pictures: tuple(0.9 * one for one in surface(pictures))

    monkeypatch.setitem(exporting._WRITERS, ExportFormat.ONNX, write)
    with pytest.raises(WeightsError, match=r"expected the network's own scores .* it was not kept"):
        export(*load_network(weights), ExportFormat.ONNX, tmp_path / "tiny.onnx")
    assert list(tmp_path.iterdir()) == []


def edited(onnx_file: Path, path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(str(onnx_file))
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def change_card(old: str, new: str) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        for one in model.metadata_props:
            one.value = one.value.replace(old, new)

    return edit


def test_onnx_files_that_are_no_detector_are_refused(onnx_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    whole = onnx_file.read_bytes()
    for content in (b"", b"hello, this is text\n" * 9, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="expected an ONNX file"):
            load_detector(path)
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(WeightsError, match="expected an ONNX file"):
        load_detector(path)
    with pytest.raises(WeightsError, match="check the path"):
        load_detector(tmp_path / "none.onnx")


def test_onnx_files_whose_description_is_of_another_network_are_refused(
    onnx_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd.onnx"
    with pytest.raises(WeightsError, match="describe themselves"):
        load_detector(edited(onnx_file, path, lambda model: model.ClearField("metadata_props")))
    with pytest.raises(WeightsError, match="description is broken"):
        load_detector(edited(onnx_file, path, change_card('"canvas"', '"screen"')))
    fewer = change_card('"num_classes":5', '"num_classes":4'), change_card('"person",', "")
    with pytest.raises(WeightsError, match="of 4 classes"):
        load_detector(edited(onnx_file, path, lambda model: [edit(model) for edit in fewer] and None))
    with pytest.raises(WeightsError, match="expected 'framewatch"):
        load_detector(edited(onnx_file, path, change_card("32", "0")))


def test_an_onnx_file_can_name_no_other_file(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(str(onnx_file))
    onnx.save_model(
        model,
        str(tmp_path / "parts.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    with pytest.raises(WeightsError, match="expected an ONNX file"):
        load_detector(tmp_path / "parts.onnx")


def test_an_onnx_file_runs_in_its_own_precision_where_it_can(onnx_file: Path) -> None:
    with pytest.raises(SettingsError, match="fp32 that it holds, got 'bf16'"):
        load_detector(onnx_file, precision="bf16")
    with pytest.raises(SettingsError, match="expected one that ONNX Runtime offers here"):
        load_detector(onnx_file, device="cuda")
    for device in ("tpu", "cuda:x", "cuda:"):
        with pytest.raises(SettingsError, match=rf"expected auto, cpu, cuda or cuda:N; got '{device}'"):
            load_detector(onnx_file, device=device)


@pytest.mark.parametrize(("device", "number"), [("auto", 0), ("cuda", 0), ("cuda:1", 1), ("cpu", None)])
def test_an_onnx_file_runs_on_the_gpu_of_that_number(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch, device: str, number: int | None
) -> None:
    asked: list[object] = []
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    open_session = onnxruntime.InferenceSession

    def open_on_cpu(content: bytes, options: object, providers: list[object]) -> object:
        asked.extend(providers)
        return open_session(content, options, providers=[cpu])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_cpu)
    load_detector(onnx_file, device=device)
    assert asked == ([cpu] if number is None else [(cuda, {"device_id": number}), cpu])


def test_the_engine_gives_what_postprocessing_needs(onnx_file: Path) -> None:
    engine = load_detector(onnx_file).engine  # type: ignore[attr-defined]
    assert isinstance(engine, OnnxEngine)
    predictions = engine(torch.zeros((7, 64, 96, 3), dtype=torch.uint8))
    assert predictions.logits.shape == (7, 8 * 12 + 4 * 6 + 2 * 3, 5)
    assert predictions.boxes.shape == (7, 126, 4)
