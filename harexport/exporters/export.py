"""Network -> proven files: the options, the windows they are proven on, the names they get."""

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
from harexport.errors import CheckFailedError, InputError
from harexport.evaluation.latency import time_interleaved
from harexport.exporters import checks, options
from harexport.exporters.checks import CheckResult, ReferenceOutputs
from harexport.exporters.options import ExportOptions
from harexport.model.contract import Contract
from harexport.model.network import Network, single_threaded_blas
from harexport.utils.console import progress
from harexport.utils.files import DEFAULT_OUTPUT_DIR, atomic_write, read_json, write_json

if TYPE_CHECKING:  # a checkpoint comes from above; exporting needs nothing of training
    from harexport.model.checkpoint import Checkpoint


@dataclass(frozen=True)
class ExportFailure:
    """A file that did not pass its gate and was not written: the name it would have had, and why."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
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
) -> ExportResult:
    """Write `network` to `path` as a file that has passed its gate.

    path defaults to `harexport-out/model-...`, named after its form; format "onnx" or "tflite" defaults to the path's
    suffix, and that to tflite; scheme, lowering, batch (None: any number of windows) and io are as exporting/forms.py
    lists them. `contract` defaults to UCI HAR's; `metadata` goes into the file. `dataset`: its test windows are what
    the file is judged by, its training windows what full integer is calibrated on and int8 weights are rounded by;
    default: UCI HAR (`harexport.data.load_dataset`) where the contract is of its windows and labels, else the file is judged
    by synthetic windows alone and a note says so. `max_drop`: points of accuracy to allow on the test windows instead
    of the scheme's own promise.

    Raises InputError for options that do not exist or do not fit, CheckFailedError when the file fails its gate;
    then whatever was at `path` is still there.
    """
    contract = contract or Contract()
    _check_drop(max_drop)
    asked = format or (Path(path).suffix.lower().removeprefix(".") if path else "tflite")
    form = options.resolve(network, asked, scheme, lowering, batch, io)
    path = Path(path) if path else DEFAULT_OUTPUT_DIR / form.file_name("model")
    if path.suffix.lower() != f".{form.format}":
        raise InputError(f"{path}: a file in the format {form.format} must be called *.{form.format}")
    _check_fit(network, contract)
    if dataset is None and not contract_mismatches(contract, Contract()):
        dataset = load_dataset()
    dataset = None if dataset is None else dataset.matching(contract)
    proof = None if dataset is None else compute_reference(network, dataset)
    train = None if dataset is None else dataset.train
    return export_file(network, contract, metadata or {}, path, form, proof, train, max_drop)


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
) -> list[ExportResult | ExportFailure]:
    """Export a checkpoint into `folder`, under the names of `Form.file_name`, proven on the test windows of `dataset`.

    fmt "onnx", "tflite" or "all": with "all", the schemes that only one format has are made in that one. The
    contract goes beside them as contract.json. A file that fails its gate does not stop the others. Raises
    InputError before anything is written where the options do not fit, or where the folder's contract.json is
    another one's.
    """
    folder, network = Path(folder), checkpoint.network
    _check_drop(max_drop)
    files = options.resolve_all(network, fmt, schemes, lowering, batch, io)
    check_output_folder(folder, checkpoint.contract)
    dataset = dataset.matching(checkpoint.contract, checkpoint.recipe.name)
    proof, train = compute_reference(network, dataset), dataset.train
    metadata = checkpoint_metadata(checkpoint)
    results: list[ExportResult | ExportFailure] = []
    with progress(f"exporting {checkpoint.recipe.name}", len(files), "files") as advance:
        for done, form in enumerate(files, 1):
            path = folder / form.file_name(checkpoint.recipe.name)
            try:
                results.append(export_file(network, checkpoint.contract, metadata, path, form, proof, train, max_drop))
                write_json(folder / "contract.json", checkpoint.contract.to_dict())
            except CheckFailedError as error:
                results.append(ExportFailure(path, str(error)))
            advance(done)
    return results


def checkpoint_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What a checkpoint's files say of where they come from: strings, some of them JSON."""
    test = checkpoint.figures.get("test") or {}
    figures = {key: test[key] for key in ("accuracy", "macro_f1") if key in test}
    return {
        "recipe": checkpoint.recipe.name,
        "recipe_keys": json.dumps(checkpoint.recipe_metadata, sort_keys=True, separators=(",", ":")),
        "seed": str(checkpoint.seed),
        "network_sha256": checkpoint.digest,
        "data": checkpoint.data.get("source", ""),
        "data_sha256": checkpoint.data.get("digest", ""),
        "test_figures": json.dumps(figures),
        "tool_version": checkpoint.tool_version,
    }


def compute_reference(network: Network, dataset: Dataset) -> ReferenceOutputs:
    """The test windows of `dataset`, which fit, and what `network` answers to them in float64."""
    with progress("float64 reference", len(dataset.test), "windows") as advance:
        return ReferenceOutputs(dataset.test, network.logits(dataset.test.signals, advance))


def _check_drop(max_drop: float | None) -> None:
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise InputError(f"max_drop {max_drop}: give points of accuracy from 0 to 100")


def _check_fit(network: Network, contract: Contract) -> None:
    coarse = len(network.coarse_head.weight) if network.coarse_head else 0
    has = (network.window, network.num_channels, network.num_labels, coarse)
    wants = (contract.window, len(contract.channels), len(contract.labels), len(contract.coarse_labels))
    if has != wants:
        raise InputError(
            f"the network reads and answers (window, channels, labels, coarse labels) = {has}, its contract says "
            f"{wants}; export it with the contract it was trained with"
        )


def check_output_folder(folder: Path, contract: Contract) -> None:
    """Raise InputError where `folder` already belongs to models of another contract."""
    path = folder / "contract.json"
    if path.exists() and Contract.from_dict(read_json(path, "contract"), str(path)) != contract:
        raise InputError(
            f"{path} is the contract of models that expect or answer something else; choose another folder with --out"
        )


def find_checkpoint(folder: Path) -> Path:
    """The one .safetensors file in `folder`. Raises InputError where there is none, or more than one to choose from."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise InputError(f"no checkpoint in {folder}: `harexport train` writes one; or name its path")
    if len(found) > 1:
        raise InputError(f"which checkpoint? {folder} holds {', '.join(path.name for path in found)}: name one's path")
    return found[0]


_TIMED_RUNS = 200
_SLOWER = 1.05  # what is said about time begins beyond this; below is the noise of so short a measurement


@dataclass(frozen=True)
class ExportResult:
    """A file that passed its gate.

    `lowering` is None for ONNX, `reason` says why `auto` chose it, `batch` is None for any number of windows; `ops`
    counts its operators; `oldest_runtime` is the lowest version of TensorFlow Lite or ONNX Runtime that reads it.
    `size_ratio` and `time_ratio` (p50, one interleaved run on this machine) are against the float32 file of the same
    format and lowering. `notes` say in words what a user of the file must know. `seconds` is the whole export, gate
    included.
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
    gate: CheckResult
    notes: tuple[str, ...]

    @property
    def parity(self) -> Any:
        """Comparison with the reference on the labelled test windows; None without test windows."""
        return self.gate.parity

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def export_file(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    path: Path,
    form: ExportOptions,
    proof: ReferenceOutputs | None,
    train: Windows | None,
    max_drop: float | None,
) -> ExportResult:
    """Write `network` in this form to `path`. Raises CheckFailedError when the file fails its gate.

    `train`: windows of training subjects, which full integer is calibrated on and int8 weights are rounded by;
    `proof` and `max_drop` are the gate's. Until the file has passed, whatever was at `path` is there.
    """
    began = time.perf_counter()
    facts = {**metadata, "scheme": form.scheme, **({"lowering": form.lowering} if form.lowering else {})}
    plain = dataclasses.replace(form, scheme="float32", io="float32")
    float32 = build_model(network, contract, {**facts, "scheme": "float32"}, plain, None)
    model = float32 if form.scheme == "float32" else build_model(network, contract, facts, form, train)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model)
        # what is checked is what was written
        written = temporary.read_bytes()
        held, figures = checks.check_exported_model(written, network, contract, form, len(float32), proof, max_drop)
    time_ratio = _time_ratio(model, float32, form, contract) if form.scheme != "float32" else 1.0
    size_ratio = len(model) / len(float32)
    return ExportResult(
        path=path,
        format=form.format,
        scheme=form.scheme,
        lowering=form.lowering,
        reason=form.reason,
        batch=form.batch,
        io=form.io,
        size_bytes=len(model),
        size_ratio=size_ratio,
        time_ratio=time_ratio,
        seconds=time.perf_counter() - began,
        ops=held.ops,
        oldest_runtime=held.min_runtime,
        gate=figures,
        notes=tuple(_notes(form, network.kind, size_ratio, time_ratio, figures)),
    )


def format_result(result: ExportResult) -> str:
    """A line for people, and one more for each note."""
    parity = result.gate.parity
    proof = f"{parity.accuracy:.2%}, {parity.agreement:.2%} as the reference, " if parity else ""
    ratios = "" if result.scheme == "float32" else f", {result.time_ratio:.2f} of float32's time"
    chosen = f" ({result.reason})" if result.reason else ""
    return "\n  ".join(
        [
            f"{result.path}: {result.size_bytes / 1000:.1f} KB, {sum(result.ops.values())} operators{chosen}, "
            f"{proof}{_difference(result.gate)}{ratios}; {result.seconds:.2f} s",
            *result.notes,
        ]
    )


def _difference(figures: CheckResult) -> str:
    largest = figures.parity.max_logit_difference if figures.parity else figures.max_logit_difference
    return f"logits within {largest:.1e}"


def build_model(
    network: Network, contract: Contract, facts: dict[str, str], form: ExportOptions, train: Windows | None
) -> bytes:
    """The bytes of a form, without its gate; `train` as in `write`. Raises InputError where that is missing."""
    if form.lowering is None:
        from harexport.exporters import onnx

        return onnx.build(network, contract, facts, form.scheme, form.batch)
    from harexport.exporters import calibration as quantize
    from harexport.exporters import gptq, tflite, tflite_int8

    if form.scheme == "int8":
        if train is None:
            raise InputError("full integer is calibrated on training windows: give the data set that the model is for")
        with single_threaded_blas():
            calibration = quantize.calibrate(network, train)
        facts = {**facts, "calibration": json.dumps(calibration.to_dict(), separators=(",", ":"))}
        return tflite_int8.build(network, contract, facts, form.lowering, calibration, form.io)
    if form.scheme == "int8-weights" and train is not None and network.lstm:
        sample = quantize.sample_windows(train)
        learned = {"indices": list(sample.indices), "sha256": sample.sha256}
        facts = {**facts, "rounded_by": json.dumps(learned, separators=(",", ":"))}
        with single_threaded_blas():
            network = gptq.round_weights(network, sample.signals, form.lowering)
    return tflite.build(network, contract, facts, form.lowering, form.scheme, form.batch)


def _time_ratio(model: bytes, float32: bytes, form: ExportOptions, contract: Contract) -> float:
    """p50 of the file against that of its float32 twin, in one interleaved run."""
    suffix = f".{form.format}"
    runners = {name: runtimes.load_bytes(file, suffix, name) for name, file in (("it", model), ("float32", float32))}
    windows = checks.synthetic_windows(contract)
    size = form.batch or 1
    windows = np.resize(windows, (len(windows) * size, *windows.shape[1:]))
    timed = time_interleaved(
        {name: runner.run_batch for name, runner in runners.items()}, windows, _TIMED_RUNS, batch=size
    )
    return timed["it"].p50 / timed["float32"].p50


def _notes(form: ExportOptions, kind: str, size_ratio: float, time_ratio: float, figures: CheckResult) -> list[str]:
    notes = []
    if time_ratio > _SLOWER:
        notes.append(f"Slower than float32 on this machine: {time_ratio:.2f} times its p50.")
    if size_ratio > 1.01:
        notes.append(f"Bigger than float32: {size_ratio:.2f} times its size.")
    if form.format == "onnx" and form.scheme == "int8-weights" and kind == "lstm":
        notes.append("Its LSTM is an operator of ONNX Runtime (com.microsoft); other runtimes do not have it.")
    if figures.parity is None:
        notes.append("Judged by synthetic windows alone: no labelled windows were given for this contract.")
    return notes
