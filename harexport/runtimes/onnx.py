"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import LOGITS_NAME
from harexport.model.layers import Array
from harexport.model.network import check_windows
from harexport.runtimes.runner import RUNTIMES, Floats, describe_error, in_batches, redirect_native_stdout

with redirect_native_stdout():  # some builds print a banner
    import onnxruntime

_FATAL = 4  # onnxruntime's log severity: errors also arrive as exceptions
_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")


def create_session(model: bytes | Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Build a session on the CPU: the only place of the package that does.

    Args:
        model: The file's bytes, or its path where the weights are in files beside it.
        threads: Threads within an operator; operators run one after the other.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _FATAL
    source = str(model) if isinstance(model, Path) else model
    with redirect_native_stdout():
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class OnnxModel:
    """Any .onnx graph: arrays for all inputs -> arrays of all outputs.

    Attributes:
        inputs: (shape, dtype) of each input, with -1 for an axis of open length.
        output_scales: Scales of integer outputs by name; always empty.
        is_stateless: Whether the format rules out state between two runs.
    """

    is_stateless = True

    def __init__(self, model: bytes | Path, *, threads: int = 1) -> None:
        self.session = create_session(model, threads=threads)
        inputs = self.session.get_inputs()
        self._input_names = [value.name for value in inputs]
        self._output_names = [value.name for value in self.session.get_outputs()]
        self.output_scales: dict[str, float] = {}
        self.inputs = [
            (tuple(n if isinstance(n, int) else -1 for n in value.shape), _numpy_dtype(value.type)) for value in inputs
        ]

    def run(self, values: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one call. `values`: one array per input; outputs by name."""
        outputs = self.session.run(self._output_names, dict(zip(self._input_names, values, strict=True)))
        return dict(zip(self._output_names, outputs, strict=True))

    def state_residual(self) -> None:
        """None: an ONNX graph has no state between two runs."""


class OnnxRunner:
    """A .onnx model of windows, ours or a third party's.

    Args:
        model: The file's bytes, or its path where the weights are in files beside it.
        name: The model's name in error messages.
        threads: Threads within an operator.
        output: Name of the output that holds the logits, or its index.

    Raises:
        InputError: The file is damaged, or its input is no window.
    """

    def __init__(self, model: bytes | Path, name: str, *, threads: int = 1, output: str | int = LOGITS_NAME) -> None:
        self.name = name
        self.runtime = RUNTIMES["onnx"]
        try:
            self._session = create_session(model, threads=threads)
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise InputError(
                f"{name}: ONNX Runtime cannot load it ({describe_error(error)}); export it again"
            ) from error
        named = {value.name: value for value in outputs}
        logits = named.get(output) if isinstance(output, str) else dict(enumerate(outputs)).get(output)
        shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        is_fixed = all(isinstance(size, int) for size in shape[1:])
        if len(shape) != 3 or logits is None or (isinstance(output, str) and not is_fixed):
            raise InputError(
                f"{name}: its inputs are {[(value.name, value.type, value.shape) for value in inputs]} and its outputs "
                f"{sorted(named)}; expected one float input [windows, window, channels] and an output {output}"
            )
        window, channels = (size if isinstance(size, int) else -1 for size in shape[1:])
        self.window_shape = (window, channels)
        self.batch = shape[0] if isinstance(shape[0], int) else None
        self._input, self._output_names = inputs[0].name, [logits.name]
        self._all_outputs = [value.name for value in outputs]
        self._labels = int(logits.shape[-1]) if isinstance(output, str) else None

    @property
    def metadata(self) -> dict[str, str]:
        """The strings of the file's metadata_props."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def logits(self, windows: Array) -> Floats:
        """Run windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return in_batches(self.run_batch, windows, self._labels, self.batch, self.name)

    def run_batch(self, windows: Floats) -> Floats:
        """Run one batch [batch, window, channels] -> logits [batch, labels], without checks."""
        logits: Floats = self._session.run(self._output_names, {self._input: windows})[0]
        return logits

    def outputs(self, windows: Floats) -> dict[str, Floats]:
        """Run one batch -> all outputs by name."""
        return dict(zip(self._all_outputs, self._session.run(self._all_outputs, {self._input: windows}), strict=True))


def read_intermediate_values(model: bytes, window: Floats) -> list[Floats]:
    """Run `window` [1, window, channels] -> every float32 tensor of the graph, by making all of them outputs."""
    import onnx

    file = onnx.load_from_string(model)
    for k, node in enumerate(file.graph.node):
        if node.op_type in _RECURRENT and node.output and not node.output[0]:
            node.output[0] = f"harexport.sequence.{k}"  # the states of all steps, an optional output
    known = {output.name for output in file.graph.output}
    added = [name for node in file.graph.node for name in node.output if name and name not in known]
    file.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in added)
    session = create_session(file.SerializeToString())
    (detail,) = session.get_inputs()
    values: list[Floats] = session.run(None, {detail.name: window})
    return [value for value in values if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim]


def _numpy_dtype(kind: str) -> np.dtype[Any]:
    """The dtype of ONNX Runtime's "tensor(float)"; object where NumPy has none, as for strings and sequences."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype({"float": "float32", "double": "float64"}.get(name, name))
    except TypeError:
        return np.dtype(object)
