"""`--target adb`: .tflite files on a connected phone, through the demo app's self-test.

The app is given a model and windows, and writes what it answered and how long it took (selftest.schema.json says how).
Everything that can be judged here is judged here: the phone only answers and times.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.bench import assemble as outcome
from harexport.bench.assemble import Measurements
from harexport.bench.candidates import Benchmark, Candidate, prepare_benchmark
from harexport.bench.discovery import ModelUnderTest
from harexport.bench.result import BenchResult, ColdStart, SkippedModel, Throughput
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation.comparison import Predictions
from harexport.evaluation.latency import Latency, Times
from harexport.evaluation.statistics import Interval
from harexport.model.layers import Array
from harexport.runtimes import Floats
from harexport.targets.adb import Phone, PhoneGoneError
from harexport.utils import files
from harexport.utils.console import progress

PACKAGE, ACTIVITY = "org.harexport.demo", ".SelfTestActivity"
FOLDER = f"/sdcard/Android/data/{PACKAGE}/files"
SCHEMA = "harexport-selftest-1"
MAGIC = 0x57524148  # "HARW", little-endian
_WINDOWS = "bench.windows"
_EXTRAS = {"model": "bench.tflite", "windows": _WINDOWS, "result": "bench.json"}
_SECONDS = 180.0  # that the app may take for one model
_POLL = 0.5
_INSTRUCTIONS = "a phone does not let an app count executed instructions; --target arm64 does"
_NO_XNNPACK = "the phone did not say that XNNPACK was applied: with it, a model may be three times as fast"


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """What the phone said of one model: logits [n, labels], and times in microseconds [rounds, runs]."""

    logits: Floats
    times: NDArray[np.float64]
    device: str
    runtime: str
    load_ms: float
    first_answer_ms: float
    peak_bytes: int | None
    notes: tuple[str, ...]


def bench(
    paths: Sequence[Path], dataset: Dataset, serial: str | None = None, *, against: Path | None = None
) -> BenchResult:
    """`verify.bench.bench` on a phone: answers and times are the phone's, judged against the same references.

    Files are first tried here, as always. ONNX files are refused: the app has no runtime for them. Raises InputError
    where there is no usable phone, or where no file could be measured on it.
    """
    phone = Phone.find(serial)  # before a minute of work
    if not phone.shell(f"pm path {PACKAGE} || true").strip():  # it ends with 1 where there is none
        raise InputError(
            f"the demo app {PACKAGE} is not on the phone {phone.serial}: build and install it (android_demo/README.md)"
        )
    field = prepare_benchmark(paths, dataset, against)
    tests: dict[str, SelfTest] = {}
    refused = list(field.refused)
    entrants = [candidate.entrant for candidate in field.candidates if candidate.entrant]
    with tempfile.TemporaryDirectory() as name, progress("on the phone", len(entrants), "files") as advance:
        folder = Path(name)
        (folder / _WINDOWS).write_bytes(packed(field.dataset.test.signals))
        phone.shell(f"mkdir -p {FOLDER}")
        phone.push(folder / _WINDOWS, f"{FOLDER}/{_WINDOWS}")
        gone: InputError | None = None
        for done, entrant in enumerate(entrants, 1):
            try:
                _check(entrant, gone)
                tests[entrant.name] = _test(phone, entrant, folder, field.dataset)
            except InputError as error:
                gone = error if isinstance(error, PhoneGoneError) else gone
                refused.append(SkippedModel(entrant.name, str(error)))
            advance(done)
    if not tests:
        raise InputError("; ".join(one.reason for one in refused) or "the demo app runs .tflite files: give one")
    return _result(field, tests, refused)


def packed(windows: Array) -> bytes:
    """Windows [n, samples, channels] as the app reads them."""
    header = np.array([MAGIC, *windows.shape], "<i4")
    return header.tobytes() + np.ascontiguousarray(windows, "<f4").tobytes()


def _check(entrant: ModelUnderTest, gone: InputError | None) -> None:
    """Raise InputError for a file that need not be tried."""
    if entrant.format != "tflite":
        raise InputError(f"{entrant.name} is no .tflite file: the demo app runs no other")
    if entrant.batch not in (1, None):
        raise InputError(f"{entrant.name} takes {entrant.batch} windows at once: the demo app gives one at a time")
    if gone is not None:
        raise InputError(f"{entrant.name} was not measured: {gone}")


def _test(phone: Phone, entrant: ModelUnderTest, folder: Path, dataset: Dataset) -> SelfTest:
    """Run one file on the phone, where the windows are already. Raises InputError."""
    model, told = folder / _EXTRAS["model"], folder / _EXTRAS["result"]
    model.write_bytes(entrant.model)
    phone.push(model, f"{FOLDER}/{model.name}")
    phone.shell(f"rm -f {FOLDER}/{told.name}")
    extras = " ".join(f"--es {name} {file}" for name, file in _EXTRAS.items())
    started = phone.shell(f"am start -W -S -n {PACKAGE}/{ACTIVITY} {extras} 2>&1 || true")
    if wrong := [line.strip() for line in started.splitlines() if line.startswith("Error")]:
        raise InputError(
            f"{entrant.name}: the demo app on the phone has no self-test that can be started ({wrong[-1]}): install a "
            "newer one"
        )
    until = time.monotonic() + _SECONDS
    while not phone.has(f"{FOLDER}/{told.name}"):
        if time.monotonic() > until:
            raise InputError(
                f"{entrant.name}: the demo app had not finished after {_SECONDS:.0f} s; look at the phone's screen, "
                "and keep it unlocked"
            )
        time.sleep(_POLL)
    phone.pull(f"{FOLDER}/{told.name}", told)
    shape = len(dataset.test), len(dataset.contract.labels)
    return read(files.read_json(told, "the phone's result"), entrant, shape)


def read(told: Any, entrant: ModelUnderTest, shape: tuple[int, int]) -> SelfTest:
    """The app's json as a SelfTest; `shape` of the logits. Raises InputError where it is another one's, or of another
    model."""
    schema = told.get("schema") if isinstance(told, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{entrant.name}: the phone's result is {schema or 'no self-test'}, expected {SCHEMA}: install the demo "
            "app that belongs to this harexport"
        )
    if "error" in told:
        raise InputError(f"{entrant.name}: the phone says: {told['error']}")
    try:
        device, runtime, peak = told["device"], told["runtime"], told["peak_bytes"]
        test = SelfTest(
            logits=np.array(told["logits"], np.float32),
            times=np.array(told["times_us"], np.float64),
            device=f"{device['manufacturer']} {device['model']}, Android {device['android']}, {device['abi']}",
            runtime=f"{runtime['name']} {runtime['version']}",
            load_ms=float(told["load_ms"]),
            first_answer_ms=float(told["first_answer_ms"]),
            peak_bytes=None if peak is None else int(peak),
            notes=() if runtime["xnnpack"] else (_NO_XNNPACK,),
        )
        sha256 = told["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{entrant.name}: the phone's result lacks or misstates {error}") from error
    if sha256 != hashlib.sha256(entrant.model).hexdigest():
        raise InputError(f"{entrant.name}: the phone ran another file than the one it was given; run it again")
    if test.logits.shape != shape or test.times.ndim != 2 or not test.times.size:
        raise InputError(
            f"{entrant.name}: the phone answered logits of shape {list(test.logits.shape)} and times of "
            f"{list(test.times.shape)}; expected {list(shape)}, and rounds of equally many times"
        )
    return test


def _result(field: Benchmark, tests: dict[str, SelfTest], refused: list[SkippedModel]) -> BenchResult:
    candidates = [_answered(one, tests[one.name]) for one in field.candidates if one.name in tests]
    field = dataclasses.replace(field, candidates=candidates, refused=refused)
    latency = {name: Times({name: test.times[None]}).latency(name) for name, test in tests.items()}
    base = latency[field.baseline]
    models = [
        outcome.model_result(candidate, field, _measured(tests[candidate.name], latency[candidate.name], base))
        for candidate in candidates
    ]
    return outcome.bench_result(
        field,
        models,
        baseline=field.baseline,
        target={"kind": "adb", "device": next(iter(tests.values())).device},
        instructions_unknown=_INSTRUCTIONS,
    )


def _answered(candidate: Candidate, test: SelfTest) -> Candidate:
    """The candidate with the phone's answers in the place of this machine's."""
    answers = Predictions(candidate.name, candidate.answers.kind, test.logits)
    return dataclasses.replace(candidate, answers=answers, runtime=test.runtime)


def _measured(test: SelfTest, latency: Latency, base: Latency) -> Measurements:
    # models run one after the other there, so nothing cancels out: the widest that both intervals allow
    ratio = Interval(latency.p50 / base.p50, latency.low / base.high, latency.high / base.low)
    return Measurements(
        latency=latency,
        ratio=Interval(1.0, 1.0, 1.0) if latency is base else ratio,
        throughput=(Throughput(1, 1e6 / latency.p50),),
        cold_start=ColdStart(1, test.load_ms, test.first_answer_ms, test.peak_bytes, None),
        notes=test.notes,
    )
