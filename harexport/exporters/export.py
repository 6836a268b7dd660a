"""Exports a network or a checkpoint: builds each file, checks it, and writes it under its final name."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harexport import runtimes
from harexport.data import Dataset, contract_mismatches, load_dataset
from harexport.data.dataset import Windows
from harexport.data.mounting import adapt_dataset
from harexport.data.splits import check_split
from harexport.errors import CheckFailedError, InputError
from harexport.evaluation.latency import measure
from harexport.exporters.checks import (
    CheckResult,
    Parity,
    ReferenceOutputs,
    check_exported_model,
    compute_reference,
    synthetic_windows,
)
from harexport.exporters.options import ExportOptions, resolve, resolve_all
from harexport.exporters.stream import resolve_stream, split
from harexport.model.contract import Contract
from harexport.model.network import Network, single_threaded_blas
from harexport.utils.console import progress
from harexport.utils.files import DEFAULT_OUTPUT_DIR, atomic_write, read_json, write_json

if TYPE_CHECKING:  # reading checkpoints is not needed to export a network
    from harexport.model.checkpoint import Checkpoint

_TIMED_RUNS = 200
_MIN_REPORTED_SLOWDOWN = 1.05  # smaller differences are within the noise of so short a measurement


@dataclass(frozen=True)
class ExportResult:
    """An exported file that passed its checks.

    Attributes:
        path: The file.
        format: "onnx" or "tflite".
        scheme: Quantization scheme.
        lowering: "fused", "loop" or "unrolled"; None for ONNX.
        reason: Why "auto" selected the lowering; empty if it was requested.
        batch: Windows per run; None: dynamic.
        io: Type of input and outputs.
        size_bytes: Size of the file.
        size_ratio: Size relative to the float32 file of the same format and lowering.
        time_ratio: p50 latency relative to that file, from one interleaved run on this machine.
        seconds: Duration of the export, including the checks.
        ops: Number of operators by kind.
        oldest_runtime: Oldest version of TensorFlow Lite or ONNX Runtime that has the operators.
        checks: Measurements of the checks.
        notes: Notes for users of the file.
    """

    path: Path
    format: str
    scheme: str
    lowering: str | None
    reason: str
    batch: int | None
    io: str
    size_bytes: int
    size_ratio: float
    time_ratio: float
    seconds: float
    ops: dict[str, int]
    oldest_runtime: str
    checks: CheckResult
    notes: tuple[str, ...]

    @property
    def parity(self) -> Parity | None:
        """Comparison with the reference on the labeled test windows; None without a dataset."""
        return self.checks.parity

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class ExportFailure:
    """A file that failed its checks and was not written.

    Attributes:
        path: Path it would have been written to.
        reason: Message of the failed checks.
    """

    path: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"path": str(self.path), "refused": self.reason}


def export(
    network: Network,
    path: Path | str | None = None,
    *,
    format: str | None = None,
    scheme: str = "float32",
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
    contract: Contract | None = None,
    metadata: dict[str, str] | None = None,
    dataset: Dataset | None = None,
    max_drop: float | None = None,
    stream: int | None = None,
) -> ExportResult:
    """Export a network to a file that passed its checks. An existing file is kept until then.

    Args:
        network: Network to export.
        path: Path of the file. Default: `harexport-out/model-...`, with the options in the name.
        format: "onnx" or "tflite". Default: the suffix of `path`, or "tflite".
        scheme: "float32", "float16", "int8-weights" or, for tflite, "int8".
        lowering: "fused", "loop", "unrolled" or "auto", for tflite.
        batch: Windows per run; None: dynamic.
        io: Type of input and outputs, "float32" or, for the scheme int8, "int8".
        contract: Input and output contract. Default: that of UCI HAR.
        metadata: Strings to store in the file.
        dataset: The test windows serve the checks; the training windows serve the calibration of int8 and the rounding
            of int8-weights. Default: UCI HAR if the contract matches it. Otherwise the file is checked on synthetic
            windows only, and a note reports that.
        max_drop: Allowed accuracy drop on the test windows in percentage points, instead of the limits of the scheme.
        stream: Steps per run of a file with an explicit state; None: whole windows.

    Raises:
        InputError: An option does not exist, or the options do not fit.
        CheckFailedError: The file failed its checks.
    """
    contract = contract or Contract()
    _check_max_drop(max_drop)
    fmt = format or (Path(path).suffix.lower().removeprefix(".") if path else "tflite")
    options = resolve(network, fmt, scheme, lowering, batch, io)
    if stream is not None:
        options = resolve_stream(network, options, stream)
    path = Path(path) if path else DEFAULT_OUTPUT_DIR / options.file_name("model")
    if path.suffix.lower() != f".{options.format}":
        raise InputError(f"{path}: a file in the format {options.format} must be called *.{options.format}")
    _check_contract(network, contract)
    if dataset is None and not contract_mismatches(contract, Contract()):
        dataset = load_dataset()
    dataset = None if dataset is None else adapt_dataset(dataset, contract)
    reference = None if dataset is None else compute_reference(network, dataset)
    train = None if dataset is None else dataset.train
    return export_file(network, contract, metadata or {}, path, options, reference, train, max_drop)


def export_checkpoint(
    checkpoint: Checkpoint,
    folder: Path | str,
    dataset: Dataset,
    fmt: str = "all",
    schemes: Sequence[str] = ("float32",),
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
    max_drop: float | None = None,
    stream: int | None = None,
) -> list[ExportResult | ExportFailure]:
    """Export a checkpoint to a folder, in one or more formats and schemes, with contract.json.

    Args:
        checkpoint: Checkpoint to export.
        folder: Output folder; the files are named by `ExportOptions.file_name`.
        dataset: Dataset for checks and calibration, see `export`.
        fmt: "onnx", "tflite" or "all"; with "all", each format gets those of the schemes that it has.
        schemes: Quantization schemes.
        lowering: "fused", "loop", "unrolled" or "auto", for tflite.
        batch: Windows per run; None: dynamic.
        io: Type of input and outputs.
        max_drop: Allowed accuracy drop in percentage points, instead of the limits of the scheme.
        stream: Steps per run of files with an explicit state; None: whole windows.

    Returns:
        A result for each file. A file that fails its checks does not prevent the others.

    Raises:
        InputError: The options do not fit, or the folder has the contract.json of another model. Nothing was written.
    """
    folder, network = Path(folder), checkpoint.network
    _check_max_drop(max_drop)
    files = resolve_all(network, fmt, schemes, lowering, batch, io)
    if stream is not None:
        files = [resolve_stream(network, options, stream) for options in files]
    check_output_folder(folder, checkpoint.contract)
    dataset = adapt_dataset(dataset, checkpoint.contract, checkpoint.recipe.name)
    check_split(dataset, checkpoint.data.get("split"), checkpoint.recipe.name)
    reference, train = compute_reference(network, dataset), dataset.train
    _check_recorded_accuracy(checkpoint, dataset, reference)
    metadata, name = checkpoint_metadata(checkpoint), checkpoint.recipe.name
    return _export_files(network, checkpoint.contract, metadata, name, folder, files, reference, train, max_drop)


def export_network(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    name: str,
    folder: Path | str,
    dataset: Dataset | None,
    fmt: str = "all",
    schemes: Sequence[str] = ("float32",),
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
    max_drop: float | None = None,
    stream: int | None = None,
) -> list[ExportResult | ExportFailure]:
    """Export a network to a folder, in one or more formats and schemes, with contract.json.

    Args:
        network: Network to export.
        contract: Its contract.
        metadata: Strings to store in the files.
        name: First part of the file names.
        folder: Output folder.
        dataset: Dataset for the checks; None: the files are checked on synthetic windows only.
        fmt: As for `export_checkpoint`, like the remaining arguments, the result and the errors.
        schemes: Quantization schemes.
        lowering: "fused", "loop", "unrolled" or "auto", for tflite.
        batch: Windows per run; None: dynamic.
        io: Type of input and outputs.
        max_drop: Allowed accuracy drop in percentage points, instead of the limits of the scheme.
        stream: Steps per run of files with an explicit state; None: whole windows.
    """
    folder = Path(folder)
    _check_max_drop(max_drop)
    _check_contract(network, contract)
    files = resolve_all(network, fmt, schemes, lowering, batch, io)
    if stream is not None:
        files = [resolve_stream(network, options, stream) for options in files]
    check_output_folder(folder, contract)
    dataset = None if dataset is None else adapt_dataset(dataset, contract, name)
    reference = None if dataset is None else compute_reference(network, dataset)
    train = None if dataset is None else dataset.train
    return _export_files(network, contract, metadata, name, folder, files, reference, train, max_drop)


def _export_files(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    name: str,
    folder: Path,
    files: Sequence[ExportOptions],
    reference: ReferenceOutputs | None,
    train: Windows | None,
    max_drop: float | None,
) -> list[ExportResult | ExportFailure]:
    results: list[ExportResult | ExportFailure] = []
    with progress(f"exporting {name}", len(files), "files") as advance:
        for count, options in enumerate(files, 1):
            path = folder / options.file_name(name)
            try:
                results.append(export_file(network, contract, metadata, path, options, reference, train, max_drop))
                _write_contract(folder, network, contract, options)
            except CheckFailedError as error:
                results.append(ExportFailure(path, str(error)))
            advance(count)
    return results


def _write_contract(folder: Path, network: Network, contract: Contract, options: ExportOptions) -> None:
    if options.stream is None:
        write_json(folder / "contract.json", contract.to_dict())
    else:
        _, part = split(network, contract, options.stream)
        write_json(folder / f"contract-stream{options.stream}.json", part.to_dict())


def export_file(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    path: Path,
    options: ExportOptions,
    reference: ReferenceOutputs | None,
    train: Windows | None,
    max_drop: float | None,
) -> ExportResult:
    """Build a file, check it, and write it. An existing file is kept until the new one has passed.

    Args:
        network: Network to export.
        contract: Its contract.
        metadata: Strings to store in the file.
        path: Path of the file.
        options: Options of the file.
        reference: Test windows with the reference's logits; None: the file is checked on synthetic windows only.
        train: Windows of training subjects for calibration and rounding.
        max_drop: Allowed accuracy drop in percentage points, instead of the limits of the scheme.

    Raises:
        CheckFailedError: The file failed its checks.
    """
    start = time.perf_counter()
    strings = {**metadata, "scheme": options.scheme}
    if options.lowering:
        strings["lowering"] = options.lowering
    float32_options = dataclasses.replace(options, scheme="float32", io="float32")
    float32 = build_model(network, contract, {**strings, "scheme": "float32"}, float32_options, None)
    model = float32 if options.scheme == "float32" else build_model(network, contract, strings, options, train)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model)
        written = temporary.read_bytes()
        structure, checks = check_exported_model(written, network, contract, options, len(float32), reference, max_drop)
    is_timed = options.scheme != "float32" and options.stream is None
    time_ratio = _measure_time_ratio(model, float32, options, contract) if is_timed else 1.0
    size_ratio = len(model) / len(float32)
    return ExportResult(
        path=path,
        format=options.format,
        scheme=options.scheme,
        lowering=options.lowering,
        reason=options.reason,
        batch=options.batch,
        io=options.io,
        size_bytes=len(model),
        size_ratio=size_ratio,
        time_ratio=time_ratio,
        seconds=time.perf_counter() - start,
        ops=structure.ops,
        oldest_runtime=structure.min_runtime,
        checks=checks,
        notes=tuple(_notes(options, network.kind, size_ratio, time_ratio, checks)),
    )


def build_model(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    options: ExportOptions,
    train: Windows | None,
) -> bytes:
    """Build the bytes of a file, without checks.

    Args:
        network: Network to export.
        contract: Its contract.
        metadata: Strings to store in the file.
        options: Options of the file.
        train: Windows of training subjects for calibration and rounding.

    Raises:
        InputError: The scheme int8 has no training windows.
    """
    if options.stream is not None:
        network, contract = split(network, contract, options.stream)
        train = None
    if options.scheme == "int8":
        if train is None:
            raise InputError("the scheme int8 is calibrated on training windows; give the dataset of the model")
        return _build_int8(network, contract, metadata, options, train)
    if options.scheme == "int8-weights" and train is not None and network.is_stack and network.lstm:
        from harexport.exporters import calibration, gptq

        sample = calibration.sample_windows(train)
        source = {"indices": list(sample.indices), "sha256": sample.sha256}
        metadata = {**metadata, "rounded_by": json.dumps(source, separators=(",", ":"))}
        with single_threaded_blas():
            network = gptq.round_weights(network, sample.signals, options.lowering)
    if options.lowering is None:
        from harexport.exporters import onnx

        return onnx.build(network, contract, metadata, options.scheme, options.batch)
    from harexport.exporters import tflite

    return tflite.build(network, contract, metadata, options.lowering, options.scheme, options.batch)


def _build_int8(
    network: Network, contract: Contract, metadata: dict[str, str], options: ExportOptions, train: Windows
) -> bytes:
    from harexport.exporters import calibration, layer_calibration, tflite_int8, tflite_int8_layers

    assert options.lowering
    is_lstm_stack = network.is_stack and network.kind == "lstm"
    with single_threaded_blas():
        ranges = calibration.calibrate(network, train) if is_lstm_stack else layer_calibration.calibrate(network, train)
    metadata = {**metadata, "calibration": json.dumps(ranges.to_dict(), separators=(",", ":"))}
    if isinstance(ranges, calibration.Calibration):
        return tflite_int8.build(network, contract, metadata, options.lowering, ranges, options.io)
    return tflite_int8_layers.build(network, contract, metadata, options.lowering, ranges, options.io)


def _check_recorded_accuracy(checkpoint: Checkpoint, dataset: Dataset, reference: ReferenceOutputs) -> None:
    if len(dataset.test):
        accuracy = float(np.mean(reference.expected.argmax(axis=1) == dataset.test.labels))
        checkpoint.check_test_accuracy(accuracy, len(dataset.test), dataset.digest, dataset.source)


def checkpoint_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the strings that describe the origin of a checkpoint in its files; some are JSON."""
    test = checkpoint.figures.get("test") or {}
    figures = {key: test[key] for key in ("accuracy", "macro_f1") if key in test}
    return {
        "recipe": checkpoint.recipe.name,
        "recipe_keys": json.dumps(checkpoint.recipe.to_dict(), sort_keys=True, separators=(",", ":")),
        "seed": str(checkpoint.seed),
        "network_sha256": checkpoint.digest,
        "data": checkpoint.data.get("source", ""),
        "data_sha256": checkpoint.data.get("digest", ""),
        "test_figures": json.dumps(figures),
        "tool_version": checkpoint.tool_version,
    }


def check_output_folder(folder: Path, contract: Contract) -> None:
    """Raise InputError if `folder` has the contract.json of another model."""
    path = folder / "contract.json"
    if path.exists() and Contract.from_dict(read_json(path, "contract"), str(path)) != contract:
        raise InputError(f"{path} belongs to models with another contract; choose another folder with --out")


def find_checkpoint(folder: Path) -> Path:
    """Return the only .safetensors file in a folder.

    Raises:
        InputError: There is none, or more than one.
    """
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise InputError(f"no checkpoint in {folder}; write one with `harexport train`, or give the path of one")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"more than one checkpoint in {folder}: {names}. Give the path of one")
    return found[0]


def format_result(result: ExportResult) -> str:
    """Return the path, and below it one line for each kind of measurement and each note."""
    parity = result.parity
    latency = "" if result.scheme == "float32" else f", {result.time_ratio:.2f} times the latency of float32"
    reason = f" ({result.reason})" if result.reason else ""
    difference = parity.max_logit_difference if parity else result.checks.max_logit_difference
    checked = f"logits within {difference:.1e} of the reference"
    if parity:
        checked = f"accuracy {parity.accuracy:.2%}, agreement with the reference {parity.agreement:.2%}, {checked}"
    lines = [
        f"{result.path}: exported and checked in {result.seconds:.1f} s",
        f"{result.size_bytes / 1000:.1f} KB, {sum(result.ops.values())} operators{reason}{latency}",
        checked,
        *result.notes,
    ]
    return "\n  ".join(lines)


def _check_max_drop(max_drop: float | None) -> None:
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise InputError(f"max_drop {max_drop}: give percentage points from 0 to 100")


def _check_contract(network: Network, contract: Contract) -> None:
    num_coarse = len(network.coarse_head.weight) if network.coarse_head else 0
    found = (network.window, network.num_channels, network.num_labels, num_coarse)
    expected = (contract.window, len(contract.channels), len(contract.labels), len(contract.coarse_labels))
    if found != expected:
        raise InputError(
            f"the network has (window, channels, labels, coarse labels) = {found}, its contract {expected}; export it "
            "with the contract it was trained with"
        )


def _measure_time_ratio(model: bytes, float32: bytes, options: ExportOptions, contract: Contract) -> float:
    """Return the p50 latency of a file relative to its float32 file, from one interleaved run."""
    suffix = f".{options.format}"
    files = {"model": model, "float32": float32}
    runners = {name: runtimes.load_bytes(file, suffix, name) for name, file in files.items()}
    windows = synthetic_windows(contract)
    size = options.batch or 1
    windows = np.resize(windows, (len(windows) * size, *windows.shape[1:]))
    runs = {name: runner.run_batch for name, runner in runners.items()}
    times = measure(lambda: runs, windows, _TIMED_RUNS, batch=size).by_model  # no intervals, which need SciPy
    return float(np.median(times["model"]) / np.median(times["float32"]))


def _notes(options: ExportOptions, kind: str, size_ratio: float, time_ratio: float, checks: CheckResult) -> list[str]:
    notes = []
    if time_ratio > _MIN_REPORTED_SLOWDOWN:
        notes.append(f"Slower than float32 on this machine: {time_ratio:.2f} times its p50.")
    if size_ratio > 1.01:
        notes.append(f"Larger than float32: {size_ratio:.2f} times its size.")
    if options.format == "onnx" and options.scheme == "int8-weights" and kind == "lstm":
        notes.append("Its LSTM is an operator of ONNX Runtime (com.microsoft), which other runtimes do not have.")
    if options.stream is not None:
        notes.append(f"Checked on whole windows in parts of {options.stream} steps, with the state passed on.")
    if checks.parity is None:
        notes.append("Checked on synthetic windows only: no labeled windows were given for this contract.")
    return notes
