"""Traps of files that work: slow, large, or easily misused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from harexport.inspecting.contents import Size, Tensor
from harexport.inspecting.trap import Seen, Trap, listed, number

_LOOPS = ("WHILE", "STABLEHLO_WHILE", "Loop", "Scan")
_BRANCHES = ("IF", "If", "STABLEHLO_CASE")
_MANY_OPS = 1000
_REPEATED = 0.1  # of the file
_MOST_CHANNELS = 32  # an axis shorter than that, before a longer one, is likely one of sensor channels
_CHAIN = ("Shape", "ConstantOfShape", "Expand", "Range")  # what PyTorch's exporter computes sizes with
_SAYS_WHAT = re.compile(r"logit|prob|softmax|score", re.IGNORECASE)
_PROBABILITY_OPS = ("SOFTMAX", "Softmax")
_LOGIT_OPS = ("FULLY_CONNECTED", "Gemm", "MatMul", "Add", "ADD", "BATCH_MATMUL")


def _loops(seen: Seen) -> Iterator[Trap]:
    if count := seen.count(*_LOOPS):
        yield Trap(
            "loop",
            "warning",
            f"{number(count, 'loop')}: each step pays the runtime's overhead, 5 times the fused LSTM's time in our "
            "measurements, and delegates leave it to the CPU.",
            "Use the fused LSTM operator, or unroll a short sequence.",
        )
    if count := seen.count(*_BRANCHES):
        yield Trap(
            "branch",
            "warning",
            f"{number(count, 'branch', 'branches')}: time depends on the input, and delegates stop there.",
            "Export in inference mode, so that conditions are constants.",
        )


def _size(seen: Seen) -> Iterator[Trap]:
    count = sum(seen.held.ops.values())
    if count > _MANY_OPS:
        structure = sum(part.size_bytes for part in seen.held.parts if part.name == "structure")
        yield Trap(
            "unrolled",
            "warning",
            f"{count:,} operators: loading takes longer, and {structure / 1000:.0f} KB of the file describe them.",
            "Use a fused LSTM operator, or fewer steps (several samples a step).",
        )
    if seen.held.repeated_bytes > _REPEATED * seen.held.size_bytes:
        yield Trap(
            "repeated-weights",
            "warning",
            f"{seen.held.repeated_bytes / 1000:.1f} KB of weights are in the file more than once.",
            "Let equal constants share one buffer.",
        )
    halves = [weight for weight in seen.held.weights if weight.dtype in ("float16", "bfloat16")]
    if halves:
        yield Trap(
            "float16-weights",
            "note",
            f"{number(len(halves), 'weight')} in {halves[0].dtype}: half the file, but on a CPU they are widened to "
            "float32, so neither memory nor time is saved.",
            "Fine for download size; int8 weights save more.",
        )


def _chains(seen: Seen) -> Iterator[Trap]:
    if seen.held.format != "onnx":
        return
    chain, transposes = seen.count(*_CHAIN), seen.count("Transpose")
    if chain or transposes:
        found = {kind: seen.count(kind) for kind in (*_CHAIN, "Transpose") if seen.count(kind)}
        counted = listed(f"{count} {kind}" for kind, count in found.items())
        yield Trap(
            "shape-chains",
            "warning" if chain else "note",
            f"{counted}: it computes sizes or turns data round at run time, which constants could say.",
            "Export with fixed sizes and simplify (onnxslim); a sequence-first LSTM needs no Transpose.",
        )


def _input_shapes(seen: Seen) -> Iterator[Trap]:
    for tensor in seen.held.inputs:
        if tensor.dtype in ("int64", "float64", "uint64"):
            yield Trap(
                "wide-input",
                "warning",
                f"The input {tensor.name} is {tensor.dtype}: phones' tensors and delegates are 32 bits wide.",
                "Export it with float32 or int32 inputs.",
            )
        if tensor.quantisation:
            scale, zero = tensor.quantisation.scales[0], (tensor.quantisation.zero_points or (0,))[0]
            yield Trap(
                "quantised-input",
                "note",
                f"The input {tensor.name} is {tensor.dtype}: the app must write value / {scale:.6g} {zero:+d}, rounded "
                "and limited to its range.",
                "Convert with float inputs, unless the sensor itself is an integer one.",
            )
        unknown = [k for k, size in enumerate(tensor.shape) if not isinstance(size, int)]
        if unknown:
            only_batch = unknown == [0] and len(tensor.shape) > 1
            costs = "an open batch" if only_batch else "an open size: memory cannot be planned ahead"
            yield Trap(
                "dynamic-shape",
                "note" if only_batch else "warning",
                f"The input {tensor.name} {_shape(tensor.shape)} has {costs}; phones' delegates want fixed sizes.",
                "Export with the sizes that the app uses.",
            )
        yield from _orientation(tensor)


def _orientation(tensor: Tensor) -> Iterator[Trap]:
    """Windows are [1, samples, channels] in this project and in Keras, [1, channels, samples] in PyTorch's Conv1d."""
    if not tensor.dtype.startswith(("float", "int8", "uint8")):
        return
    long = [size for size in tensor.shape[1:] if not isinstance(size, int) or size > 1]
    if len(tensor.shape) == 2 and isinstance(tensor.shape[0], int) and tensor.shape[0] > 1 and long:
        yield Trap(
            "no-batch",
            "note",
            f"The input {tensor.name} {_shape(tensor.shape)} has no batch axis: code for [1, samples, channels] fails.",
            "Add the axis before the export.",
        )
        long = [*tensor.shape[:1], *long]
    match long:
        case [int(first), int(second)] if first < second and first <= _MOST_CHANNELS:
            yield Trap(
                "transposed-input",
                "warning",
                f"The input {tensor.name} {_shape(tensor.shape)} looks like channels before samples: a window "
                f"[{second}, {first}] copied as it lies in memory is read scrambled, without an error.",
                "Transpose each window in the app, or put the transposition into the graph.",
            )


def _outputs(seen: Seen) -> Iterator[Trap]:
    graph = seen.held.main
    names = {index: name for s in seen.held.signatures if s.graph == 0 for name, index in s.outputs.items()}
    for index in graph.outputs:
        tensor, maker = graph.tensors[index], graph.maker(index)
        called = f"{tensor.name} {names.get(index, '')}"
        if not tensor.dtype.startswith(("float", "int8", "uint8")) or _SAYS_WHAT.search(called):
            continue
        sums = seen.verdict is not None and tensor.name in seen.verdict.probabilities
        what = None
        if sums or (maker and maker.kind in _PROBABILITY_OPS):
            what = "probabilities"
        elif maker and maker.kind in _LOGIT_OPS:
            what = "logits (no softmax in the file)"
        if what:
            yield Trap(
                "unnamed-output",
                "note",
                f"The output {names.get(index, tensor.name)} is {what}, which its name does not say: a second softmax, "
                "or a missing one, makes every confidence wrong.",
                "Name outputs logits and probabilities.",
            )
    if seen.held.format == "tflite" and not seen.held.signatures:
        yield Trap(
            "no-signature",
            "note",
            "It has no signature: inputs and outputs can only be told apart by their order.",
            "Convert from a SavedModel or a Keras model, which writes one.",
        )


def _contract(seen: Seen) -> Iterator[Trap]:
    if seen.held.contract is None:
        yield Trap(
            "no-contract",
            "note",
            "It does not say what it expects: rate, units, order of channels, normalisation, labels.",
            "Write them beside the model; harexport puts its contract into the file.",
        )


def _shape(shape: tuple[Size, ...]) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"


LOOKS: tuple[Callable[[Seen], Iterator[Trap]], ...] = (
    _loops, _size, _chains, _input_shapes, _outputs, _contract,
)  # fmt: skip
