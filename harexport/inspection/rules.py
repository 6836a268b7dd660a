"""Findings, and rules of correctness: problems that stop a model or change its outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from harexport.formats import op_versions
from harexport.formats.macs import Macs
from harexport.formats.model_file import FLOATS, ModelFile, Operator
from harexport.runtimes.sandbox import SandboxResult
from harexport.utils.tables import pluralize

Severity = Literal["danger", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("danger", "warning", "note")
_MAX_NAMES = 4  # of a list; the others are counted
_TFLITE_LSTMS = ("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM")
_RECURRENT = (*_TFLITE_LSTMS, "GRU", "RNN", "com.microsoft.DynamicQuantizeLSTM")
# ONNX operators that multiply uint8 activations with weights.
_UINT8_PRODUCTS = (
    "com.microsoft.DynamicQuantizeLSTM",
    "com.microsoft.DynamicQuantizeMatMul",
    "MatMulInteger",
    "ConvInteger",
)
_MAX_SAFE_WEIGHT = 64  # the largest int8 weight with which two products of uint8 fit into 16 bits
_RECENT_ONNX_RUNTIME = "1.12"  # of 2022: apps include their own version, rarely the latest
_SMALL_SHARE = 0.1  # converters leave small tensors in float
# What converters and users write into names and descriptions of quantized files.
_CLAIMS_INT8 = re.compile(r"int8|quant(ized|ised)?(?![a-z])|(?<![a-z])q8|dynamic[_-]?range", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One problem of a file."""

    id: str  # stable, for scripts
    severity: Severity  # danger: wrong or no outputs; warning: slow, large or easily misused; note: good to know
    meaning: str  # one sentence: what happens on the phone
    advice: str  # what to do


@dataclass(frozen=True)
class RuleContext:
    """A file, its cost, and the result of running it."""

    model: ModelFile
    macs: Macs
    run: SandboxResult | None  # None: the file was not run

    @property
    def ops(self) -> list[Operator]:
        """The operators of all graphs."""
        return [op for graph in self.model.graphs for op in graph.ops]

    def count(self, *kinds: str) -> int:
        """Count the operators of these kinds."""
        return sum(self.model.ops.get(kind, 0) for kind in kinds)


class Rule(Protocol):
    """A function that yields the findings of one kind of problem."""

    def __call__(self, context: RuleContext, /) -> Iterator[Finding]: ...


def join_names(names: Iterable[str]) -> str:
    """Join names with commas; of a long list the first ones and the number of the others."""
    known = [name or "(unnamed)" for name in names]
    more = len(known) - _MAX_NAMES
    return ", ".join(known[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def end_sentence(text: str) -> str:
    """Add a full stop unless there is one."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _check_run(context: RuleContext) -> Iterator[Finding]:
    run = context.run
    if run and run.error and not any(op.custom for op in context.ops):
        advice = "Do not ship it: the app would crash." if run.killed else "Export it again."
        yield Finding("does-not-run", "danger", end_sentence(run.error), advice)
    if run and not run.error and not run.is_finite:
        yield Finding(
            "no-numbers",
            "danger",
            "Its output for random inputs is NaN or infinite.",
            "Check its weights, and the scale that it expects of its input.",
        )
    if context.model.problem:
        yield Finding(
            "invalid", "warning", end_sentence(f"ONNX's checker: {context.model.problem}"), "Export it again."
        )


def _check_external_weights(context: RuleContext) -> Iterator[Finding]:
    external = context.model.external
    if missing := [name for name, size in external.items() if size is None]:
        yield Finding(
            "weights-elsewhere",
            "danger",
            f"Its weights are in {join_names(missing)}, which does not exist beside it.",
            "Put the file there, or save the model with its weights inside.",
        )
    elif external:
        yield Finding(
            "weights-elsewhere",
            "warning",
            f"Its weights are in {join_names(external)}: without that file it does not load.",
            "Ship both under these names, or save it with the weights inside (external_data=False).",
        )


def _check_custom_operators(context: RuleContext) -> Iterator[Finding]:
    custom = {op.kind for op in context.ops if op.custom}
    flex = {kind for kind in custom if kind.startswith("Flex")}
    contrib = {kind for kind in custom if kind.startswith("com.microsoft.")}
    if flex:
        yield Finding(
            "flex-ops",
            "danger",
            f"{join_names(sorted(flex))}: needs TensorFlow's Flex delegate, which adds megabytes to the app and is not "
            "in Google Play services.",
            "Convert with TFLITE_BUILTINS only; an LSTM with a fixed batch of 1.",
        )
    if contrib:
        yield Finding(
            "contrib-ops",
            "warning",
            f"{join_names(sorted(contrib))}: only ONNX Runtime has these operators, and not every build of it.",
            "Ship the full onnxruntime package, or export without them.",
        )
    if others := custom - flex - contrib:
        yield Finding(
            "custom-ops",
            "danger",
            f"{join_names(sorted(others))}: no stock runtime has these operators.",
            "Ship and register their code with the app, or export without them.",
        )


def _check_runtime_version(context: RuleContext) -> Iterator[Finding]:
    runtime, version = context.model.min_runtime
    declared, key = context.model.versions, op_versions.version_key
    if runtime == "ONNX Runtime":
        if version == op_versions.UNKNOWN:
            yield Finding(
                "new-runtime",
                "warning",
                f"Opset {declared['opset']} with IR version {declared['ir']} is newer than any ONNX Runtime that "
                "harexport knows: most apps cannot load the file.",
                "Export with opset 13 to 17 and IR version 8 or lower.",
            )
        elif key(version) > key(_RECENT_ONNX_RUNTIME):
            yield Finding(
                "new-runtime",
                "warning",
                f"Opset {declared['opset']} with IR version {declared['ir']} needs ONNX Runtime {version}: apps with "
                "an older one cannot load the file.",
                "Export with opset 13 to 17 and IR version 8 or lower, or update the app's runtime.",
            )
        return
    if key(version) <= key(op_versions.MIN_TFLITE):
        return
    kinds = {(op.kind, op.version) for op in context.ops if not op.custom}
    late = [f"{kind} {number}" for kind, number in sorted(kinds) if op_versions.min_tflite([(kind, number)]) == version]
    yield Finding(
        "new-runtime",
        "warning",
        f"{join_names(late)}: needs TensorFlow Lite {version}; an older one cannot load the file.",
        "Ship the runtime with the app, or write lower operator versions.",
    )
    claimed = declared.get("min_runtime_version", version)
    if key(claimed)[:2] < key(version)[:2]:
        yield Finding(
            "understated-runtime",
            "warning",
            f"It declares TensorFlow Lite {claimed}, but its operators need {version}.",
            "Rely on the operators.",
        )


def _check_integer_lstm(context: RuleContext) -> Iterator[Finding]:
    input_dtypes = [
        graph.tensors[op.inputs[0]].dtype
        for graph in context.model.graphs
        for op in graph.ops
        if op.kind in _TFLITE_LSTMS and op.inputs and op.inputs[0] >= 0
    ]
    # Files whose graph writes the states itself run correctly there (benchmarks/old_runtime.json).
    if "int8" in input_dtypes and _count_persistent_variables(context):
        yield Finding(
            "integer-lstm",
            "danger",
            "Full-integer LSTMs of TensorFlow's converter return zeros in TensorFlow Lite 2.6, without an error.",
            "Ship a newer runtime with the app, or use int8 weights with float activations.",
        )


def _check_saturation(context: RuleContext) -> Iterator[Finding]:
    wide = {
        tensor.name
        for graph in context.model.graphs
        for op in graph.ops
        if op.kind in _UINT8_PRODUCTS
        for tensor in map(graph.tensor_at, op.inputs)
        if tensor and tensor.dtype == "int8" and tensor.values is not None and tensor.count > 1
        if np.abs(tensor.values.astype(np.int16)).max() > _MAX_SAFE_WEIGHT
    }
    if wide:
        yield Finding(
            "saturates",
            "warning",
            f"{join_names(sorted(wide))}: ONNX Runtime multiplies these int8 weights with uint8 values, and on x86 "
            "processors without VNNI the sums saturate at 16 bits: accuracy is lower there.",
            "Quantize weights to uint8 (weight_type=QuantType.QUInt8), or to 7 bits (reduce_range=True).",
        )


def _check_state(context: RuleContext) -> Iterator[Finding]:
    run, variables = context.run, len(context.model.variables) + _count_assignments(context)
    reset = (
        "Call resetVariableTensors() (Python: reset_all_variables()) before every window, or export a file without "
        "variables."
    )
    stateless = "Export it without state, or set the state before every window."
    advice = reset if context.model.format == "tflite" else stateless
    named = pluralize(variables, "variable tensor")
    # The graph resets its variables at the end (no residual), or writes them before it reads them.
    resets = not _count_persistent_variables(context) or (run is not None and run.state_residual is not None)
    if run and run.is_stateful:
        moved = f"its output for a window changed by {run.change:.2g} after another window" if run.change else ""
        stuck = "a window of NaN still affects the output three windows later" if run.nan_persists else ""
        residual = f"a window leaves up to {run.state_residual or 0.0:.2g} in its {named} for the next"
        what = " and ".join(part for part in (moved, stuck) if part) or f"{residual}, without effect on random windows"
        yield Finding("state-persists", "danger", f"It keeps state: {what}.", advice)
    elif variables and resets:
        yield Finding(
            "state-reset",
            "note",
            f"It has {named}, but its graph resets them for every window.",
            "CompiledModel and browsers reject variable tensors all the same: use a looped or unrolled file there.",
        )
    elif variables:
        yield Finding(
            "state-persists", "danger", f"It has {named}: one window may change the output for the next.", advice
        )
    if run and run.is_random:
        yield Finding(
            "random",
            "warning",
            "Its output for one window differs each time it is loaded: it contains a random operator.",
            "Export in inference mode (model.eval(), training=False).",
        )
    if names := sorted(_initial_state_inputs(context)):
        yield Finding(
            "state-inputs",
            "warning",
            f"{join_names(names)}: the app must provide the initial state, zeros for every new window.",
            "Make the initial state a constant of zeros before the export.",
        )


def _count_persistent_variables(context: RuleContext) -> int:
    """Count the variables that no operator writes before they are read."""
    tensors = sum(
        tensor.role == "variable" and graph.producer(k) is None
        for graph in context.model.graphs
        for k, tensor in enumerate(graph.tensors)
    )
    return tensors + _count_assignments(context)


def _count_assignments(context: RuleContext) -> int:
    """Count the assignments of resource variables in graphs that run per window.

    Variables that only other signatures (such as training) or the initialization assign are weights, not state.
    """
    running, pending = set(), [0]
    while pending:
        number = pending.pop()
        if number in running:
            continue
        running.add(number)
        for op in context.model.graphs[number].ops:
            pending += op.bodies if op.kind != "CALL_ONCE" else ()
    return sum(op.kind == "ASSIGN_VARIABLE" for number in running for op in context.model.graphs[number].ops)


def _initial_state_inputs(context: RuleContext) -> set[str]:
    """Graph inputs that are the initial state of an ONNX recurrent operator (its inputs 5 and 6)."""
    return {
        graph.tensors[k].name
        for graph in context.model.graphs
        for op in graph.ops
        if context.model.format == "onnx" and op.kind in _RECURRENT
        for k in op.inputs[5:7]
        if k >= 0 and graph.tensors[k].role == "input"
    }


def _check_cell_clip(context: RuleContext) -> Iterator[Finding]:
    clips = {
        float(value)
        for op in context.ops
        if op.kind in _RECURRENT
        for value in (op.options.get("cellClip"), op.options.get("clip"))
        if value
    }
    if clips:
        yield Finding(
            "cell-clip",
            "danger",
            f"Its LSTM clips the cell at {join_names(f'{clip:g}' for clip in sorted(clips))}, unlike PyTorch and "
            "Keras: after long activities logits are off by 0.3 and more.",
            "Write 0 into the operator's cellClip; TensorFlow's converter always writes 10.",
        )


def _check_values(context: RuleContext) -> Iterator[Finding]:
    arrays = [
        (tensor.name, tensor.values)
        for tensor in context.model.constants
        if tensor.values is not None and tensor.values.dtype.kind in "fiu" and tensor.count > 1
    ]
    advice = "Check the model it was exported from."
    if names := [name for name, values in arrays if np.isnan(values).any()]:
        yield Finding("nan-weights", "danger", f"{join_names(names)}: there is NaN among its weights.", advice)
    if names := [name for name, values in arrays if np.isinf(values).any()]:
        yield Finding(
            "infinite-weights", "danger", f"{join_names(names)}: there is infinity among its weights.", advice
        )
    zeros = [weight.name for weight in context.model.weights if weight.has_equal_values and not np.any(weight.values)]
    if zeros:
        yield Finding("zero-weights", "warning", f"{join_names(zeros)}: all weights are zero.", advice)


def _check_quantization(context: RuleContext) -> Iterator[Finding]:
    """Compare what names and descriptions claim with the weights' dtypes: quantizers skip layers silently."""
    weights = context.model.weights
    floats = [weight for weight in weights if weight.dtype in FLOATS]
    texts = [context.model.name, context.model.description, *context.model.metadata.values()]
    claims = any(_CLAIMS_INT8.search(text) for text in texts)
    if not floats or not (claims or len(floats) < len(weights)):
        return
    share = sum(weight.count for weight in floats) / sum(weight.count for weight in weights)
    names = join_names(f"{weight.name} ({weight.dtype})" for weight in floats)
    if claims:
        part = "none of its weights are" if len(floats) == len(weights) else f"{share:.0%} of its weights are not"
        meaning = f"It is called int8, but {part}: {names}."
    else:
        meaning = f"{share:.0%} of its weights were not quantized with the others: {names}."
    severity: Severity = "note" if share < _SMALL_SHARE else "danger" if claims else "warning"
    advice = "Check what the quantizer skipped (LSTMs, small tensors), or use a scheme that covers it."
    yield Finding("float-weights", severity, meaning, advice)


CORRECTNESS_RULES: tuple[Rule, ...] = (
    _check_run,
    _check_external_weights,
    _check_custom_operators,
    _check_state,
    _check_cell_clip,
    _check_values,
    _check_quantization,
    _check_saturation,
    _check_integer_lstm,
    _check_runtime_version,
)
