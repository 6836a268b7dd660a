"""LiteRT (formerly TensorFlow Lite)."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.formats import tflite_metadata, tflite_reader
from harexport.model.contract import LOGITS_NAME
from harexport.model.layers import Array
from harexport.model.network import check_windows
from harexport.runtimes.runner import RUNTIMES, Floats, describe_error, in_batches

_INTEGERS = (np.int8, np.uint8, np.int16)


def create_interpreter(model: bytes, *, threads: int = 1, delegate: bool = True, keep_all: bool = False) -> Interpreter:
    """Build an interpreter with allocated tensors: the only place of the package that does.

    Args:
        model: The file's bytes. Never its path: LiteRT maps the file, and a truncated one ends the process (SIGBUS).
        threads: Threads of the kernels.
        delegate: Whether XNNPACK runs what it supports.
        keep_all: Whether all intermediate tensors can be read after a run.
    """
    resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with filter_info_lines():
        interpreter = Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=keep_all,
        )
        interpreter.allocate_tensors()
    return interpreter


class LiteRtModel:
    """Any .tflite graph: arrays for all inputs -> arrays of all outputs.

    Attributes:
        inputs: (shape, dtype) of each input, with 1 for an axis of open length.
        output_scales: Scales of integer outputs by name.
        is_stateless: Whether the format rules out state between two runs.
    """

    is_stateless = False

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        self.interpreter = create_interpreter(model, threads=threads)
        self._inputs = self.interpreter.get_input_details()
        self._outputs = self.interpreter.get_output_details()
        self.inputs = [(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"])) for d in self._inputs]
        scales_of = {detail["name"]: _Scale.read(detail) for detail in self._outputs}
        self.output_scales = {name: scale.scale for name, scale in scales_of.items() if scale}
        self.has_variables = tflite_reader.has_variables(model)
        kept = tflite_reader.persistent_variables(model) if self.has_variables else []
        details = self.interpreter.get_tensor_details() if kept else []
        scales = {detail["index"]: detail["quantization"][0] or 1.0 for detail in details}
        self._variables = {index: scales[index] for index in kept}
        self._initial_state = self._read_state()

    def run(self, values: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run one call. `values`: one array per input, as stored; outputs by name, integers as real values."""
        for detail, value in zip(self._inputs, values, strict=True):
            self.interpreter.set_tensor(detail["index"], value)
        self.interpreter.invoke()
        return {detail["name"]: self._read_output(detail) for detail in self._outputs}

    def state_residual(self) -> float | None:
        """Largest distance of the variable tensors from their initial values; None without variable tensors."""
        pairs = zip(self._read_state(), self._initial_state, strict=True)
        return max((float(np.abs(now - initial).max(initial=0.0)) for now, initial in pairs), default=None)

    def _read_state(self) -> list[NDArray[np.float64]]:
        return [self.interpreter.get_tensor(k).astype(np.float64) * scale for k, scale in self._variables.items()]

    def _read_output(self, detail: dict[str, Any]) -> NDArray[Any]:
        scale, values = _Scale.read(detail), self.interpreter.get_tensor(detail["index"])
        return values if scale is None else scale.dequantize(values)


class LiteRtRunner:
    """A .tflite model of windows, ours or a third party's.

    Args:
        model: The file's bytes.
        name: The model's name in error messages.
        threads: Threads of the kernels.
        output: Name of the output that holds the logits, or its index.

    Raises:
        InputError: The file is damaged, or its input is no window.
    """

    def __init__(self, model: bytes, name: str, *, threads: int = 1, output: str | int = LOGITS_NAME) -> None:
        self.name = name
        self.runtime = RUNTIMES["tflite"]
        self._bytes = model
        try:
            self._model = LiteRtModel(model, threads=threads)
        except Exception as error:  # ValueError, RuntimeError, and the file reader's errors
            raise InputError(f"{name}: LiteRT cannot load it ({describe_error(error)}); export it again") from error
        self._interpreter = self._model.interpreter
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        named = {detail["name"]: detail for detail in outputs}
        logits = named.get(output) if isinstance(output, str) else dict(enumerate(outputs)).get(output)
        shape = [int(size) for size in inputs[0]["shape"]] if len(inputs) == 1 else []
        if len(shape) != 3 or inputs[0]["dtype"] not in (np.float32, *_INTEGERS) or logits is None:
            raise InputError(
                f"{name}: its inputs are {[(value['name'], value['shape'].tolist()) for value in inputs]} and its "
                f"outputs {sorted(named)}; expected one input [windows, window, channels], float32 or integer, and an "
                f"output {output}"
            )
        if isinstance(output, str):  # our own file
            self._check_labels()
        signature = [int(size) for size in inputs[0]["shape_signature"]]
        is_open = [size == -1 for size in signature] if len(signature) == 3 else [False] * 3
        self.window_shape = (-1 if is_open[1] else shape[1], -1 if is_open[2] else shape[2])
        self.batch = None if is_open[0] else shape[0]
        self._resizes = any(is_open)
        self._shape = tuple(shape)
        self._input, self._output = int(inputs[0]["index"]), int(logits["index"])
        self._labels = int(logits["shape"][-1]) if isinstance(output, str) else None
        self._input_scale, self._output_scale = _Scale.read(inputs[0]), _Scale.read(logits)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The strings that the export wrote; empty for third-party files."""
        strings: dict[str, str] = tflite_reader.read_metadata(self._bytes, self.name)["metadata"]
        return strings

    def logits(self, windows: Array) -> Floats:
        """Run windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return in_batches(self.run_batch, windows, self._labels, self.batch, self.name)

    def run_batch(self, windows: Floats) -> Floats:
        """Run one batch [batch, window, channels] -> logits [batch, labels], without checks.

        Resets variables first where the graph has any: the fused LSTM keeps its state between invokes, and only our
        own files clear it inside the graph.
        """
        if self._model.has_variables:
            self._interpreter.reset_all_variables()
        return self.run_batch_keep_state(windows)

    def run_batch_keep_state(self, windows: Floats) -> Floats:
        """Run one batch without resetting variables, as in an app that does not reset them."""
        if self._resizes and windows.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, windows.shape)
            self._interpreter.allocate_tensors()
            self._shape = windows.shape
        values = windows if self._input_scale is None else self._input_scale.quantize(windows)
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._output)
        floats: Floats = logits if self._output_scale is None else self._output_scale.dequantize(logits)
        return floats

    def outputs(self, windows: Floats) -> dict[str, Floats]:
        """Run one batch like `run_batch_keep_state` -> all outputs by name."""
        return self._model.run([windows if self._input_scale is None else self._input_scale.quantize(windows)])

    def state_residual(self) -> float:
        """Largest distance of the variable tensors from their initial values after the last batch."""
        return self._model.state_residual() or 0.0

    def _check_labels(self) -> None:
        """Refuse a file that lost the label list behind its model: LiteRT does not notice."""
        if tflite_reader.read_metadata(self._bytes, self.name)["contract"] is None:
            return
        if not tflite_metadata.is_complete(self._bytes):
            raise InputError(f"{self.name} is truncated: its label files are missing; export it again")


def read_intermediate_values(model: bytes, window: Floats) -> list[Floats]:
    """Run `window` [1, window, channels] -> every float32 tensor of the graph.

    Uses the built-in kernels: tensors inside an XNNPACK partition cannot be read.
    """
    interpreter = create_interpreter(model, delegate=False, keep_all=True)
    (detail,) = interpreter.get_input_details()
    if tuple(detail["shape"]) != window.shape:
        interpreter.resize_tensor_input(detail["index"], window.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(detail["index"], window)
    interpreter.invoke()
    values: list[Floats] = []
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] is not np.float32:
            continue
        try:
            value = interpreter.get_tensor(tensor["index"])
        except ValueError:  # no operator has written it
            continue
        values += [value] if value.ndim else []
    return values


def arena_bytes(model: bytes) -> int:
    """Memory of all tensors that are no constants, in bytes, from the tensors' addresses.

    Uses the built-in kernels: XNNPACK plans memory of its own. Tensors that are not needed at the same time share
    memory, so the result is below the sum of their sizes. Scratch memory inside of kernels is not included.
    """
    interpreter = create_interpreter(model, delegate=False)
    file = np.frombuffer(model, np.uint8).__array_interface__["data"][0]  # constants are used in place
    spans = []
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] is np.object_:  # a handle of a resource variable
            continue
        try:
            view = interpreter.tensor(int(detail["index"]))()
        except ValueError:  # an operator allocates this tensor when it runs
            continue
        if view is None:  # not allocated
            continue
        start = view.__array_interface__["data"][0]
        if not file <= start < file + len(model):
            spans.append((start, start + view.nbytes))
    total = end = 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


@dataclass(frozen=True)
class _Scale:
    """An integer tensor's quantization: value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int
    dtype: Any

    @staticmethod
    def read(tensor: dict[str, Any]) -> _Scale | None:
        """The quantization of an interpreter's tensor; None where it holds real values."""
        scale, zero_point = tensor["quantization"]
        return _Scale(scale, zero_point, tensor["dtype"]) if scale and tensor["dtype"] in _INTEGERS else None

    def quantize(self, values: Floats) -> NDArray[Any]:
        bounds = np.iinfo(self.dtype)
        integers = np.nan_to_num(np.rint(values / self.scale) + self.zero_point)  # NaN becomes 0
        quantized: NDArray[Any] = np.clip(integers, bounds.min, bounds.max).astype(self.dtype)
        return quantized

    def dequantize(self, integers: NDArray[Any]) -> Floats:
        return ((integers.astype(np.float32) - self.zero_point) * self.scale).astype(np.float32)


@contextlib.contextmanager
def filter_info_lines() -> Iterator[None]:
    """Keep LiteRT's INFO lines off standard error: the Python package has no option for them.

    C++ writes them to file descriptor 2. All other lines are passed on when the block ends.
    """
    try:
        original = os.dup(2)
    except OSError:  # a program without standard error
        yield
        return
    with tempfile.TemporaryFile() as captured:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            captured.seek(0)
            for line in captured.read().splitlines(keepends=True):
                if not line.startswith(b"INFO: "):
                    os.write(2, line)
