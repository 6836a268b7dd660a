"""Rules of performance and use: problems that make a model slow, large or easy to misuse."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harexport.formats.macs import LOOPS
from harexport.formats.model_file import Tensor, format_shape
from harexport.inspection.rules import Finding, Rule, RuleContext, join_names
from harexport.utils.tables import pluralize

_BRANCHES = ("IF", "If", "STABLEHLO_CASE")
_MANY_OPERATORS = 1000
_REPEATED_SHARE = 0.1  # of the file
_MAX_CHANNELS = 32  # a shorter axis before a longer one is probably the axis of sensor channels
_SHAPE_OPERATORS = ("Shape", "ConstantOfShape", "Expand", "Range")  # PyTorch's exporter computes sizes with them
_NAMED_OUTPUT = re.compile(r"logit|prob|softmax|score", re.IGNORECASE)
_PROBABILITY_OPERATORS = ("SOFTMAX", "Softmax")
_LOGIT_OPERATORS = ("FULLY_CONNECTED", "Gemm", "MatMul", "Add", "ADD", "BATCH_MATMUL")
_NUMBERS = ("float", "int8", "uint8")  # dtypes of sensor values and of outputs begin so


def _check_control_flow(context: RuleContext) -> Iterator[Finding]:
    if count := context.count(*LOOPS):
        yield Finding(
            "loop",
            "note" if context.model.format == "tflite" else "warning",
            f"{pluralize(count, 'loop')}: each step has the runtime's overhead, and delegates for GPUs and other "
            "accelerators leave it to the CPU.",
            "Compute the products with all inputs before the loop, or unroll a short sequence.",
        )
    if count := context.count(*_BRANCHES):
        yield Finding(
            "branch",
            "warning",
            f"{pluralize(count, 'branch', 'branches')}: time depends on the input, and delegates stop there.",
            "Export in inference mode, so that conditions are constants.",
        )


def _check_size(context: RuleContext) -> Iterator[Finding]:
    model = context.model
    count = sum(model.ops.values())
    if count > _MANY_OPERATORS:
        structure = sum(part.size_bytes for part in model.size_breakdown if part.name == "structure")
        yield Finding(
            "unrolled",
            "warning",
            f"{count:,} operators: loading takes longer, and {structure / 1000:.0f} KB of the file describe them.",
            "Use a loop or a fused LSTM operator, or fewer steps (several samples per step).",
        )
    if model.repeated_bytes > _REPEATED_SHARE * model.size_bytes:
        yield Finding(
            "repeated-weights",
            "warning",
            f"{model.repeated_bytes / 1000:.1f} KB of weights are in the file more than once.",
            "Let equal constants share one buffer.",
        )
    halves = [weight for weight in model.weights if weight.dtype in ("float16", "bfloat16")]
    if halves:
        yield Finding(
            "float16-weights",
            "note",
            f"{pluralize(len(halves), 'weight')} in {halves[0].dtype}: half the file, but a CPU converts them to "
            "float32, so neither memory nor time is saved.",
            "Fine for download size; int8 weights save more.",
        )


def _check_shape_computations(context: RuleContext) -> Iterator[Finding]:
    if context.model.format != "onnx":
        return
    counts = {kind: context.count(kind) for kind in (*_SHAPE_OPERATORS, "Transpose") if context.count(kind)}
    if counts:
        yield Finding(
            "shape-chains",
            "note" if set(counts) == {"Transpose"} else "warning",
            f"{join_names(f'{count} {kind}' for kind, count in counts.items())}: it computes sizes or transposes data "
            "at run time, which constants could replace.",
            "Export with fixed sizes and simplify (onnxslim); a sequence-first LSTM needs no Transpose.",
        )


def _check_inputs(context: RuleContext) -> Iterator[Finding]:
    for tensor in context.model.inputs:
        shape = format_shape(tensor.shape)
        if tensor.dtype in ("int64", "float64", "uint64"):
            yield Finding(
                "wide-input",
                "warning",
                f"The input {tensor.name} is {tensor.dtype}: tensors and delegates of phones have 32 bits.",
                "Export it with float32 or int32 inputs.",
            )
        if tensor.quantization:
            scale, zero = tensor.quantization.scales[0], (tensor.quantization.zero_points or (0,))[0]
            yield Finding(
                "quantized-input",
                "note",
                f"The input {tensor.name} is {tensor.dtype}: the app must write value / {scale:.6g} {zero:+d}, rounded "
                "and limited to its range.",
                "Convert with float inputs, unless the sensor itself is an integer one.",
            )
        if open_axes := [k for k, size in enumerate(tensor.shape) if not isinstance(size, int)]:
            only_batch = open_axes == [0] and len(tensor.shape) > 1
            which = "an open batch" if only_batch else "an open size: memory cannot be planned ahead"
            yield Finding(
                "dynamic-shape",
                "note" if only_batch else "warning",
                f"The input {tensor.name} {shape} has {which}; delegates of phones need fixed sizes.",
                "Export with the sizes that the app uses.",
            )
        if tensor.dtype.startswith(_NUMBERS):
            yield from _check_axes(tensor)


def _check_axes(tensor: Tensor) -> Iterator[Finding]:
    """Windows are [1, samples, channels] here and in Keras, [1, channels, samples] in PyTorch's Conv1d."""
    shape, name = tensor.shape, f"The input {tensor.name} {format_shape(tensor.shape)}"
    long = [size for size in shape[1:] if not isinstance(size, int) or size > 1]
    if len(shape) == 2 and isinstance(shape[0], int) and shape[0] > 1 and long:
        yield Finding(
            "no-batch",
            "note",
            f"{name} has no batch axis: code for [1, samples, channels] fails.",
            "Add the axis before the export.",
        )
        long = [shape[0], *long]
    match long:
        case [int(first), int(second)] if first < second and first <= _MAX_CHANNELS:
            yield Finding(
                "transposed-input",
                "warning",
                f"{name} looks like channels before samples: a window [{second}, {first}] copied without a transpose "
                "is misread, without an error.",
                "Transpose each window in the app, or put the transposition into the graph.",
            )


def _check_outputs(context: RuleContext) -> Iterator[Finding]:
    model, graph = context.model, context.model.main
    names = {index: name for s in model.signatures if s.graph == 0 for name, index in s.outputs.items()}
    for index in graph.outputs:
        tensor, producer = graph.tensors[index], graph.producer(index)
        texts = f"{tensor.name} {names.get(index, '')}"
        if not tensor.dtype.startswith(_NUMBERS) or _NAMED_OUTPUT.search(texts):
            continue
        what = None
        sums_to_one = context.run is not None and tensor.name in context.run.probabilities
        if sums_to_one or (producer and producer.kind in _PROBABILITY_OPERATORS):
            what = "probabilities"
        elif producer and producer.kind in _LOGIT_OPERATORS:
            what = "logits (no softmax in the file)"
        if what:
            yield Finding(
                "unnamed-output",
                "note",
                f"The output {names.get(index, tensor.name)} is {what}, which its name does not show: a second "
                "softmax, or a missing one, makes every confidence wrong.",
                "Name outputs logits and probabilities.",
            )
    if model.format == "tflite" and not model.signatures:
        yield Finding(
            "no-signature",
            "note",
            "It has no signature: only their order identifies inputs and outputs.",
            "Convert from a SavedModel or a Keras model, which writes one.",
        )


def _check_contract(context: RuleContext) -> Iterator[Finding]:
    if context.model.contract is None:
        yield Finding(
            "no-contract",
            "note",
            "It does not declare what it expects: rate, units, order of channels, normalization, labels.",
            "Document them with the model; harexport writes its contract into the file.",
        )


PERFORMANCE_RULES: tuple[Rule, ...] = (
    _check_control_flow,
    _check_size,
    _check_shape_computations,
    _check_inputs,
    _check_outputs,
    _check_contract,
)
