"""What a file must prove before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport import runtimes
from harexport.data.dataset import Windows
from harexport.errors import CheckFailedError, InputError
from harexport.evaluation.comparison import Predictions, check_tolerance, compare
from harexport.evaluation.metrics import classification_metrics
from harexport.exporters.options import ExportOptions
from harexport.formats import structure
from harexport.formats.structure import Structure
from harexport.model.contract import INPUT_NAME, LOGITS_NAME, PROBABILITIES_NAME, Contract
from harexport.model.network import Network, softmax
from harexport.runtimes import Floats, Runner
from harexport.runtimes.sandbox import run_sandboxed

# Largest logit difference of float32, per unit of the reference's largest logit (at least 1): synthetic windows may
# drive the logits further than real ones do. What is promised on the official windows is not relative.
_FLOAT32_LOGIT = 1e-4
# The other schemes: RMS of the difference against RMS of the reference's logits. With int8 weights trained networks
# show 0.002 to 0.03 here; a wrong gate order, scale or layer shows about 1 in any scheme.
_RMS = {"float16": 0.02, "int8-weights": 0.15, "int8": 0.3}
# Bytes that each weight saves against float32; at least this share of them must be seen in the file's size (the rest
# pays for scales and for the zeros of wavefront.py).
_SAVES = {"float16": 2, "int8-weights": 3, "int8": 3}
_SAVED = 0.5
_SOFTMAX, _STEPS = 1e-5, 0.1  # what probabilities may be from the softmax of the logits beside them
# Where less than this could be saved, names, scales and operators weigh more than the weights; their dtypes are
# checked all the same.
_TOO_SMALL = 4000


@dataclass(frozen=True)
class ReferenceOutputs:
    """Labelled windows that no weight and no threshold was chosen on, and the float64 reference's logits for them."""

    windows: Windows
    expected: NDArray[np.float64]


@dataclass(frozen=True)
class Parity:
    """Comparison of an exported model with the float64 reference on the labelled test windows.

    Attributes:
        scheme: Quantization scheme.
        windows: Number of windows.
        max_logit_difference: Largest absolute logit difference; None if some are not finite.
        p999_logit_difference: Their 99.9 % quantile; None if some are not finite.
        agreement: Share of windows with the same predicted label.
        accuracy: Accuracy of the exported model.
        macro_f1: Macro F1 of the exported model.
        drop: Accuracy of the reference minus that of the model, in percentage points.
        confusion: Confusion matrix of the exported model.
        failures: Violated limits of the scheme's tolerance; empty if the model passed.
    """

    scheme: str
    windows: int
    max_logit_difference: float | None
    p999_logit_difference: float | None
    agreement: float
    accuracy: float
    macro_f1: float
    drop: float
    confusion: tuple[tuple[int, ...], ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class CheckResult:
    """What the gate measured in the real runtime, on `windows` synthetic windows; `parity` on those of a Proof."""

    windows: int
    max_logit_difference: float
    rms_logit_difference: float
    agreement: float
    parity: Parity | None


def check_exported_model(
    model: bytes,
    network: Network,
    contract: Contract,
    form: ExportOptions,
    float32_size: int,
    proof: ReferenceOutputs | None,
    max_drop: float | None = None,
) -> tuple[Structure, CheckResult]:
    """Look into the file, load it from bytes, compare its answers. Raises CheckFailedError.

    `float32_size`: bytes of the same export in float32, which the others must undercut. `max_drop`: points of
    accuracy to allow on the windows of `proof` instead of what the scheme promises.
    """
    name = f"the {form.name} export"
    try:
        held = structure.read_structure(model, form.format, name)
        if form.scheme == "int8" and (death := run_sandboxed(model, f".{form.format}").error):
            raise InputError(death)  # integers that overflow end LiteRT, and this process with it
        runner = runtimes.load_bytes(model, f".{form.format}", name)
    except InputError as error:
        raise CheckFailedError(f"{name} cannot be read back: {error}. No file was written") from error
    failures = [
        *_structure_failures(held, network, contract, form),
        *_size_failures(network, form, len(model), float32_size),
    ]
    if not failures:  # answers of a file with a wrong structure say nothing
        figures, failures = _answers(runner, network, contract, form.scheme, proof, max_drop)
    if failures:
        raise CheckFailedError(f"{name} failed its gate, no file was written: {'; '.join(failures)}")
    return held, figures


def _structure_failures(held: Structure, network: Network, contract: Contract, form: ExportOptions) -> list[str]:
    failures = []
    windows = -1 if form.batch is None else form.batch
    reads = {INPUT_NAME: (windows, network.window, network.num_channels)}
    answers = {name: (windows, len(labels)) for name, labels in contract.outputs.items()}
    for what, found, expected in (("inputs", held.inputs, reads), ("outputs", held.outputs, answers)):
        if found != expected:
            failures.append(f"its {what} are {found}, expected {expected}")
    for operator, expected_count in _recurrent_operators(network, form).items():
        if held.ops.get(operator, 0) != expected_count:
            failures.append(f"it has {held.ops.get(operator, 0)} operators {operator}, expected {expected_count}")
    if any(held.cell_clips):
        failures.append(f"its LSTM clips the cell at {max(held.cell_clips)}, the network does not")
    dtype = form.scheme.removesuffix("-weights")
    if odd := [f"{weight.name} ({weight.dtype})" for weight in held.weights if weight.dtype != dtype]:
        failures.append(f"these weights are not {dtype}: {', '.join(odd)}")
    if held.scheme != form.scheme and held.weights:
        failures.append(f"its operators compute as {held.scheme}")
    if held.contract != contract.to_dict():
        failures.append("the contract in it is not the one it was exported with")
    return failures


def _recurrent_operators(network: Network, form: ExportOptions) -> dict[str, int]:
    """How many of each runtime's recurrent operators the file must hold: one a layer, or none."""
    layers = len(network.recurrent_layers)
    if form.format == "tflite":
        return {"UNIDIRECTIONAL_SEQUENCE_LSTM": layers if form.lowering == "fused" else 0, "WHILE": 0}
    quantised = form.scheme == "int8-weights" and network.kind == "lstm"
    own = "DynamicQuantizeLSTM" if quantised else network.kind.upper()
    return {"LSTM": 0, "GRU": 0, "DynamicQuantizeLSTM": 0} | {own: layers}


def _size_failures(network: Network, form: ExportOptions, size: int, float32_size: int) -> list[str]:
    scheme = form.scheme
    if (scheme, form.lowering) == ("int8", "unrolled"):  # each step has more operators: a note says what that costs
        return []
    matrices = sum(array.size for array in network.fold_input().arrays().values() if array.ndim > 1)
    expected = _SAVED * _SAVES.get(scheme, 0) * matrices
    if float32_size - size >= expected or expected < _TOO_SMALL:
        return []
    return [f"it has {size} bytes and in float32 {float32_size}: {scheme} should save {expected:.0f} or more"]


def _answers(
    runner: Runner,
    network: Network,
    contract: Contract,
    scheme: str,
    proof: ReferenceOutputs | None,
    max_drop: float | None,
) -> tuple[CheckResult, list[str]]:
    probes = synthetic_windows(contract)
    expected = network.logits(probes)
    answered = runner.logits(probes).astype(np.float64)
    difference = np.abs(answered - expected)
    rms = float(np.sqrt(np.mean(difference**2)))
    failures = []
    if scheme == "float32":
        found, allowed = float(difference.max()), _FLOAT32_LOGIT * max(1.0, float(np.abs(expected).max()))
    else:
        found, allowed = rms, _RMS[scheme] * float(np.sqrt(np.mean(expected**2)))
    if not found <= allowed:  # also where it is NaN
        failures.append(f"its logits are {found:.2g} from the float64 reference, allowed are {allowed:.2g}")
    failures += _memory(runner, probes) + _other_outputs(runner, network, probes, scheme)
    proven = None
    if proof is not None and not failures:
        labels = proof.windows.labels
        proven = _check_on_test_windows(proof, runner.logits(proof.windows.signals), scheme, max_drop)
        failures += [f"on {len(labels)} test windows, {failure}" for failure in proven.failures]
    agreement = float(np.mean(answered.argmax(axis=1) == expected.argmax(axis=1)))
    return CheckResult(len(probes), float(difference.max()), rms, agreement, proven), failures


def _check_on_test_windows(proof: ReferenceOutputs, logits: Floats, scheme: str, max_drop: float | None) -> Parity:
    labels = proof.windows.labels
    reference = Predictions("the float64 reference", "logits", proof.expected)
    comparison = compare(Predictions("the exported model", "logits", logits), reference, labels)
    metrics = classification_metrics(labels, logits.argmax(axis=1), logits.shape[1])
    return Parity(
        scheme=scheme,
        windows=comparison.num_windows,
        max_logit_difference=comparison.max_logit_difference,
        p999_logit_difference=comparison.p999_logit_difference,
        agreement=comparison.agreement,
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        drop=comparison.accuracy_drop,
        confusion=metrics.confusion,
        failures=check_tolerance(comparison, scheme, max_drop),
    )


def _other_outputs(runner: Runner, network: Network, windows: Floats, scheme: str) -> list[str]:
    """Probabilities must be the softmax of the file's own logits, and the second head's logits right."""
    from harexport.runtimes.litert import LiteRtRunner
    from harexport.runtimes.onnx import OnnxRunner

    assert isinstance(runner, LiteRtRunner | OnnxRunner)
    size = runner.batch or 1
    answered = [runner.outputs(np.repeat(window[None], size, axis=0)) for window in windows]
    found = {name: np.concatenate([one[name][:1] for one in answered]) for name in answered[0]}
    failures = []
    for head, prefix in zip(network.heads(), ("", "coarse_"), strict=False):
        logits, probabilities = found[prefix + LOGITS_NAME], found[prefix + PROBABILITIES_NAME]
        if head != "head":
            expected = network.logits(windows, head=head)
            rms = float(np.sqrt(np.mean((logits - expected) ** 2)))
            allowed = _RMS.get(scheme, _FLOAT32_LOGIT) * max(1.0, float(np.sqrt(np.mean(expected**2))))
            if not rms <= allowed:
                failures.append(
                    f"its {prefix}{LOGITS_NAME} are {rms:.2g} from the reference (RMS), allowed {allowed:.2g}"
                )
        off = float(np.abs(probabilities - softmax(logits)).max())
        # full integer may answer probabilities, and the logits that they are compared with, in steps
        if not off <= (_STEPS if scheme == "int8" else _SOFTMAX):
            failures.append(f"its {prefix}{PROBABILITIES_NAME} are {off:.2g} from the softmax of its logits")
    return failures


def _memory(runner: Runner, windows: Floats) -> list[str]:
    """An answer must not depend on the windows before it, not even on a window of NaN (FACTS, trap 1).

    Nothing is reset in between: the file must be right for embedders who never heard of resetting. A trained network
    may forget a whole window before it answers, so what is left in the state counts, felt or not.
    """
    from harexport.runtimes.litert import LiteRtRunner

    ask = runner.run_batch_keep_state if isinstance(runner, LiteRtRunner) else runner.run_batch
    size = runner.batch or 1
    a, b = (np.repeat(windows[k : k + 1], size, axis=0) for k in (0, 1))
    first = ask(a)
    ask(b)
    left = runner.state_residual() if isinstance(runner, LiteRtRunner) else 0.0
    again = ask(a)
    ask(np.full_like(a, np.nan))
    recovered = ask(a)
    failures = []
    if not np.array_equal(first, again) or left:
        failures.append(f"its answer to a window depends on the window before (it leaves {left:.2g} in its state)")
    if not np.array_equal(first, recovered):
        failures.append("one window of NaN changes its later answers")
    return failures


def synthetic_windows(contract: Contract, count: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random motion in physical units: [count, window, channels] float32.

    Every channel is a sum of four sines between 0.3 and 8 Hz (walking is about 2). Even windows move like
    a walker (0.3 g, 0.8 rad/s), odd ones hardly, and channels named total_* carry gravity, of length 1 g,
    in a random direction. What is checked is arithmetic, so the scale matters and the activity does not.
    """
    random = np.random.default_rng(seed)
    channels = len(contract.channels)
    time = np.arange(contract.window) / contract.rate_hz
    frequency = random.uniform(0.3, 8.0, (count, 4, 1, channels))
    phase = random.uniform(0.0, 2 * np.pi, (count, 4, 1, channels))
    strength = random.uniform(0.1, 1.0, (count, 4, 1, channels))
    motion = (strength * np.sin(2 * np.pi * frequency * time[:, None] + phase)).sum(axis=1)
    motion *= np.where(np.arange(count) % 2 == 0, 1.0, 0.05)[:, None, None]
    motion *= [0.8 if unit == "rad/s" else 0.3 for unit in contract.units]
    total = [k for k, name in enumerate(contract.channels) if name.startswith("total_")]
    gravity = random.normal(size=(count, 1, len(total)))
    gravity /= np.linalg.norm(gravity, axis=2, keepdims=True) if total else 1.0
    motion[:, :, total] += gravity
    return np.asarray(motion, dtype=np.float32)
