"""Our .tflite files in the oldest runtime that they promise to run in: TensorFlow Lite 2.6.2, through its Java API.

    python benchmarks/old_runtime.py [--all]
    python benchmarks/old_runtime.py FILE_OR_FOLDER ... [--all]

The Java Interpreter of an Android app (classes of 2.6.0, native library 2.6.2) runs on this machine's JVM; Maven
fetches both once, into the cache. Every file answers test windows in order, with default kernels and with XNNPACK,
resetVariableTensors() called before each window, once or never, and windows of NaN and of huge numbers between;
Python's LiteRT, the newest runtime, answers the same windows. Without arguments: artifacts/ and the forms that are not
shipped (both recipes and GRU networks in every scheme, lowering and batch, in memory), and the result goes to
old_runtime.json. Exits with 1 where a file that promises 2.6 does not hold it, with 2 where a tool is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata as installed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from harexport import files, parity  # noqa: E402
from harexport.console import say, track  # noqa: E402
from harexport.contract import CHANNELS, LOGITS_NAME, Contract  # noqa: E402
from harexport.data import Dataset, load  # noqa: E402
from harexport.data.download import sha256_of  # noqa: E402
from harexport.data.fetch import cache_folder  # noqa: E402
from harexport.errors import HarExportError, InputError  # noqa: E402
from harexport.exporting import forms, probe  # noqa: E402
from harexport.exporting.write import emitted  # noqa: E402
from harexport.inspecting import tflite as reading  # noqa: E402
from harexport.inspecting import versions  # noqa: E402
from harexport.inspecting.contents import Contents, Tensor  # noqa: E402
from harexport.network import Network  # noqa: E402
from harexport.runtimes.litert import LiteRtRunner  # noqa: E402
from harexport.training import checkpoint as checkpoints  # noqa: E402
from harexport.verify.bench import machine  # noqa: E402
from tests.networks import GRU_SHAPES, contract_of  # noqa: E402

JSON, ARTIFACTS = Path(__file__).with_suffix(".json"), ROOT / "artifacts"
COMMAND = "python benchmarks/old_runtime.py"
SOURCE = Path(__file__).with_suffix("") / "OldRuntime.java"
OLDEST = "2.6"  # what TensorFlowLite.runtimeVersion() begins with
WINDOWS = 200
KERNELS, RESETS = ("default", "xnnpack"), ("reset", "once", "never")
WAYS = tuple(f"{kernels}-{reset}" for kernels in KERNELS for reset in RESETS)
# What answers may differ by from LiteRT's: float kernels add up in another order; integer kernels round a sum that lies
# half way to another integer. Beyond a scheme's logits the share of same answers counts. Large logits, as seed-gru's,
# have large last digits: parity.py's share of the largest one is allowed too.
MOST_DIFFERENT = {"float32": 1e-4, "float16": 1e-4}
SHARE = parity.THRESHOLDS["float32"].share
LEAST_SAME = 0.98
STATELESS = 1e-6  # what a window may owe to the one before
_MAVEN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"
# (coordinates, file, SHA-256, what is taken out of it)
PARTS = (
    (
        "ai.djl.tflite:tflite-native-cpu:2.6.2:jar:linux-x86_64",
        "tflite-native-cpu-2.6.2-linux-x86_64.jar",
        "aa8ae00d9b39489d03aa76f388019da6a086eee99a22f7d7a31e4b5a09003c8e",
        "native/lib/libtensorflowlite_jni.so",
    ),
    (
        "org.tensorflow:tensorflow-lite:2.6.0:aar",
        "tensorflow-lite-2.6.0.aar",
        "f7dcd32a48dc348ee2eea2bed37044354a21e43dfdf507b6a73b40b05d5793ea",
        "classes.jar",
    ),
)
GRUS = ("seed-gru", "pytorch", "relu-after")  # both conventions of the reset gate, one head and two, 128 steps and few
_FETCH_SECONDS, _RUN_SECONDS = 600, 900
_HOSTILE = {"NaN": np.nan, "infinity": np.inf, "1e30": 1e30}
_CYCLE = (1, 7, 3)  # windows at once, in turn, of files that leave it open


@dataclasses.dataclass(frozen=True)
class Subject:
    """A file to be tried: its name in the table, its bytes, whether it is shipped."""

    name: str
    model: bytes
    shipped: bool


@dataclasses.dataclass(frozen=True)
class Asked:
    """Windows [n, window, channels], with the labels of those that are test windows (None for made-up ones)."""

    signals: NDArray[np.float32]
    labels: NDArray[np.int64] | None


class OldRuntime:
    """TensorFlow Lite 2.6.2 on the JVM, ready to run files. Raises InputError where a tool is missing."""

    def __init__(self) -> None:
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise InputError("the old runtime's library on Maven Central is for Linux x86_64 only: run this there")
        self._java = _tool("java")
        compiler, maven = _tool("javac"), _tool("mvn")
        folder = cache_folder() / "old-runtime"
        folder.mkdir(parents=True, exist_ok=True)
        self.parts = {coordinates: digest for coordinates, _, digest, _ in PARTS}
        taken = [_fetched(folder, maven, *part) for part in PARTS]
        self._libraries, classes = taken[0].parent, taken[1]
        source = SOURCE.read_bytes()
        compiled = folder / f"classes-{hashlib.sha256(source).hexdigest()[:16]}"
        if not (compiled / "OldRuntime.class").exists():
            compiled.mkdir(exist_ok=True)
            _done([compiler, "-nowarn", "-d", str(compiled), "-cp", str(classes), str(SOURCE)], "javac")
        self._class_path = f"{compiled}:{classes}"

    @property
    def java(self) -> str:
        """The JVM's version, as it tells."""
        return _done([self._java, "-version"], "java").splitlines()[0]

    def run(self, model: bytes, windows: bytes, sizes: tuple[int, ...], folder: Path) -> tuple[list[str], str]:
        """What OldRuntime.java tells, and what is said on standard error; its answers lie in `folder`.

        A death of the process is the last line, as an event "died".
        """
        (folder / "model.tflite").write_bytes(model)
        (folder / "windows").write_bytes(windows)
        command = [
            self._java,
            "-XX:-CreateCoredumpOnCrash",
            "-XX:ErrorFile=/dev/null",
            f"-Djava.library.path={self._libraries}",
            "-cp",
            self._class_path,
            "OldRuntime",
            "model.tflite",
            "windows",
            ",".join(map(str, sizes)),
            ".",
        ]
        try:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_RUN_SECONDS)
        except subprocess.TimeoutExpired as error:
            told = error.stdout.decode() if error.stdout else ""
            return [*_events(told), f"died no end after {_RUN_SECONDS} s"], ""
        events = _events(ended.stdout)
        if ended.returncode:
            events.append(f"died {_death(ended.returncode, ended.stderr)}")
        return events, ended.stderr


def _events(told: str) -> list[str]:
    return [
        line for line in told.splitlines() if line.split(" ", 1)[0] in ("runtime", "begin", "loaded", "end", "failed")
    ]


def _death(code: int, said: str) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    lines = [line for line in said.splitlines() if line and not line.startswith(("INFO", "#"))]
    return f"{how}: {without_paths(lines[0])}" if lines else how


def without_paths(text: str) -> str:
    """A line of somebody's output without this machine's folders."""
    return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+", "", text)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed: the old runtime's Java API needs a JDK (8 or newer) and Maven")
    return found


def _done(command: list[str], what: str, seconds: int = _FETCH_SECONDS) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{what} did not end within {seconds} s") from error
    said = ended.stdout + ended.stderr
    if ended.returncode:
        errors = [line for line in said.splitlines() if "ERROR" in line or "error:" in line] or said.splitlines()[-1:]
        raise InputError(f"{what} failed: {without_paths(errors[0].strip()) if errors else 'it said nothing'}")
    return said


def _fetched(folder: Path, maven: str, coordinates: str, name: str, digest: str, member: str) -> Path:
    """The file `member` of an artifact, fetched by Maven and unpacked unless it is there."""
    archive, target = folder / name, folder / Path(member).name
    if not archive.exists() or sha256_of(archive) != digest:
        say(f"fetching {coordinates}, once, into the cache ...")
        _done([maven, "-q", "-B", _MAVEN, f"-Dartifact={coordinates}", f"-DoutputDirectory={folder}"], "Maven")
        if sha256_of(archive) != digest:
            raise InputError(f"Maven brought another {name} than the one this was written for: delete it in ~/.m2")
        target.unlink(missing_ok=True)
    if not target.exists():
        with zipfile.ZipFile(archive) as packed:
            files.write_bytes(target, packed.read(member))
    return target


def shipped(paths: list[Path]) -> Iterator[Subject]:
    """The .tflite files among `paths` and in the folders among them. Raises InputError where there is none."""
    found = [f for path in paths for f in (sorted(path.rglob("*.tflite")) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"no .tflite file in {', '.join(map(str, paths))}")
    for path in found:
        try:
            yield Subject(path.name, path.read_bytes(), True)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def unshipped(dataset: Dataset) -> Iterator[Subject]:
    """Every form of the trained networks, and of GRU networks with random weights."""
    for path in sorted(ARTIFACTS.glob("*/*.safetensors")):
        checkpoint = checkpoints.load(path)
        yield from _forms(path.stem, checkpoint.network, checkpoint.contract, dataset)
    for name in GRUS:
        yield from _forms(f"gru-{name}", GRU_SHAPES[name], contract_of(GRU_SHAPES[name]), None)


def _forms(recipe: str, network: Network, contract: Contract, dataset: Dataset | None) -> Iterator[Subject]:
    train = dataset.fitting(contract).train if dataset else None
    for lowering in ("unrolled",) if network.gru else ("fused", "unrolled"):
        for scheme in ("float32", "float16", "int8-weights"):
            for batch in (1, 4, None) if lowering == "unrolled" else (1, 4):
                form = forms.choose(network, "tflite", scheme, lowering, batch)
                model = emitted(network, contract, {"scheme": scheme}, form, train)
                yield Subject(form.file_name(recipe), model, False)
        if train is not None and not network.gru:
            for io in forms.IO:
                form = forms.choose(network, "tflite", "int8", lowering, 1, io)
                model = emitted(network, contract, {"scheme": "int8"}, form, train)
                yield Subject(form.file_name(recipe), model, False)


def asked(runner: LiteRtRunner, dataset: Dataset, contract: Contract | None, count: int) -> Asked:
    """`count` test windows spread over the set, or made-up ones where the file reads something else."""
    test = dataset.test
    if runner.window_shape == test.signals.shape[1:] and (contract is None or contract.channels == CHANNELS):
        chosen = np.linspace(0, len(test) - 1, min(count, len(test))).round().astype(int)
        return Asked(np.ascontiguousarray(test.signals[chosen], np.float32), test.labels[chosen])
    if contract is None:
        raise InputError(f"{runner.name} reads {runner.window_shape} and has no contract: no windows for it")
    return Asked(probe.windows(contract, WINDOWS), None)


class Feed:
    """What a file is given, in the order of its calls, and what its answers mean.

    The windows, the last one repeated where calls take more than one; then, for files that read floats, windows of
    NaN, of infinity and of huge numbers, each followed by the first windows once more.
    """

    def __init__(self, windows: NDArray[np.float32], held: Contents, batch: int | None) -> None:
        self.sizes = _CYCLE if batch is None else (batch,)
        self._count, size = len(windows), batch or 1
        # sums are added in another order when more windows come at once
        self._tolerance = STATELESS if batch else MOST_DIFFERENT["float32"]
        self._reads = held.inputs[0]
        self._logits = next(tensor for tensor in held.outputs if tensor.name == LOGITS_NAME)
        parts = [windows, np.repeat(windows[-1:], -len(windows) % size, axis=0)]
        self._again: dict[str, slice] = {}
        for name, value in _HOSTILE.items() if self._reads.dtype == "float32" else ():
            parts += [np.full_like(windows[:size], value), windows[:size]]
            end = sum(map(len, parts))
            self._again[name] = slice(end - size, end)
        self._all = np.concatenate(parts)

    @property
    def bytes(self) -> bytes:
        """The input tensor's bytes, window after window."""
        if self._reads.dtype == "float32":
            return self._all.tobytes()
        scale, zero = _scale(self._reads)
        integers: NDArray[np.int8] = np.clip(np.rint(self._all / scale) + zero, -128, 127).astype(np.int8)
        return integers.tobytes()

    def logits(self, path: Path) -> tuple[NDArray[np.float32], dict[str, bool]]:
        """The windows' logits, and whether the first windows had the same ones after each kind of hostile window."""
        values: NDArray[np.float32] = np.fromfile(path, self._logits.dtype).astype(np.float32)
        if self._logits.dtype != "float32":
            scale, zero = _scale(self._logits)
            values = ((values - zero) * scale).astype(np.float32)
        rows = values.reshape(len(self._all), -1)
        unmoved = {
            name: bool(np.allclose(rows[where], rows[: where.stop - where.start], rtol=0, atol=self._tolerance))
            for name, where in self._again.items()
        }
        return rows[: self._count], unmoved

    def microseconds(self, path: Path) -> NDArray[np.float64]:
        """What each call of the windows took, a window."""
        taken, done = np.fromfile(path, "<i8") / 1e3, 0
        sizes: list[int] = []
        while done < self._count:
            sizes.append(min(self.sizes[len(sizes) % len(self.sizes)], len(self._all) - done))
            done += sizes[-1]
        each: NDArray[np.float64] = taken[: len(sizes)] / sizes
        return each


def _scale(tensor: Tensor) -> tuple[float, int]:
    if tensor.quantisation is None:
        raise InputError(f"{tensor.name} holds integers without a scale: export the file again")
    return tensor.quantisation.scales[0], tensor.quantisation.zero_points[0]


def tried(old: OldRuntime, subject: Subject, dataset: Dataset, count: int) -> dict[str, Any]:
    """One row of the json. Raises InputError where the file is not a model of windows."""
    held = reading.read(subject.model, subject.name)
    runner = LiteRtRunner(subject.model, subject.name)
    contract = Contract.from_dict(held.contract, subject.name) if held.contract else None
    what = asked(runner, dataset, contract, count)
    feed = Feed(what.signals, held, runner.batch)
    reference = runner.logits(what.signals)
    claimed = held.metadata.get("min_runtime_version") or held.versions.get("min_runtime_version") or OLDEST
    row: dict[str, Any] = {
        "file": subject.name,
        "sha256": hashlib.sha256(subject.model).hexdigest(),
        "shipped": subject.shipped,
        "scheme": runner.metadata.get("scheme", ""),
        "min_runtime_version": claimed,
        "operators_need": held.needs[1],
        "promised": max(versions.order(claimed)[:2], versions.order(held.needs[1])) <= versions.order(OLDEST),
        "operators": _operators(held),
        "windows": len(what.signals),
        "made_up_windows": what.labels is None,
        "at_once": list(feed.sizes),
    }
    if what.labels is not None:
        row["litert_accuracy"] = _share(reference.argmax(axis=1) == what.labels)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        events, said = old.run(subject.model, feed.bytes, feed.sizes, folder)
        row["loads"] = any(line.startswith("loaded ") for line in events)
        row["xnnpack_created"] = "XNNPACK delegate" in said
        row["signature"] = _signature(events)
        row["ways"], logits = {}, {}
        for way in WAYS:
            if f"end {way}" not in events:
                row["ways"][way] = {"failure": _failure(events, way)}
                continue
            logits[way], unmoved = feed.logits(folder / f"{way}.logits")
            times = feed.microseconds(folder / f"{way}.nanoseconds")
            row["ways"][way] = {
                **_figures(logits[way], reference, what.labels),
                "moved_without_reset": _moved(logits, way),
                "moved_after": [name for name, same in unmoved.items() if not same],
                "p50_us": round(float(np.median(times)), 1),
                "min_us": round(float(times.min()), 1),
            }
    row["runtime"] = next((line.removeprefix("runtime ") for line in events if line.startswith("runtime ")), "none")
    row["failures"] = failures(row)
    row["passed"] = not row["failures"]
    return row


def _figures(
    logits: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64] | None
) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        difference = np.abs(logits - reference)
    finite = bool(np.isfinite(difference).all())
    figures = {
        "max_logit_difference": _three(difference.max()) if finite else None,
        "rms_logit_difference": _three(np.sqrt(np.square(difference).mean())) if finite else None,
        "same_answers": _share(logits.argmax(axis=1) == reference.argmax(axis=1)),
        "largest_logit": _three(np.abs(reference).max()),
        "zeros_only": int((logits == 0).all(axis=1).sum()),
    }
    if labels is not None:
        figures["accuracy"] = _share(logits.argmax(axis=1) == labels)
    return figures


def _moved(logits: dict[str, NDArray[np.float32]], way: str) -> float | None:
    """How far logits move where the reset before each window is left out; None where they are no numbers."""
    with np.errstate(invalid="ignore"):
        moved = float(np.abs(logits[way] - logits.get(f"{way.split('-')[0]}-reset", np.nan)).max())
    return _three(moved) if np.isfinite(moved) else None


def _three(value: float | np.floating[Any]) -> float:
    """Three digits of a figure."""
    return float(f"{float(value):.3g}")


def _share(hits: NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 6)


def _failure(events: list[str], way: str) -> str:
    failed = f"failed {way} "
    if told := [line for line in events if line.startswith(failed)]:
        return told[0].removeprefix(failed)
    if events and events[-1].startswith("died ") and f"begin {way}" in events:
        return f"the process died ({events[-1].removeprefix('died ')})"
    return "not reached"


def _signature(events: list[str]) -> str:
    for line in events:
        if line.startswith(("end signature ", "failed signature ")):
            return line.split(" signature ", 1)[1]
    return "not reached"


def _operators(held: Contents) -> str:
    """The kinds of operator with their versions: "CONV_2D 1, SLICE 1"."""
    return ", ".join(f"{kind} {version}" for kind, version in sorted({(op.kind, op.version) for op in held.main.ops}))


def failures(row: dict[str, Any]) -> list[str]:
    """What a row does not hold, in words; nothing where it promises a newer runtime."""
    if not row["promised"]:
        return []
    found = [f"{way}: {complaint}" for way, figures in row["ways"].items() for complaint in _complaints(row, figures)]
    if row["signature"] != "same":
        found.append(f"signature serving_default: {row['signature']}")
    return found


def _complaints(row: dict[str, Any], figures: dict[str, Any]) -> Iterator[str]:
    if "failure" in figures:
        yield figures["failure"]
        return
    difference, moved = figures["max_logit_difference"], figures["moved_without_reset"]
    if figures["moved_after"]:
        yield f"other answers after a window of {', '.join(figures['moved_after'])}"
    if difference is None:
        yield "logits that are no numbers"
        return
    if difference > max(MOST_DIFFERENT.get(row["scheme"], np.inf), SHARE * figures["largest_logit"]):
        yield f"logits differ by {difference:.2g} from LiteRT's"
    if figures["same_answers"] < LEAST_SAME:
        yield f"only {figures['same_answers']:.1%} have LiteRT's answer"
    if figures["zeros_only"]:
        yield f"{figures['zeros_only']} answers of zeros only"
    if moved is None or moved > STATELESS:
        yield f"logits move {'' if moved is None else f'by {moved:.2g} '}without a reset before each window"


def table(rows: list[dict[str, Any]]) -> str:
    """All rows for a terminal: the worse of with and without reset, the times with reset."""
    head = ["file", "runs", "difference", "same", "zeros", "state", "default us", "XNNPACK us", ""]
    lines = [head]
    for row in rows:
        ran = [figures for figures in row["ways"].values() if "failure" not in figures]
        runs = "yes" if len(ran) == len(WAYS) else ("partly" if ran else ("loads" if row["loads"] else "no"))
        differences = [figures["max_logit_difference"] for figures in ran]
        moved = [figures["moved_without_reset"] for figures in ran]
        lines.append(
            [
                row["file"].removesuffix(".tflite") + ("" if row["shipped"] else " *"),
                runs,
                "-" if not ran else ("NaN" if None in differences else f"{max(differences):.1e}"),
                f"{min(figures['same_answers'] for figures in ran):.2%}" if ran else "-",
                str(max(figures["zeros_only"] for figures in ran)) if ran else "-",
                "-" if not ran else ("NaN" if None in moved else f"{max(moved):.0e}" if any(moved) else "0"),
                _microseconds(row["ways"]["default-reset"]),
                _microseconds(row["ways"]["xnnpack-reset"]),
                "ok" if row["passed"] and row["promised"] else "FAILS" if row["failures"] else "promises newer",
            ]
        )
    widths = [max(len(line[k]) for line in lines) for k in range(len(head) - 1)]
    drawn = [
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:-1], widths[1:], strict=True)), line[-1]]
        )
        for line in lines
    ]
    drawn.append(
        "* not shipped; us: p50 / min of a window, reset before each; state: how far a logit moves without that"
    )
    for row in rows:
        drawn += [f"{row['file']}: {failure}" for failure in row["failures"]]
    return "\n".join(drawn)


def _microseconds(figures: dict[str, Any]) -> str:
    return "-" if "failure" in figures else f"{figures['p50_us']:.0f} / {figures['min_us']:.0f}"


def check(paths: list[Path], every: bool) -> dict[str, Any]:
    """Try everything; answers what the json holds. Raises InputError."""
    old = OldRuntime()
    dataset = load()
    subjects = list(shipped(paths or [ARTIFACTS]))
    if not paths:
        say("writing the forms that are not shipped ...")
        known = {subject.name for subject in subjects}
        subjects += [subject for subject in unshipped(dataset) if subject.name not in known]
    rows = []
    with track("TensorFlow Lite 2.6.2", len(subjects), "files") as advance:
        for done, subject in enumerate(subjects, 1):
            rows.append(tried(old, subject, dataset, len(dataset.test) if every else WINDOWS))
            advance(done)
    return {
        "command": COMMAND + (" --all" if every else ""),
        "machine": machine(),
        "runtime": sorted({row.pop("runtime") for row in rows}),
        "artifacts": old.parts,
        "java": old.java,
        "litert": installed.version("ai-edge-litert"),
        "data": {"source": dataset.source, "digest": dataset.digest},
        "rows": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="FILE_OR_FOLDER", help="default: artifacts/ and all forms"
    )
    parser.add_argument("--all", action="store_true", help=f"all test windows instead of {WINDOWS}")
    options = parser.parse_args()
    try:
        measured = check(options.paths, options.all)
    except HarExportError as error:
        say(str(error))
        return error.exit_code
    if not options.paths:
        files.write_json(JSON, measured)
    print(table(measured["rows"]))
    return int(any(row["failures"] for row in measured["rows"]))


if __name__ == "__main__":
    sys.exit(main())
