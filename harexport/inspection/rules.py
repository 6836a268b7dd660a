"""Traps that stop a model, or make it answer something else than what was trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harexport.formats import op_versions
from harexport.formats.macs import Macs
from harexport.formats.model_file import FLOATS, ModelFile, Size, Tensor
from harexport.inspection.findings import SEVERITIES, Seen, Severity, Trap, listed, number, sentence
from harexport.runtimes.sandbox import SandboxResult

_TFLITE_LSTMS = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM")
_RECURRENT = (*_TFLITE_LSTMS, "GRU", "RNN", "com.microsoft.DynamicQuantizeLSTM")
# ONNX's operators that multiply uint8 with weights, and the largest int8 weight with which two products fit in 16 bits.
_BY_UINT8 = ("com.microsoft.DynamicQuantizeLSTM", "com.microsoft.DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger")
_NO_MORE = 64
_MODERN_ONNX_RUNTIME = "1.12"  # of 2022; apps carry their own, and few of them the latest
_FEW = 0.1  # converters leave small tensors in floats, and that is no trap
# What converters and people write into names and descriptions of quantised files.
_CLAIMS_INT8 = re.compile(r"int8|quant(ized|ised)?(?![a-z])|(?<![a-z])q8|dynamic[_-]?range", re.IGNORECASE)


def _refused(seen: Seen) -> Iterator[Trap]:
    verdict = seen.verdict
    if verdict and verdict.error and not any(op.custom for op in seen.ops):
        advice = "Do not ship it: it would end the app." if verdict.killed else "Export it again."
        yield Trap("does-not-run", "danger", sentence(verdict.error), advice)
    if verdict and not verdict.error and not verdict.is_finite:
        yield Trap(
            "no-numbers",
            "danger",
            "Its answer to random numbers is NaN or infinite.",
            "Look at its weights, and at the scale that it expects of its input.",
        )
    if seen.held.problem:
        yield Trap("invalid", "warning", sentence(f"ONNX's checker: {seen.held.problem}"), "Export it again.")
    if missing := [name for name, size in seen.held.external.items() if size is None]:
        yield Trap(
            "weights-elsewhere",
            "danger",
            f"Its weights are in {listed(missing)}, which cannot be found beside it.",
            "Put the file there, or save the model with its weights inside.",
        )
    elif seen.held.external:
        yield Trap(
            "weights-elsewhere",
            "warning",
            f"Its weights are in {listed(seen.held.external)}: without that file it does not load.",
            "Ship both under these names, or save it with the weights inside (external_data=False).",
        )


def _custom(seen: Seen) -> Iterator[Trap]:
    custom = {op.kind for op in seen.ops if op.custom}
    flex = {kind for kind in custom if kind.startswith("Flex")}
    contrib = {kind for kind in custom if kind.startswith("com.microsoft.")}
    if flex:
        yield Trap(
            "flex-ops",
            "danger",
            f"{listed(sorted(flex))}: needs TensorFlow's Flex delegate, which adds megabytes to the app and is not in "
            "Google Play services.",
            "Convert with TFLITE_BUILTINS only; an LSTM with a fixed batch of 1.",
        )
    if contrib:
        yield Trap(
            "contrib-ops",
            "warning",
            f"{listed(sorted(contrib))}: only ONNX Runtime has these operators, and not every build of it.",
            "Ship the full onnxruntime package, or export without them.",
        )
    if others := custom - flex - contrib:
        yield Trap(
            "custom-ops",
            "danger",
            f"{listed(sorted(others))}: no stock runtime has these operators.",
            "Ship and register their code with the app, or export without them.",
        )


def _runtime_version(seen: Seen) -> Iterator[Trap]:
    runtime, version = seen.held.min_runtime
    said = seen.held.versions
    if runtime == "ONNX Runtime":
        if op_versions.version_key(version) > op_versions.version_key(_MODERN_ONNX_RUNTIME):
            yield Trap(
                "new-runtime",
                "warning",
                f"Opset {said['opset']} with IR version {said['ir']} needs ONNX Runtime {version}: apps that carry an "
                "older one refuse the file.",
                "Export with opset 13 to 17 and IR version 8 or lower, or update the app's runtime.",
            )
        return
    if op_versions.version_key(version) > op_versions.version_key(op_versions.MIN_TFLITE):
        kinds = {(op.kind, op.version) for op in seen.ops if not op.custom}
        late = [f"{kind} {number}" for kind, number in sorted(kinds) if op_versions.min_tflite([(kind, number)]) == version]
        yield Trap(
            "new-runtime",
            "warning",
            f"{listed(late)}: needs TensorFlow Lite {version}; an older one refuses the file.",
            "Ship the runtime with the app, or write lower operator versions.",
        )
        claimed = said.get("min_runtime_version", version)
        if op_versions.version_key(claimed)[:2] < op_versions.version_key(version)[:2]:
            yield Trap(
                "understated-runtime",
                "warning",
                f"It says that TensorFlow Lite {claimed} is enough, but its operators need {version}.",
                "Go by the operators.",
            )


def _integer_lstm(seen: Seen) -> Iterator[Trap]:
    reads = [
        graph.tensors[op.inputs[0]].dtype
        for graph in seen.held.graphs
        for op in graph.ops
        if op.kind in _TFLITE_LSTMS and op.inputs and op.inputs[0] >= 0
    ]
    # ours, whose states an operator writes, were seen to answer right there (benchmarks/old_runtime.json)
    if "int8" in reads and _kept(seen):
        yield Trap(
            "integer-lstm",
            "danger",
            "Full-integer LSTMs of TensorFlow's converter answer zeros in TensorFlow Lite 2.6, without an error.",
            "Ship a newer runtime with the app, or use int8 weights with float activations.",
        )


def _saturating(seen: Seen) -> Iterator[Trap]:
    """Activations in uint8 times weights in int8: what exporting/onnx.py says of its own."""
    wide = {
        tensor.name
        for graph in seen.held.graphs
        for op in graph.ops
        if op.kind in _BY_UINT8
        for tensor in map(graph.at, op.inputs)
        if tensor and tensor.dtype == "int8" and tensor.values is not None and tensor.count > 1
        if np.abs(tensor.values.astype(np.int16)).max() > _NO_MORE
    }
    if wide:
        yield Trap(
            "saturates",
            "warning",
            f"{listed(sorted(wide))}: ONNX Runtime multiplies these int8 weights with uint8 values, and on x86 "
            "processors without VNNI the sums saturate at 16 bits: answers are worse there than where it was tried.",
            "Quantise weights to uint8 (weight_type=QuantType.QUInt8), or to 7 bits (reduce_range=True).",
        )


def _state(seen: Seen) -> Iterator[Trap]:
    verdict, variables = seen.verdict, len(seen.held.variables) + seen.count("VAR_HANDLE")
    reset = "Call resetVariableTensors() (Python: reset_all_variables()) before every window, or export it unrolled."
    advice = reset if seen.held.format == "tflite" else "Export it without state, or set the state before every window."
    named = number(variables, "variable tensor")
    # nothing is left where the graph resets at the end; where it writes them at the beginning nothing can be
    cured = not _kept(seen) or (verdict is not None and verdict.state_residual is not None)
    if verdict and verdict.is_stateful:
        moved = f"its answer to a window changed by {verdict.change:.2g} after another window" if verdict.change else ""
        stuck = "a window of NaN is still felt three windows later" if verdict.nan_persists else ""
        left = f"a window leaves up to {verdict.state_residual or 0.0:.2g} in its {named} for the next"
        what = " and ".join(part for part in (moved, stuck) if part) or f"{left}, though random ones did not show it"
        yield Trap("state-persists", "danger", f"It remembers: {what}.", advice)
    elif variables and cured:
        yield Trap(
            "state-cured",
            "note",
            f"It has {named}, but its graph resets them for every window.",
            "LiteRT's CompiledModel and browsers refuse variable tensors all the same: use an unrolled file there.",
        )
    elif variables:
        yield Trap(
            "state-persists",
            "danger",
            f"It has {named}: what one window leaves in them, the next one may see.",
            advice,
        )
    if verdict and verdict.is_random:
        yield Trap(
            "random",
            "warning",
            "It answers the same window differently each time it is loaded: there is a random operator in it.",
            "Export in inference mode (model.eval(), training=False).",
        )
    if names := sorted(_states_handed_in(seen)):
        yield Trap(
            "state-inputs",
            "warning",
            f"{listed(names)}: the app must hand in the initial state, zeros for every new window.",
            "Make the initial state a constant of zeros before the export.",
        )


def _kept(seen: Seen) -> int:
    """How many variables no operator writes, so that they hold what the last window left."""
    tensors = sum(
        tensor.role == "variable" and graph.producer(k) is None
        for graph in seen.held.graphs
        for k, tensor in enumerate(graph.tensors)
    )
    return tensors + seen.count("VAR_HANDLE")


def _states_handed_in(seen: Seen) -> set[str]:
    """Graph inputs that an ONNX recurrent operator starts from (its inputs 5 and 6)."""
    return {
        graph.tensors[k].name
        for graph in seen.held.graphs
        for op in graph.ops
        if seen.held.format == "onnx" and op.kind in _RECURRENT
        for k in op.inputs[5:7]
        if k >= 0 and graph.tensors[k].role == "input"
    }


def _clip(seen: Seen) -> Iterator[Trap]:
    clips = {
        float(value)
        for op in seen.ops
        if op.kind in _RECURRENT
        for value in (op.options.get("cellClip"), op.options.get("clip"))
        if value
    }
    if clips:
        yield Trap(
            "cell-clip",
            "danger",
            f"Its LSTM clips the cell at {listed(f'{clip:g}' for clip in sorted(clips))}, which PyTorch and Keras do "
            "not: after long activities logits are off by 0.3 and more.",
            "Write 0 into the operator's cellClip; TensorFlow's converter always writes 10.",
        )


def _numbers(seen: Seen) -> Iterator[Trap]:
    numbers = [t for t in seen.held.constants if t.values is not None and t.values.dtype.kind in "fiu" and t.count > 1]
    for identifier, severity, test, what in _TESTS:
        if bad := [tensor.name for tensor in numbers if test(tensor.values)]:
            yield Trap(identifier, severity, f"{listed(bad)}: {what}.", "Look at what it was exported from.")


_TESTS: tuple[tuple[str, Severity, Callable[[Any], bool], str], ...] = (
    ("nan-weights", "danger", lambda values: bool(np.isnan(values).any()), "there is NaN among its weights"),
    ("infinite-weights", "danger", lambda values: bool(np.isinf(values).any()), "there is infinity among its weights"),
)


def _zeros(seen: Seen) -> Iterator[Trap]:
    if bad := [weight.name for weight in seen.held.weights if weight.is_filling and not np.any(weight.values)]:
        yield Trap(
            "zero-weights", "warning", f"{listed(bad)}: all its weights are zero.", "Look at what it was exported from."
        )


def _quantised(seen: Seen) -> Iterator[Trap]:
    """A quantiser's word is not evidence (FACTS, trap 5): look at the weights' dtypes."""
    weights = seen.held.weights
    numbers = sum(weight.count for weight in weights)
    floats = [weight for weight in weights if weight.dtype in FLOATS]
    share = sum(weight.count for weight in floats) / numbers if numbers else 0.0
    said = [seen.held.name, seen.held.description, *seen.held.metadata.values()]
    claims = any(_CLAIMS_INT8.search(text) for text in said)
    if not floats or not (claims or len(floats) < len(weights)):
        return
    names = listed(f"{weight.name} ({weight.dtype})" for weight in floats)
    if claims:
        much = "none of its weights are" if len(floats) == len(weights) else f"{share:.0%} of its weights are not"
        meaning = f"It is called int8, but {much}: {names}."
    else:
        meaning = f"{share:.0%} of its weights were not quantised with the others: {names}."
    severity: Severity = "note" if share < _FEW else "danger" if claims else "warning"
    advice = "Check what the quantiser skipped (LSTMs, small tensors), or use a scheme that covers it."
    yield Trap("float-weights", severity, meaning, advice)


CORRECTNESS_LOOKS: tuple[Callable[[Seen], Iterator[Trap]], ...] = (
    _refused, _custom, _state, _clip, _numbers, _zeros, _quantised, _saturating, _integer_lstm, _runtime_version,
)  # fmt: skip


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
        structure = sum(part.size_bytes for part in seen.held.size_breakdown if part.name == "structure")
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
        if tensor.quantization:
            scale, zero = tensor.quantization.scales[0], (tensor.quantization.zero_points or (0,))[0]
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
        tensor, maker = graph.tensors[index], graph.producer(index)
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


COST_LOOKS: tuple[Callable[[Seen], Iterator[Trap]], ...] = (
    _loops, _size, _chains, _input_shapes, _outputs, _contract,
)  # fmt: skip


def find(contents: ModelFile, counted: Macs, verdict: SandboxResult | None) -> tuple[Trap, ...]:
    """The traps of a file, the dangers first. `verdict` None: it was not run."""
    seen = Seen(contents, counted, verdict)
    found = [trap for look in (*CORRECTNESS_LOOKS, *COST_LOOKS) for trap in look(seen)]
    return tuple(sorted(found, key=lambda trap: SEVERITIES.index(trap.severity)))
