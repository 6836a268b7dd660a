"""Benchmark on a connected phone, through adb and the self-test of the demo app.

The app gets a model and the test windows, runs them and writes logits and times as JSON (selftest.schema.json). The
comparison with the references runs on this machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.bench.candidates import Benchmark, Candidate, prepare_benchmark
from harexport.bench.discovery import FoundModels, ModelUnderTest
from harexport.bench.result import BenchResult, ColdStart, SkippedModel, Throughput, group_reasons
from harexport.bench.run import Measurements, bench_result, model_result
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation.comparison import Predictions
from harexport.evaluation.latency import Latency, Times
from harexport.evaluation.statistics import Interval
from harexport.model.layers import Array
from harexport.runtimes.runner import Floats
from harexport.utils import files
from harexport.utils.console import progress

PACKAGE, ACTIVITY = "org.harexport.demo", ".SelfTestActivity"
FOLDER = f"/sdcard/Android/data/{PACKAGE}/files"
SCHEMA = "harexport-selftest-2"
MAGIC = 0x57524148  # "HARW", little-endian
_WINDOWS = "bench.windows"
_EXTRAS = {"model": "bench.tflite", "windows": _WINDOWS, "result": "bench.json"}
_TEST_TIMEOUT_S = 180.0  # per model
_POLL_S = 0.5
_COMMAND_TIMEOUT_S = 60  # 15 MB take less over a slow cable
_READY = "device"
_STATES = {
    "unauthorized": "has not authorized this computer: unlock it, confirm USB debugging, and run the command again",
    "offline": "is connected but offline: reconnect the cable, or run `adb reconnect`",
    "no permissions": "cannot be accessed by this account: see `adb devices` and Android's documentation of udev rules",
    "recovery": "is in recovery mode: start Android on it",
    "sideload": "is in sideload mode: start Android on it",
    "bootloader": "is in its bootloader: start Android on it",
    "authorizing": "is being authorized: run the command again",
    "connecting": "is being connected: run the command again",
}
_NO_INSTRUCTIONS = "an app on a phone cannot count executed instructions; --target arm64 can"
_NO_XNNPACK = "the phone did not report XNNPACK, with which a model can be three times as fast"


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """Result of one model on the phone.

    Attributes:
        logits: [n, labels].
        times: Microseconds [rounds, runs].
        device: Manufacturer, model, Android version and ABI.
        runtime: Name and version.
        load_ms: Time to load the model.
        first_prediction_ms: Time of the first prediction.
        peak_bytes: Peak memory; None if unknown.
        notes: Remarks for the report.
    """

    logits: Floats
    times: NDArray[np.float64]
    device: str
    runtime: str
    load_ms: float
    first_prediction_ms: float
    peak_bytes: int | None
    notes: tuple[str, ...]


def bench(found: FoundModels, dataset: Dataset, serial: str | None = None) -> BenchResult:
    """Measure predictions and times on a phone and compare them with the same references as on this machine.

    Args:
        found: Result of `find_models`. ONNX files are skipped: the app has no runtime for them.
        dataset: Provides the test windows.
        serial: Serial number of the phone; None if one is connected.

    Raises:
        InputError: There is no usable phone, or no file could be measured.
    """
    phone = Phone.find(serial)  # fails before the references are computed
    if not phone.shell(f"pm path {PACKAGE} || true").strip():  # exits with 1 for a missing package
        raise InputError(
            f"the demo app {PACKAGE} is not installed on the phone {phone.serial}. Build and install it "
            "(android_demo/README.md)"
        )
    benchmark = prepare_benchmark(found, dataset)
    tests: dict[str, SelfTest] = {}
    skipped = list(benchmark.skipped)
    models = [candidate.file for candidate in benchmark.candidates if candidate.file]
    with tempfile.TemporaryDirectory() as name, progress("on the phone", len(models), "files") as advance:
        folder = Path(name)
        (folder / _WINDOWS).write_bytes(pack_windows(benchmark.dataset.test.signals))
        phone.shell(f"mkdir -p {FOLDER}")
        phone.push(folder / _WINDOWS, f"{FOLDER}/{_WINDOWS}")
        disconnected: InputError | None = None
        for done, model in enumerate(models, 1):
            try:
                _check_supported(model, disconnected)
                tests[model.name] = _run_self_test(phone, model, folder, benchmark.dataset)
            except InputError as error:
                disconnected = error if isinstance(error, PhoneGoneError) else disconnected
                skipped.append(SkippedModel(model.name, str(error)))
            advance(done)
    if not tests:
        raise InputError("; ".join(group_reasons(skipped)) or "the demo app runs .tflite files; give one")
    return _result(benchmark, tests, skipped)


def pack_windows(windows: Array) -> bytes:
    """Return windows [n, samples, channels] in the format that the app reads."""
    header = np.array([MAGIC, *windows.shape], "<i4")
    return header.tobytes() + np.ascontiguousarray(windows, "<f4").tobytes()


def _check_supported(model: ModelUnderTest, disconnected: InputError | None) -> None:
    """Raise InputError for a file that cannot be run."""
    if model.format != "tflite":
        raise InputError(f"{model.name} is not a .tflite file; the demo app runs no other format")
    if model.batch not in (1, None):
        raise InputError(f"{model.name} takes {model.batch} windows per call; the demo app runs one at a time")
    if disconnected is not None:
        raise InputError(f"{model.name} was not measured: {disconnected}")


def _run_self_test(phone: Phone, model: ModelUnderTest, folder: Path, dataset: Dataset) -> SelfTest:
    """Run one file on the phone, which has the windows already. Raises InputError."""
    local_model, local_result = folder / _EXTRAS["model"], folder / _EXTRAS["result"]
    local_model.write_bytes(model.model)
    phone.push(local_model, f"{FOLDER}/{local_model.name}")
    phone.shell(f"rm -f {FOLDER}/{local_result.name}")
    extras = " ".join(f"--es {name} {file}" for name, file in _EXTRAS.items())
    output = phone.shell(f"am start -W -S -n {PACKAGE}/{ACTIVITY} {extras} 2>&1 || true")
    if errors := [line.strip() for line in output.splitlines() if line.startswith("Error")]:
        raise InputError(
            f"{model.name}: the self-test of the demo app cannot be started ({errors[-1]}). Install a newer version"
        )
    deadline = time.monotonic() + _TEST_TIMEOUT_S
    while not phone.has(f"{FOLDER}/{local_result.name}"):
        if time.monotonic() > deadline:
            raise InputError(
                f"{model.name}: the demo app had not finished after {_TEST_TIMEOUT_S:.0f} s. Check the phone's screen, "
                "and keep it unlocked"
            )
        time.sleep(_POLL_S)
    phone.pull(f"{FOLDER}/{local_result.name}", local_result)
    shape = len(dataset.test), len(dataset.contract.labels)
    return parse_result(files.read_json(local_result, "the phone's result"), model, shape)


def parse_result(result: Any, model: ModelUnderTest, shape: tuple[int, int]) -> SelfTest:
    """Parse the JSON of the app.

    Args:
        result: Parsed JSON.
        model: The file that was run.
        shape: Expected shape of the logits.

    Raises:
        InputError: The result is invalid, or of another model.
    """
    schema = result.get("schema") if isinstance(result, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{model.name}: the phone's result is {schema or 'no self-test'}, expected {SCHEMA}. Install the demo app "
            "of this version of harexport"
        )
    if "error" in result:
        raise InputError(f"{model.name}: the phone reports: {result['error']}")
    try:
        device, runtime, peak = result["device"], result["runtime"], result["peak_bytes"]
        test = SelfTest(
            logits=np.array(result["logits"], np.float32),
            times=np.array(result["times_us"], np.float64),
            device=f"{device['manufacturer']} {device['model']}, Android {device['android']}, {device['abi']}",
            runtime=f"{runtime['name']} {runtime['version']}",
            load_ms=float(result["load_ms"]),
            first_prediction_ms=float(result["first_prediction_ms"]),
            peak_bytes=None if peak is None else int(peak),
            notes=() if runtime["xnnpack"] else (_NO_XNNPACK,),
        )
        sha256 = result["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{model.name}: the phone's result has a missing or invalid value: {error}") from error
    if sha256 != hashlib.sha256(model.model).hexdigest():
        raise InputError(f"{model.name}: the phone ran another file than this one; run the command again")
    if test.logits.shape != shape or test.times.ndim != 2 or not test.times.size or not (test.times > 0).all():
        raise InputError(
            f"{model.name}: the phone's result has logits of shape {list(test.logits.shape)} and times of shape "
            f"{list(test.times.shape)}; expected logits {list(shape)} and positive times [rounds, runs]"
        )
    return test


def _result(benchmark: Benchmark, tests: dict[str, SelfTest], skipped: list[SkippedModel]) -> BenchResult:
    candidates = [_with_predictions(c, tests[c.name]) for c in benchmark.candidates if c.name in tests]
    benchmark = dataclasses.replace(benchmark, candidates=candidates, skipped=skipped)
    latency = {name: Times({name: test.times[None]}).latency(name) for name, test in tests.items()}
    baseline = latency[benchmark.baseline]
    models = [model_result(c, benchmark, _measurements(tests[c.name], latency[c.name], baseline)) for c in candidates]
    return bench_result(
        benchmark,
        models,
        baseline=benchmark.baseline,
        target={"kind": "adb", "device": next(iter(tests.values())).device},
        instructions_unknown=_NO_INSTRUCTIONS,
    )


def _with_predictions(candidate: Candidate, test: SelfTest) -> Candidate:
    """Return the candidate with the predictions of the phone instead of this machine's."""
    predictions = Predictions(candidate.name, candidate.predictions.kind, test.logits)
    return dataclasses.replace(candidate, predictions=predictions, runtime=test.runtime)


def _measurements(test: SelfTest, latency: Latency, baseline: Latency) -> Measurements:
    # the phone runs models one after the other, so noise does not cancel out: the widest ratio of both intervals
    ratio = Interval(latency.p50 / baseline.p50, latency.low / baseline.high, latency.high / baseline.low)
    return Measurements(
        latency=latency,
        ratio=Interval(1.0, 1.0, 1.0) if latency is baseline else ratio,
        throughput=(Throughput(1, 1e6 / latency.p50),),
        cold_start=ColdStart(1, test.load_ms, test.first_prediction_ms, test.peak_bytes, None),
        notes=test.notes,
    )


class PhoneGoneError(InputError):
    """The phone was disconnected."""


@dataclasses.dataclass(frozen=True)
class Phone:
    """A connected phone.

    Attributes:
        adb: Path of the adb program.
        serial: Serial number of the phone.
    """

    adb: str
    serial: str

    @staticmethod
    def find(serial: str | None = None) -> Phone:
        """Return the connected phone, or the one with this serial number. Raises InputError."""
        adb = shutil.which("adb")
        if adb is None:
            raise InputError(
                "--target adb needs adb, which is not on the PATH: install Android's platform-tools "
                "(Debian: apt install adb)"
            )
        found = _devices(adb)
        if serial is not None:
            if serial not in found:
                there = f"connected: {', '.join(found)}" if found else "none is connected"
                raise InputError(f"no phone with the serial number {serial}; {there}")
            return _ready(adb, serial, found[serial])
        if not found:
            raise InputError("no phone is connected: connect one, enable USB debugging, and check `adb devices`")
        ready = [name for name, state in found.items() if state == _READY]
        if len(ready) > 1 or (not ready and len(found) > 1):
            listed = ", ".join(f"{name} ({state})" for name, state in found.items())
            raise InputError(f"{len(found)} phones are connected: {listed}; choose one by --target adb:SERIAL")
        chosen = ready[0] if ready else next(iter(found))
        return _ready(adb, chosen, found[chosen])

    def shell(self, command: str) -> str:
        """Return the standard output of a command on the phone. Raises InputError; PhoneGoneError if it disconnects."""
        return self._run("shell", command)

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone. Raises InputError."""
        self._run("push", str(source), target)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the phone. Raises InputError."""
        self._run("pull", source, str(target))

    def has(self, path: str) -> bool:
        """Return whether a file exists on the phone."""
        return self.shell(f"[ -f {path} ] && echo yes || echo no").strip() == "yes"

    def _run(self, *arguments: str) -> str:
        action = {"push": "a file was copied to it", "pull": "a file was copied from it"}.get(
            arguments[0], "a command ran"
        )
        try:
            child = subprocess.run(
                [self.adb, "-s", self.serial, *arguments], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise PhoneGoneError(
                f"the phone {self.serial} did not respond within {_COMMAND_TIMEOUT_S} s while {action}"
            ) from None
        if child.returncode == 0:
            return child.stdout
        output = (child.stderr.strip() or child.stdout.strip()).splitlines()
        reason = output[-1].removeprefix("adb: ").removeprefix("error: ") if output else f"exit code {child.returncode}"
        if _devices(self.adb).get(self.serial) != _READY:
            raise PhoneGoneError(
                f"the phone {self.serial} was disconnected while {action} ({reason}). Check the cable and "
                "run the command again"
            )
        raise InputError(f"adb {arguments[0]} failed on {self.serial}: {reason}")


def _devices(adb: str) -> dict[str, str]:
    """Return the states of the connected phones by serial number."""
    try:
        child = subprocess.run([adb, "devices"], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"`adb devices` failed ({error}); try `adb kill-server`") from error
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"`adb devices` failed ({reason}); try `adb kill-server`")
    _, _, table = child.stdout.partition("List of devices attached")
    lines = [line.split(maxsplit=1) for line in table.splitlines() if line.strip()]
    return {serial: state.split(";")[0].split("(")[0].strip() for serial, state in (ln for ln in lines if len(ln) == 2)}


def _ready(adb: str, serial: str, state: str) -> Phone:
    if state != _READY:
        raise InputError(f"the phone {serial} {_STATES.get(state, f'is in the state {state}: start Android on it')}")
    return Phone(adb, serial)
