"""Multiply-accumulate operations (MACs) of one run, by kind of operator.

Matrix products and convolutions are counted; elementwise operations (gates, biases, activations) are not. With T steps
and batch B:
- fully connected, Gemm, MatMul: rows * inputs * outputs
- convolution: outputs * kernel height * kernel width * channels read per output
- transposed convolution: inputs * kernel height * kernel width * channels written per input
- LSTM, GRU, RNN: T * B * size of the weight matrices
- WHILE, Loop, Scan: the body times the trip count, or once if the file does not determine the trip count
- IF: the larger branch
A dynamic axis counts as 1.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

from harexport.formats.model_file import Graph, ModelFile, Operator, Tensor

_MAX_DEPTH = 16  # of nested graphs
_MAX_COUNT = 1 << 62  # the dimensions of a damaged file have no limit
# Positions of the weight matrices among the inputs of TensorFlow Lite's recurrent operators (kernels/*.cc).
_TFLITE_RECURRENT: dict[str, tuple[int, ...]] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
    "LSTM": (*range(1, 9), 16),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6),
    "SVDF": (1, 2),
}
# Convolutions: positions of filter and input, and the axes of the filter that are multiplied with each value of the
# output (True) or of the input (False).
_CONVOLUTIONS: dict[str, tuple[int, int, slice, bool]] = {
    "CONV_2D": (1, 0, slice(1, None), True),  # [outputs, height, width, inputs]
    "DEPTHWISE_CONV_2D": (1, 0, slice(1, 3), True),  # [1, height, width, outputs]
    "CONV_3D": (1, 0, slice(0, 4), True),  # [depth, height, width, inputs, outputs]
    "TRANSPOSE_CONV": (1, 2, slice(0, 3), False),  # [outputs, height, width, inputs]
    "Conv": (1, 0, slice(1, None), True),  # [outputs, inputs of a group, *kernel]
    "ConvInteger": (1, 0, slice(1, None), True),
    "QLinearConv": (3, 0, slice(1, None), True),
    "com.microsoft.FusedConv": (1, 0, slice(1, None), True),
    "ConvTranspose": (1, 0, slice(1, None), False),  # [inputs, outputs of a group, *kernel]
}
_ONNX_RECURRENT = ("LSTM", "GRU", "RNN", "com.microsoft.DynamicQuantizeLSTM")
_PRODUCTS = (
    "BATCH_MATMUL", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "com.microsoft.DynamicQuantizeMatMul",
    "com.microsoft.MatMulIntegerToFloat", "com.microsoft.FusedMatMul", "com.microsoft.FusedGemm", "com.microsoft.QGemm",
)  # fmt: skip
_ALL = {*_TFLITE_RECURRENT, *_CONVOLUTIONS, *_ONNX_RECURRENT, *_PRODUCTS, "FULLY_CONNECTED"}
LOOPS = ("WHILE", "STABLEHLO_WHILE", "Loop", "Scan")


@dataclass(frozen=True)
class Macs:
    """MACs by operator kind, largest first, without operators that have none.

    Attributes:
        kinds: MACs by kind of operator.
        complete: Whether all axis lengths and trip counts are in the file.
    """

    kinds: dict[str, int]
    complete: bool

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


def count_macs(contents: ModelFile) -> Macs:
    """Count the MACs of one run of the main graph."""
    counter = _Counter(contents)
    kinds = counter.graph(0, 0)
    return Macs({kind: number for kind, number in kinds.most_common() if number}, counter.complete)


def matmul_input_dtypes(contents: ModelFile) -> list[str]:
    """Return the types of the activations that matrix products, convolutions and recurrent operators read."""
    found = []
    for graph in contents.graphs:
        for op in graph.ops:
            source = _CONVOLUTIONS[op.kind][1] if op.kind in _CONVOLUTIONS else 0
            if op.kind in _ALL and source < len(op.inputs) and (tensor := graph.tensor_at(op.inputs[source])):
                found.append(tensor.dtype)
    return found


class _Counter:
    """Counts MACs; `complete` becomes False if an axis length or a trip count is not in the file."""

    def __init__(self, contents: ModelFile) -> None:
        self.complete = True
        self._contents = contents
        self._tflite = contents.format == "tflite"
        self._known: dict[int, Counter[str]] = {}
        self._active: set[int] = set()  # graphs that are being counted

    def graph(self, number: int, depth: int) -> Counter[str]:
        if number in self._known:
            return self._known[number]
        total = Counter[str]()
        if depth > _MAX_DEPTH or number in self._active:
            self.complete = False
            return total
        self._active.add(number)
        graph = self._contents.graphs[number]
        for op in graph.ops:
            total += self._bodies(graph, op, depth) if op.bodies else Counter({op.kind: self._op(graph, op)})
        self._active.remove(number)
        self._known[number] = total = Counter({kind: min(count, _MAX_COUNT) for kind, count in total.items()})
        return total

    def _bodies(self, graph: Graph, op: Operator, depth: int) -> Counter[str]:
        if op.kind == "CALL_ONCE":  # runs when the model is loaded
            return Counter()
        inside = [self.graph(body, depth + 1) for body in op.bodies]
        if op.kind in ("IF", "If"):
            return max(inside, key=lambda kinds: kinds.total())
        total = Counter[str]()
        for kinds in inside:
            total += kinds
        if op.kind in LOOPS and total:
            trips = trip_count(self._contents, graph, op)
            self.complete &= trips is not None
            total = Counter({kind: number * (1 if trips is None else trips) for kind, number in total.items()})
        return total

    def _op(self, graph: Graph, op: Operator) -> int:
        values = [graph.tensor_at(k) for k in (*op.inputs, *[-1] * (34 - len(op.inputs)))]
        output = graph.tensor_at(op.outputs[0]) if op.outputs else None
        if op.kind in _CONVOLUTIONS:
            position, source, axes, by_output = _CONVOLUTIONS[op.kind]
            return self._size(output if by_output else values[source]) * self._size(values[position], axes)
        if op.kind in _PRODUCTS:
            is_transposed = op.options.get("transA") or op.options.get("adjX")
            return self._size(output) * self._size(values[0], slice(-2, -1) if is_transposed else slice(-1, None))
        if op.kind == "FULLY_CONNECTED":
            return self._size(values[0]) * self._size(values[1], slice(0, 1))
        weights: tuple[int, ...] = ()
        if self._tflite:
            weights = _TFLITE_RECURRENT.get(op.kind, ())
        elif op.kind in _ONNX_RECURRENT:
            weights = (1, 2)
        matrices = sum(self._size(values[position]) for position in weights)
        return matrices and matrices * self._size(values[0], slice(0, -1))  # [T, B, inputs] or [B, T, inputs]

    def _size(self, tensor: Tensor | None, axes: slice = slice(None)) -> int:
        """Return the product of some axes of a tensor; 0 for a missing one."""
        product = 1 if tensor else 0
        for size in tensor.shape[axes] if tensor else ():
            if isinstance(size, int):
                product *= size
            else:
                self.complete = False
        return product


def trip_count(contents: ModelFile, graph: Graph, op: Operator) -> int | None:
    """Return the number of iterations of a loop; None if the file does not determine it."""
    if op.kind == "Loop":
        return _scalar(graph.tensor_at(op.inputs[0])) if op.inputs else None
    if op.kind == "Scan":
        scanned = graph.tensor_at(op.inputs[-1]) if op.inputs else None
        steps = scanned.shape[0] if scanned and scanned.shape else None
        return steps if isinstance(steps, int) else None
    if len(op.bodies) != 2:
        return None
    condition, body = (contents.graphs[number] for number in op.bodies)
    if len(condition.outputs) != 1:
        return None
    bounds = [_upper_bound(graph, op, condition, body, less) for less in _conjuncts(condition, condition.outputs[0])]
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else None  # the loop ends when the first comparison fails


def _conjuncts(graph: Graph, index: int) -> list[Operator]:
    """Return the comparisons whose conjunction is the condition of a loop."""
    found, seen, pending = [], set(), [index]
    while pending:
        current = pending.pop()
        op = graph.producer(current)
        if current in seen or op is None:
            continue
        seen.add(current)
        if op.kind == "LOGICAL_AND":
            pending += op.inputs
        elif op.kind == "LESS" and len(op.inputs) == 2:
            found.append(op)
    return found


def _upper_bound(graph: Graph, op: Operator, condition: Graph, body: Graph, less: Operator) -> int | None:
    """Return the iterations until `counter < end` fails, for a counter with a constant start and increment."""
    counter, limit = less.inputs
    if counter not in condition.inputs:
        return None
    position = condition.inputs.index(counter)
    begin = _scalar(graph.tensor_at(op.inputs[position]))
    end = _scalar(condition.tensor_at(limit))
    if end is None and limit in condition.inputs:  # a loop variable that the body does not change
        carried = condition.inputs.index(limit)
        if body.inputs[carried] == body.outputs[carried]:
            end = _scalar(graph.tensor_at(op.inputs[carried]))
    increment = body.producer(body.outputs[position])
    if begin is None or end is None or increment is None or increment.kind != "ADD" or len(increment.inputs) != 2:
        return None
    steps = [_scalar(body.tensor_at(k)) for k in increment.inputs if k != body.inputs[position]]
    if len(steps) != 1 or not steps[0] or steps[0] < 0:
        return None
    return max(0, ceil((end - begin) / steps[0]))


def _scalar(tensor: Tensor | None) -> int | None:
    if tensor is None or tensor.values is None or tensor.values.size != 1 or tensor.values.dtype.kind not in "iu":
        return None
    return int(tensor.values.reshape(-1)[0])
