"""Checks that an exported model must pass before it is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport import runtimes
from harexport.data.dataset import Dataset, Windows
from harexport.errors import CheckFailedError, InputError
from harexport.evaluation.comparison import Predictions, check_tolerance, compare
from harexport.evaluation.metrics import classification_metrics
from harexport.exporters.options import ExportOptions
from harexport.exporters.stream import StreamRunner, split
from harexport.formats.structure import Structure, read_structure
from harexport.model.contract import INPUT_NAME, LOGITS_NAME, NEW_STATE_NAME, PROBABILITIES_NAME, STATE_NAME, Contract
from harexport.model.folding import simplify
from harexport.model.network import Network, softmax
from harexport.runtimes.runner import Floats, Runner
from harexport.runtimes.sandbox import run_sandboxed
from harexport.utils.console import progress

# Tolerances on synthetic windows, whose logits may be larger than those of real windows.
# float32: largest logit difference relative to the reference's largest logit (at least 1).
_FLOAT32_TOLERANCE = 1e-4
# Other schemes: RMS of the difference relative to the RMS of the reference's logits. Trained networks with int8 weights
# have 0.002 to 0.03; a wrong gate order, scale or layer gives about 1.
_RMS_TOLERANCE = {"float16": 0.02, "int8-weights": 0.15, "int8": 0.3}
_RMS_FACTOR = 2  # with test windows, which decide; edge with int8 inputs has 0.42 here, and loses 0.1 points there
# Largest difference of the probabilities from the softmax of the logits; the scheme int8 may quantize both.
_SOFTMAX_TOLERANCE, _INT8_SOFTMAX_TOLERANCE = 1e-5, 0.1
# Bytes saved per weight relative to float32. The file must be smaller by at least half of that: scales, and the zeros
# of the wavefront's block matrices, take the rest.
_BYTES_SAVED = {"float16": 2, "int8-weights": 3, "int8": 3}
_MIN_SAVED_SHARE = 0.5
# Below, names, scales and operators dominate the size, which is then not checked. Full-integer files of other networks
# than stacks have more of them.
_MIN_SAVED_BYTES, _MIN_SAVED_BYTES_INT8 = 4000, 12000


@dataclass(frozen=True)
class ReferenceOutputs:
    """Test windows and the reference's logits.

    Attributes:
        windows: Labeled windows of test subjects.
        expected: Logits of the float64 reference, [n, labels].
    """

    windows: Windows
    expected: NDArray[np.float64]


def compute_reference(network: Network, dataset: Dataset) -> ReferenceOutputs:
    """Run the float64 reference on the test windows of a dataset that fits the network."""
    with progress("float64 reference", len(dataset.test), "windows") as advance:
        return ReferenceOutputs(dataset.test, network.logits(dataset.test.signals, advance))


@dataclass(frozen=True)
class Parity:
    """Comparison of an exported model with the float64 reference on the labeled test windows.

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
    """Measurements of the checks, in the target runtime.

    Attributes:
        windows: Number of synthetic windows.
        max_logit_difference: Largest logit difference to the reference on them.
        rms_logit_difference: RMS of the logit differences on them.
        agreement: Share of them with the predicted label of the reference.
        parity: Comparison on the test windows; None without a dataset.
    """

    windows: int
    max_logit_difference: float
    rms_logit_difference: float
    agreement: float
    parity: Parity | None


def check_exported_model(
    model: bytes,
    network: Network,
    contract: Contract,
    options: ExportOptions,
    float32_size: int,
    reference: ReferenceOutputs | None,
    max_drop: float | None = None,
) -> tuple[Structure, CheckResult]:
    """Check the structure of a file, load it in its runtime and compare its predictions with the reference.

    Args:
        model: Content of the file.
        network: Network that was exported.
        contract: Its contract.
        options: Options of the file.
        float32_size: Size in bytes of the same export in float32.
        reference: Test windows with the reference's logits; None: only synthetic windows are run.
        max_drop: Allowed accuracy drop in percentage points, instead of the limits of the scheme.

    Returns:
        The structure of the file, and the measurements.

    Raises:
        CheckFailedError: A check failed; the message lists all failures.
    """
    name = f"the {options.name} export"
    part, part_contract = (network, contract) if options.stream is None else split(network, contract, options.stream)
    try:
        structure = read_structure(model, options.format, name)
        # an integer overflow aborts LiteRT, and with it this process
        if options.scheme == "int8" and (error := run_sandboxed(model, f".{options.format}").error):
            raise InputError(error)
        runner: Runner = (
            runtimes.load_bytes(model, f".{options.format}", name)
            if options.stream is None
            else StreamRunner(model, options.format, name, part_contract, network.window)
        )
    except InputError as error:
        raise CheckFailedError(f"{name} cannot be read back: {error}. No file was written") from error
    failures = [
        *_check_structure(structure, part, part_contract, options),
        *_check_size(network, options, len(model), float32_size),
    ]
    if not failures:  # predictions of a file with a wrong structure are meaningless
        result, failures = _check_predictions(runner, network, contract, options.scheme, reference, max_drop)
        if failures and (options.lowering, options.scheme) == ("fused", "int8"):
            failures.append("the fused int8 operator clips each part of a gate sum at 8; use --lowering unrolled")
    if failures:
        raise CheckFailedError(f"{name} failed its checks, no file was written: {'; '.join(failures)}")
    return structure, result


def _check_structure(structure: Structure, network: Network, contract: Contract, options: ExportOptions) -> list[str]:
    failures = []
    batch = -1 if options.batch is None else options.batch
    inputs: dict[str, tuple[int, ...]] = {INPUT_NAME: (batch, network.window, network.num_channels)}
    outputs: dict[str, tuple[int, ...]] = {name: (batch, len(labels)) for name, labels in contract.outputs.items()}
    if contract.stream:
        inputs[STATE_NAME] = outputs[NEW_STATE_NAME] = (batch, contract.stream.state_size)
    for what, found, expected in (("inputs", structure.inputs, inputs), ("outputs", structure.outputs, outputs)):
        if found != expected:
            failures.append(f"its {what} are {found}, expected {expected}")
    for operator, count in _recurrent_operators(network, options).items():
        if structure.ops.get(operator, 0) != count:
            failures.append(f"it has {structure.ops.get(operator, 0)} operators {operator}, expected {count}")
    if any(structure.cell_clips):
        failures.append(f"its LSTM clips the cell at {max(structure.cell_clips)}, the network does not")
    dtype = options.scheme.removesuffix("-weights")
    if wrong := [f"{weight.name} ({weight.dtype})" for weight in structure.weights if weight.dtype != dtype]:
        failures.append(f"these weights are not {dtype}: {', '.join(wrong)}")
    if structure.scheme != options.scheme and structure.weights:
        failures.append(f"its operators have the scheme {structure.scheme}")
    if structure.contract != contract.to_dict():
        failures.append("its contract differs from the contract it was exported with")
    return failures


def _recurrent_operators(network: Network, options: ExportOptions) -> dict[str, int]:
    """Return the expected number of each recurrent operator."""
    if options.format == "tflite":
        from harexport.exporters.tflite_layers import count_loops

        return {
            "UNIDIRECTIONAL_SEQUENCE_LSTM": len(network.lstm) if options.lowering == "fused" else 0,
            "WHILE": count_loops(simplify(network.layers)) if options.lowering == "loop" else 0,
        }
    operator = "DynamicQuantizeLSTM" if options.scheme == "int8-weights" else "LSTM"
    return {"LSTM": 0, "DynamicQuantizeLSTM": 0, "GRU": len(network.gru)} | {operator: len(network.lstm)}


def _check_size(network: Network, options: ExportOptions, size: int, float32_size: int) -> list[str]:
    scheme = options.scheme
    if (scheme, options.lowering) == ("int8", "unrolled"):  # it has more operators per step; a note reports the size
        return []
    folded = Network(network.window, network.num_channels, simplify(network.layers))
    num_weights = sum(array.size for array in folded.arrays().values() if array.ndim > 1)
    expected = _MIN_SAVED_SHARE * _BYTES_SAVED.get(scheme, 0) * num_weights
    least = _MIN_SAVED_BYTES_INT8 if scheme == "int8" and not network.is_stack else _MIN_SAVED_BYTES
    if float32_size - size >= expected or expected < least:
        return []
    return [f"it has {size} bytes, in float32 {float32_size}; {scheme} should save at least {expected:.0f}"]


def _check_predictions(
    runner: Runner,
    network: Network,
    contract: Contract,
    scheme: str,
    reference: ReferenceOutputs | None,
    max_drop: float | None,
) -> tuple[CheckResult, list[str]]:
    windows = synthetic_windows(contract)
    expected = network.logits(windows)
    logits = runner.logits(windows).astype(np.float64)
    difference = np.abs(logits - expected)
    rms = float(np.sqrt(np.mean(difference**2)))
    failures = []
    if scheme == "float32":
        found, allowed = float(difference.max()), _FLOAT32_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    else:
        found, allowed = rms, _RMS_TOLERANCE[scheme] * float(np.sqrt(np.mean(expected**2)))
        allowed *= _RMS_FACTOR if reference is not None else 1
    if not found <= allowed:  # also if it is NaN
        failures.append(
            f"its logits differ from the float64 reference by {found:.2g} on synthetic windows, allowed are "
            f"{allowed:.2g}"
        )
    failures += _check_state(runner, windows) + _check_other_outputs(runner, network, windows, scheme)
    parity = None
    if reference is not None and not failures:
        parity = _compare_on_test_windows(reference, runner.logits(reference.windows.signals), scheme, max_drop)
        failures += [f"on {parity.windows} test windows, {failure}" for failure in parity.failures]
    agreement = float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)))
    return CheckResult(len(windows), float(difference.max()), rms, agreement, parity), failures


def _compare_on_test_windows(
    reference: ReferenceOutputs, logits: Floats, scheme: str, max_drop: float | None
) -> Parity:
    labels = reference.windows.labels
    expected = Predictions("the float64 reference", "logits", reference.expected)
    comparison = compare(Predictions("the exported model", "logits", logits), expected, labels)
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


def _check_other_outputs(runner: Runner, network: Network, windows: Floats, scheme: str) -> list[str]:
    """Check the logits of the second head, and all probabilities against the softmax of the file's own logits."""
    from harexport.runtimes.litert import LiteRtRunner
    from harexport.runtimes.onnx import OnnxRunner

    assert isinstance(runner, LiteRtRunner | OnnxRunner | StreamRunner)
    size = runner.batch or 1
    batches = [runner.outputs(np.repeat(window[None], size, axis=0)) for window in windows]
    outputs = {name: np.concatenate([batch[name][:1] for batch in batches]) for name in batches[0]}
    failures = []
    for prefix in ("", "coarse_") if network.coarse_head else ("",):
        logits, probabilities = outputs[prefix + LOGITS_NAME], outputs[prefix + PROBABILITIES_NAME]
        if prefix:
            expected = network.logits(windows, head="coarse")
            rms = float(np.sqrt(np.mean((logits - expected) ** 2)))
            allowed = _RMS_TOLERANCE.get(scheme, _FLOAT32_TOLERANCE) * max(1.0, float(np.sqrt(np.mean(expected**2))))
            if not rms <= allowed:
                failures.append(
                    f"its {prefix}{LOGITS_NAME} differ from the reference by {rms:.2g} (RMS), allowed are {allowed:.2g}"
                )
        difference = float(np.abs(probabilities - softmax(logits)).max())
        if not difference <= (_INT8_SOFTMAX_TOLERANCE if scheme == "int8" else _SOFTMAX_TOLERANCE):
            failures.append(
                f"its {prefix}{PROBABILITIES_NAME} differ from the softmax of its logits by {difference:.2g}"
            )
    return failures


def _check_state(runner: Runner, windows: Floats) -> list[str]:
    """Check that predictions do not depend on earlier inputs, including NaN inputs.

    Nothing is reset between the runs, since applications may not reset either. A trained network may forget the window
    before, hence the values left in variable tensors are checked as well.
    """
    from harexport.runtimes.litert import LiteRtRunner

    run = runner.run_batch_keep_state if isinstance(runner, LiteRtRunner) else runner.run_batch
    size = runner.batch or 1
    a, b = (np.repeat(windows[k : k + 1], size, axis=0) for k in (0, 1))
    first = run(a)
    run(b)
    residual = runner.state_residual() if isinstance(runner, LiteRtRunner) else 0.0
    second = run(a)
    run(np.full_like(a, np.nan))
    after_nan = run(a)
    failures = []
    if not np.array_equal(first, second) or residual:
        failures.append(f"its prediction depends on the window before (state of up to {residual:.2g} remains)")
    if not np.array_equal(first, after_nan):
        failures.append("a window of NaN changes its later predictions")
    return failures


def synthetic_windows(contract: Contract, count: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Generate smooth random motion in physical units, for checks of the arithmetic.

    Each channel is a sum of four sines between 0.3 and 8 Hz; walking is about 2 Hz. Even windows have the amplitude of
    walking (0.3 g, 0.8 rad/s), odd windows 5 % of it. The channels total_* include gravity, 1 g in a random direction.

    Args:
        contract: Channels, units, rate and window length.
        count: Number of windows.
        seed: Random seed.

    Returns:
        [count, window, channels].
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
