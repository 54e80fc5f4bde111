"""What runs ONNX files: OpenVINO on a CPU, ONNX Runtime on CUDA devices.

On a CPU with AVX2, OpenVINO takes about four fifths of ONNX Runtime's time for the same file, in int8 and in
float32.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import SettingsError, WeightsError

PRECISION_KEY = "framewatch.precision"
"""Key of the numbers that a file computes in; without it they are float32."""
_CUDA = "CUDAExecutionProvider"
_OTHER_FILE = re.compile(rb"(\x08|\x88\x80*\x00)location")
"""Key of a tensor that lies in another file, behind its length (onnx.proto, TensorProto.external_data)."""

Arrays = tuple[NDArray[np.float32], ...]


class Port(NamedTuple):
    """An input or output of a network; sizes that are free are no part of it."""

    name: str
    type: str
    """uint8 or float32; whatever else a runtime calls it."""
    dimensions: int
    last: int | None
    """Size of the last dimension; None where it is free."""


class OnnxFile(Protocol):
    """A network from an ONNX file, ready to run; it serves one caller at a time."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says about itself."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, in the order of `run`."""

    def run(self, pictures: NDArray[np.uint8]) -> Arrays:
        """The outputs for its one input, as arrays of their own."""


def open_onnx(path: Path, device: str) -> OnnxFile:
    """The network of a file on a device: auto (CUDA where ONNX Runtime offers it), cpu, cuda or cuda:N.

    Raises WeightsError for a file that does not load or names others, SettingsError for a device that cannot
    be had.
    """
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", device):
        raise SettingsError(f"device: expected auto, cpu, cuda or cuda:N; got {device!r}")
    kind, _, number = device.partition(":")
    on_cuda = kind != "cpu" and _offers_cuda(required=kind == "cuda")
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found none there; check the path")
    content = path.read_bytes()
    if _OTHER_FILE.search(content):
        raise WeightsError(
            f"{path}: expected an ONNX file with all of its weights inside, got one that names other files; "
            "write it with `framewatch models export`"
        )
    openvino = None if on_cuda else _import_openvino()
    try:
        return _OpenVino(openvino, content) if openvino else _OnnxRuntime(content, int(number or 0))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.startswith("Exception from")), "no reason given")
        raise WeightsError(
            f"{path}: expected an ONNX file that loads, got a damaged file or another ({reason[:200]})"
        ) from error


def _offers_cuda(*, required: bool) -> bool:
    try:
        import onnxruntime
    except ImportError:
        known = ["no ONNX Runtime"]
    else:
        known = onnxruntime.get_available_providers()
    if required and _CUDA not in known:
        raise SettingsError(
            f"device: expected one that ONNX Runtime offers here ({', '.join(known)}), got cuda; install "
            "onnxruntime-gpu in place of onnxruntime, or use cpu"
        )
    return _CUDA in known


def _import_openvino() -> Any:
    # Its telemetry leaves a file in the home folder when imported; where that is missing, it does without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise WeightsError(f"ONNX files need OpenVINO on a CPU ({error}): pip install openvino") from error
    return openvino


class _OpenVino:
    def __init__(self, openvino: Any, content: bytes) -> None:
        core = openvino.Core()
        model = core.read_model(content)
        described = dict(model.get_rt_info()).get("framework", {})
        self.metadata = {key: str(value.value) for key, value in described.items()}
        options = {
            "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, on all threads
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # every worker of a host would sit on the same cores
        }
        if PRECISION_KEY not in self.metadata:
            options["INFERENCE_PRECISION_HINT"] = "f32"  # what the file holds, also on CPUs that have bf16
        self._tensor = openvino.Tensor
        self._request = core.compile_model(model, "CPU", options).create_infer_request()
        self.inputs = tuple(map(_openvino_port, model.inputs))
        self.outputs = tuple(map(_openvino_port, model.outputs))

    def run(self, pictures: NDArray[np.uint8]) -> Arrays:
        self._request.set_input_tensor(self._tensor(pictures, shared_memory=True))
        self._request.infer()
        return tuple(self._request.get_output_tensor(index).data.copy() for index in range(len(self.outputs)))


def _openvino_port(port: Any) -> Port:
    shape = port.get_partial_shape()
    last = shape[len(shape) - 1]
    kind = {"u8": "uint8", "f32": "float32"}.get(port.element_type.get_type_name(), str(port.element_type))
    return Port(port.any_name, kind, len(shape), last.get_length() if last.is_static else None)


class _OnnxRuntime:
    def __init__(self, content: bytes, device: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin between batches would take the processor from decoding and storing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what fails is raised as well
        providers = [(_CUDA, {"device_id": device}), "CPUExecutionProvider"]
        self._session: Any = onnxruntime.InferenceSession(content, options, providers=providers)
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = tuple(map(_onnxruntime_port, self._session.get_inputs()))
        self.outputs = tuple(map(_onnxruntime_port, self._session.get_outputs()))

    def run(self, pictures: NDArray[np.uint8]) -> Arrays:
        return tuple(self._session.run(None, {self.inputs[0].name: pictures}))


def _onnxruntime_port(port: Any) -> Port:
    kind = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}.get(port.type, port.type)
    last = port.shape[-1] if port.shape else None
    return Port(port.name, kind, len(port.shape), last if isinstance(last, int) else None)
