import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from core.errors import SettingsError, WeightsError
from models.onnx_detector import INPUT, OUTPUTS
from models.onnx_runtimes import open_onnx
from tests.clips import numbered_picture

QUIET = """
import os, sys

def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event.startswith(("socket.", "subprocess.")):
        os.write(2, f"{event} {args}\\n".encode())

from models.detector import load_detector
from tests.clips import numbered_picture
sys.addaudithook(watch)
load_detector(sys.argv[1], "cpu").predict([numbered_picture(1)])
"""


def test_openvino_gives_what_onnx_runtime_gives(tiny_onnx: Path) -> None:
    """Also for pictures of ever other sizes, and arrays that stay as they are when the next batch comes."""
    file = open_onnx(tiny_onnx, "cpu")
    session = onnxruntime.InferenceSession(tiny_onnx, providers=["CPUExecutionProvider"])
    batches = [
        np.stack([numbered_picture(number + count, size) for number in range(count)])
        for count, size in ((1, (320, 224)), (3, (224, 320)), (2, (64, 32)), (1, (320, 224)))
    ]
    found = [file.run(batch) for batch in batches]
    for batch, got in zip(batches, found, strict=True):
        for mine, theirs in zip(got, session.run(list(OUTPUTS), {INPUT: batch}), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_detecting_calls_nobody_and_leaves_no_file(tiny_onnx: Path, tmp_path: Path) -> None:
    """OpenVINO's telemetry would leave one in the home folder when it is imported."""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-B", "-c", QUIET, str(tiny_onnx)]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [b"\x08location", b"\x88\x00location", b"\x88\x80\x80\x00location"])
def test_a_file_that_names_others_is_refused(tmp_path: Path, key: bytes) -> None:
    """Whatever way the length of the key is written."""
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", str(tmp_path / "secret.bin")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weights])
    content = helper.make_model(graph).SerializeToString()
    assert content.count(b"\x08location") == 1
    path = tmp_path / "curious.onnx"
    path.write_bytes(content.replace(b"\x08location", key))
    with pytest.raises(WeightsError, match="got one that names other files"):
        open_onnx(path, "cpu")


@pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 9, b"\x80\x04\x95" + bytes(500)])
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected an ONNX file that loads, got a damaged file") as caught:
        open_onnx(path, "cpu")
    assert "\n" not in str(caught.value)


def test_half_a_file_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(tiny_onnx.read_bytes()[: tiny_onnx.stat().st_size // 2])
    with pytest.raises(WeightsError, match="got a damaged file or another"):
        open_onnx(path, "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda", "cpu:x", ""])
def test_a_device_that_is_not_there_is_refused(tiny_onnx: Path, device: str) -> None:
    with pytest.raises(SettingsError, match="device: expected"):
        open_onnx(tiny_onnx, device)


def test_another_network_keeps_its_interface(tmp_path: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph), tmp_path / "other.onnx")
    (only,) = open_onnx(tmp_path / "other.onnx", "cpu").inputs
    assert (only.name, only.dimensions, only.last) == ("x", 2, 2)
    assert only.type not in ("uint8", "float32")
