"""Runs and inspects the .onnx and .tflite files of other converters, with any names, layouts and types of tensors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import LOGITS_NAME
from harexport.model.network import Array

Floats = NDArray[np.float32]


class ModelRunner:
    """A file in its runtime, on one thread.

    Attributes:
        run: Run a window after a reset of the variables.
        run_keep_state: Run a window without a reset.
        invoke: In LiteRT, the duration of the invocation in nanoseconds, without copying input and output.
        input: Shape and type of the input.

    Raises:
        InputError: The runtime rejects the file.
    """

    def __init__(self, model: bytes, suffix: str, window: tuple[int, int]) -> None:
        load = _onnx if suffix == ".onnx" else _tflite
        try:
            self.run_keep_state, self._reset, self.invoke, self.input = load(model, window)
            self.run_keep_state(np.zeros((1, *window), np.float32))
        except InputError:
            raise
        except Exception as error:  # the runtimes' errors share no base class
            raise InputError((str(error).strip().splitlines() or [type(error).__name__])[0]) from error
        self.run = self.run_keep_state if self._reset is None else self._run_after_reset
        self.run(np.zeros((1, *window), np.float32))

    def _run_after_reset(self, window: Floats) -> Floats:
        assert self._reset is not None
        self._reset()
        return self.run_keep_state(window)

    def logits(self, windows: Array, reset: bool = True) -> Floats:
        run, ready = (self.run if reset else self.run_keep_state), np.ascontiguousarray(windows, dtype=np.float32)
        return np.concatenate([run(ready[k : k + 1]).reshape(1, -1) for k in range(len(ready))])


def _input_layout(shape: list[int], window: tuple[int, int]) -> tuple[tuple[int, ...], Callable[[Floats], Floats]]:
    """Return the input shape, and a function that converts [1, window, channels] to it."""
    sizes = tuple(n for n in shape if n > 1)
    for axes, expected in (((0, 1, 2), window), ((0, 2, 1), window[::-1])):
        if sizes == expected or shape[-2:] == [-1, expected[1]]:
            wanted = tuple(1 if n < 1 else n for n in shape) if sizes == expected else (1, *expected)
            if axes == (0, 1, 2) and wanted == (1, *window):
                return wanted, lambda x: x
            return wanted, lambda x: np.ascontiguousarray(x.transpose(axes)).reshape(wanted)  # noqa: B023
    raise InputError(f"its input is {shape}, not a window {list(window)}")


def _tflite(model: bytes, window: tuple[int, int]) -> tuple[Callable[[Floats], Floats], Any, Any, str]:
    from ai_edge_litert.interpreter import Interpreter

    from harexport.formats.tflite_reader import has_variables
    from harexport.runtimes.litert import filter_info_lines

    with filter_info_lines():
        interpreter = Interpreter(model_content=model, num_threads=1)
        reads = interpreter.get_input_details()
        if len(reads) != 1:
            raise InputError(f"it has {len(reads)} inputs")
        shape, convert = _input_layout([int(n) for n in reads[0]["shape_signature"]], window)
        if shape != tuple(reads[0]["shape"]):
            interpreter.resize_tensor_input(reads[0]["index"], shape)
        interpreter.allocate_tensors()
    outputs = interpreter.get_output_details()
    chosen = next((output_value for output_value in outputs if output_value["name"] == LOGITS_NAME), outputs[0])
    index, output = int(reads[0]["index"]), int(chosen["index"])
    encode, decode = _quantization(reads[0]), _quantization(chosen)
    plain = convert if encode is None else (lambda x: encode[0](convert(x)))

    def run(x: Floats) -> Floats:
        interpreter.set_tensor(index, plain(x))
        interpreter.invoke()
        output_value: Floats = interpreter.get_tensor(output)
        return output_value if decode is None else decode[1](output_value)

    def invoke(x: Floats) -> int:
        interpreter.set_tensor(index, plain(x))
        start = time.perf_counter_ns()
        interpreter.invoke()
        return time.perf_counter_ns() - start

    reset = interpreter.reset_all_variables if has_variables(model) else None
    return run, reset, invoke, f"{list(shape)} {np.dtype(reads[0]['dtype']).name}"


def _quantization(detail: dict[str, Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    """Return functions that quantize and dequantize a tensor; None for floats."""
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return None
    scale, zero = detail["quantization"]
    bounds = np.iinfo(dtype)
    return (
        lambda x: np.clip(np.round(x / scale) + zero, bounds.min, bounds.max).astype(dtype),
        lambda q: (q.astype(np.float32) - zero) * np.float32(scale),
    )


def _onnx(model: bytes, window: tuple[int, int]) -> tuple[Callable[[Floats], Floats], None, None, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (read,) = session.get_inputs()
    shape, convert = _input_layout([n if isinstance(n, int) else -1 for n in read.shape], window)
    names = [output.name for output in session.get_outputs()]
    chosen, name = [LOGITS_NAME if LOGITS_NAME in names else names[0]], read.name

    def run(x: Floats) -> Floats:
        output_value: Floats = session.run(chosen, {name: convert(x)})[0]
        return output_value

    return run, None, None, f"{list(shape)} {read.type}"


def inspect_file(model: bytes, suffix: str) -> dict[str, Any]:
    """Return operators, graphs, variables, cell clips, custom operators and the bytes of weights by type, as JSON."""
    return _inspect_onnx(model) if suffix == ".onnx" else _inspect_tflite(model)


def _inspect_tflite(model: bytes) -> dict[str, Any]:
    from ai_edge_litert import schema_py_generated as schema

    from harexport.formats import tflite_reader

    file = tflite_reader.unpack(model, "model")
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
    names = [(code.customCode or b"").decode() or tflite_reader.operator_name(code) for code in file.operatorCodes]
    operators = [operator for graph in file.subgraphs for operator in graph.operators]
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    weights: dict[int, tuple[str, int]] = {}
    for tensor in tensors:
        size = len(tflite_reader.buffer_data(file, tensor.buffer))
        if size and sum(int(n) > 1 for n in ([] if tensor.shape is None else tensor.shape)) > 1:
            weights[tensor.buffer] = types[tensor.type], size
    return {
        "ops": dict(Counter(names[operator.opcodeIndex] for operator in operators).most_common()),
        "graphs": len(file.subgraphs),
        "variables": sum(bool(tensor.isVariable) for tensor in tensors),
        "cell_clips": [
            float(operator.builtinOptions.cellClip)
            for operator in operators
            if "LSTM" in names[operator.opcodeIndex] and hasattr(operator.builtinOptions, "cellClip")
        ],
        "custom": sorted({name for code, name in zip(file.operatorCodes, names, strict=True) if code.customCode}),
        "weight_bytes": _by_dtype(weights.values()),
    }


def _inspect_onnx(model: bytes) -> dict[str, Any]:
    import onnx

    file = onnx.load_from_string(model)
    clips = [a.f for node in file.graph.node for a in node.attribute if (node.op_type, a.name) == ("LSTM", "clip")]
    constants = [
        *file.graph.initializer,
        *(a.t for node in file.graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value"),
    ]
    weights = [
        (str(onnx.helper.tensor_dtype_to_np_dtype(t.data_type)), onnx.numpy_helper.to_array(t).nbytes)
        for t in constants
        if sum(n > 1 for n in t.dims) > 1
    ]
    return {
        "ops": dict(Counter(node.op_type for node in file.graph.node).most_common()),
        "graphs": 1,
        "variables": 0,
        "cell_clips": clips,
        "custom": sorted({node.op_type for node in file.graph.node if node.domain not in ("", "ai.onnx")}),
        "weight_bytes": _by_dtype(weights),
    }


def _by_dtype(weights: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for dtype, size in weights:
        total[dtype] += size
    return dict(total.most_common())
