"""One file: emitted, written beside its target, checked in its real runtime, timed, renamed."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harexport import runtimes
from harexport.contract import Contract
from harexport.data.windows import Windows
from harexport.errors import InputError
from harexport.exporting import gate, probe, structure
from harexport.exporting.forms import Form
from harexport.exporting.gate import GateFigures, Proof
from harexport.files import replacing
from harexport.network import Network
from harexport.threads import one_thread
from harexport.verify.latency import interleaved

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
    gate: GateFigures
    notes: tuple[str, ...]

    @property
    def parity(self) -> Any:
        """How it answers the labelled test windows (harexport.parity.Parity); None where there were none."""
        return self.gate.parity

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def write(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    path: Path,
    form: Form,
    proof: Proof | None,
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
    float32 = emitted(network, contract, {**facts, "scheme": "float32"}, plain, None)
    model = float32 if form.scheme == "float32" else emitted(network, contract, facts, form, train)
    with replacing(path) as temporary:
        temporary.write_bytes(model)
        # what is checked is what was written
        written = temporary.read_bytes()
        held, figures = gate.check(written, network, contract, form, len(float32), proof, max_drop)
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
        oldest_runtime=structure.oldest_runtime(model, form.format),
        gate=figures,
        notes=tuple(_notes(form, network.kind, size_ratio, time_ratio, figures)),
    )


def text(result: ExportResult) -> str:
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


def _difference(figures: GateFigures) -> str:
    largest = figures.parity.max_logit_difference if figures.parity else figures.max_logit_difference
    return f"logits within {largest:.1e}"


def emitted(network: Network, contract: Contract, facts: dict[str, str], form: Form, train: Windows | None) -> bytes:
    """The bytes of a form, without its gate; `train` as in `write`. Raises InputError where that is missing."""
    if form.lowering is None:
        from harexport.exporting import onnx

        return onnx.emit(network, contract, facts, form.scheme, form.batch)
    from harexport.exporting import integer, quantize, rounding, tflite

    if form.scheme == "int8":
        if train is None:
            raise InputError("full integer is calibrated on training windows: give the data set that the model is for")
        with one_thread():
            calibration = quantize.calibrate(network, train)
        facts = {**facts, "calibration": json.dumps(calibration.to_dict(), separators=(",", ":"))}
        return integer.emit(network, contract, facts, form.lowering, calibration, form.io)
    if form.scheme == "int8-weights" and train is not None and network.lstm:
        sample = quantize.sample(train)
        learned = {"indices": list(sample.indices), "sha256": sample.sha256}
        facts = {**facts, "rounded_by": json.dumps(learned, separators=(",", ":"))}
        with one_thread():
            network = rounding.aware(network, sample.signals, form.lowering)
    return tflite.emit(network, contract, facts, form.lowering, form.scheme, form.batch)


def _time_ratio(model: bytes, float32: bytes, form: Form, contract: Contract) -> float:
    """p50 of the file against that of its float32 twin, in one interleaved run."""
    suffix = f".{form.format}"
    runners = {name: runtimes.load_bytes(file, suffix, name) for name, file in (("it", model), ("float32", float32))}
    windows = probe.windows(contract)
    size = form.batch or 1
    windows = np.resize(windows, (len(windows) * size, *windows.shape[1:]))
    timed = interleaved({name: runner.one for name, runner in runners.items()}, windows, _TIMED_RUNS, batch=size)
    return timed["it"].p50 / timed["float32"].p50


def _notes(form: Form, kind: str, size_ratio: float, time_ratio: float, figures: GateFigures) -> list[str]:
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
