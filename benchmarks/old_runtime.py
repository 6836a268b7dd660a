"""Run exported .tflite files in the oldest supported runtime, TensorFlow Lite 2.6.2, through its Java API.

    python benchmarks/old_runtime.py [--all]
    python benchmarks/old_runtime.py FILE_OR_FOLDER ... [--all]

The Java interpreter of an Android app (classes of 2.6.0, native library of 2.6.2) runs on this machine's JVM; Maven
downloads both to the cache once. Each file runs test windows in order, with the default kernels and with XNNPACK, with
resetVariableTensors() before each window, once or never, and with windows of NaN and of large values in between. The
logits are compared with those of the current LiteRT in Python. Without arguments, the files in artifacts/ and all other
combinations of scheme, lowering and batch run, and the result is written to old_runtime.json. Files that it contains
with the same bytes are not run again.

Exit codes: 1 if a file that declares 2.6 fails, 2 if a tool is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata as installed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray

from benchmarks.ship_pretrained import ARTIFACTS
from benchmarks.tflite_2_6.feed import MAX_DIFFERENCES, STATELESS, Feed, select_windows
from benchmarks.tflite_2_6.jvm import OldRuntime
from benchmarks.tflite_2_6.subjects import Subject, shipped, unshipped
from harexport.data import Dataset, load_dataset
from harexport.errors import HarExportError
from harexport.evaluation import comparison
from harexport.evaluation.environment import describe
from harexport.formats import op_versions
from harexport.formats import tflite_reader as reading
from harexport.formats.model_file import ModelFile
from harexport.model.contract import Contract
from harexport.runtimes.litert import LiteRtRunner
from harexport.utils import files
from harexport.utils.console import info, print_messages, progress

JSON = Path(__file__).with_suffix(".json")
COMMAND = "python benchmarks/old_runtime.py"
OLDEST = "2.6"  # prefix of TensorFlowLite.runtimeVersion()
WINDOWS = 200
DELEGATES, RESETS = ("default", "xnnpack"), ("reset", "once", "never")
MODES = tuple(f"{kernels}-{reset}" for kernels in DELEGATES for reset in RESETS)
# Schemes without a logit tolerance in MAX_DIFFERENCES are checked by the agreement of their predictions. Large logits,
# such as those of the baseline GRU, have large rounding errors, hence the relative tolerance.
RTOL = comparison.TOLERANCES["float32"].rtol
MIN_AGREEMENT = 0.98


def run_file(old: OldRuntime, subject: Subject, dataset: Dataset, count: int) -> dict[str, Any]:
    """Run one file and return its row of the JSON.

    Raises:
        InputError: The file is not a model of windows.
    """
    held = reading.read(subject.model, subject.name)
    runner = LiteRtRunner(subject.model, subject.name)
    contract = Contract.from_dict(held.contract, subject.name) if held.contract else None
    what = select_windows(runner, dataset, contract, count)
    feed = Feed(what.signals, held, runner.batch)
    reference = runner.logits(what.signals)
    claimed = held.metadata.get("min_runtime_version") or held.versions.get("min_runtime_version") or OLDEST
    row: dict[str, Any] = {
        "file": subject.name,
        "sha256": hashlib.sha256(subject.model).hexdigest(),
        "shipped": subject.shipped,
        "processor": describe()["processor"],
        "scheme": runner.metadata.get("scheme", ""),
        "min_runtime_version": claimed,
        "operators_need": held.min_runtime[1],
        "is_supported": max(op_versions.version_key(claimed)[:2], op_versions.version_key(held.min_runtime[1]))
        <= op_versions.version_key(OLDEST),
        "operators": _operators(held),
        "windows": len(what.signals),
        "synthetic_windows": what.labels is None,
        "at_once": list(feed.sizes),
    }
    if what.labels is not None:
        row["litert_accuracy"] = _share(reference.argmax(axis=1) == what.labels)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        events, log = old.run(subject.model, feed.bytes, feed.sizes, folder)
        row["loads"] = any(line.startswith("loaded ") for line in events)
        row["xnnpack_created"] = "XNNPACK delegate" in log
        row["signature"] = _signature(events)
        row["ways"], logits = {}, {}
        for way in MODES:
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
    row["failures"] = find_failures(row)
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
        "same_predictions": _share(logits.argmax(axis=1) == reference.argmax(axis=1)),
        "largest_logit": _three(np.abs(reference).max()),
        "zeros_only": int((logits == 0).all(axis=1).sum()),
    }
    if labels is not None:
        figures["accuracy"] = _share(logits.argmax(axis=1) == labels)
    return figures


def _moved(logits: dict[str, NDArray[np.float32]], way: str) -> float | None:
    """Return the largest logit difference without the reset before each window; None if it is not finite."""
    with np.errstate(invalid="ignore"):
        moved = float(np.abs(logits[way] - logits.get(f"{way.split('-')[0]}-reset", np.nan)).max())
    return _three(moved) if np.isfinite(moved) else None


def _three(value: float | np.floating[Any]) -> float:
    """Round to three significant digits."""
    return float(f"{float(value):.3g}")


def _share(hits: NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 6)


def _failure(events: list[str], way: str) -> str:
    failed = f"failed {way} "
    if lines := [line for line in events if line.startswith(failed)]:
        return lines[0].removeprefix(failed)
    if events and events[-1].startswith("died ") and f"begin {way}" in events:
        return f"the process died ({events[-1].removeprefix('died ')})"
    return "not reached"


def _signature(events: list[str]) -> str:
    for line in events:
        if line.startswith(("end signature ", "failed signature ")):
            return line.split(" signature ", 1)[1]
    return "not reached"


def _operators(held: ModelFile) -> str:
    """Return the kinds of operators with their versions: "CONV_2D 1, SLICE 1"."""
    return ", ".join(f"{kind} {version}" for kind, version in sorted({(op.kind, op.version) for op in held.main.ops}))


def find_failures(row: dict[str, Any]) -> list[str]:
    """Return a message for each failed check; none if the file declares a newer runtime."""
    if not row["is_supported"]:
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
        yield f"the logits change after a window of {', '.join(figures['moved_after'])}"
    if difference is None:
        yield "the logits are not finite"
        return
    if difference > max(MAX_DIFFERENCES.get(row["scheme"], np.inf), RTOL * figures["largest_logit"]):
        yield f"logits differ by {difference:.2g} from LiteRT's"
    if figures["same_predictions"] < MIN_AGREEMENT:
        yield f"only {figures['same_predictions']:.1%} of the predictions agree with LiteRT's"
    if figures["zeros_only"]:
        yield f"all logits of {figures['zeros_only']} windows are zero"
    if moved is None or moved > STATELESS:
        yield f"logits change {'' if moved is None else f'by {moved:.2g} '}without a reset before each window"


def format_table(rows: list[dict[str, Any]]) -> str:
    """Return all rows as a text table: the worse of with and without reset, latencies with reset."""
    head = ["file", "runs", "difference", "same", "zeros", "state", "default us", "XNNPACK us", ""]
    lines = [head]
    for row in rows:
        ran = [figures for figures in row["ways"].values() if "failure" not in figures]
        runs = "yes" if len(ran) == len(MODES) else ("partly" if ran else ("loads" if row["loads"] else "no"))
        differences = [figures["max_logit_difference"] for figures in ran]
        moved = [figures["moved_without_reset"] for figures in ran]
        lines.append(
            [
                row["file"].removesuffix(".tflite") + ("" if row["shipped"] else " *"),
                runs,
                "-" if not ran else ("NaN" if None in differences else f"{max(differences):.1e}"),
                f"{min(figures['same_predictions'] for figures in ran):.2%}" if ran else "-",
                str(max(figures["zeros_only"] for figures in ran)) if ran else "-",
                "-" if not ran else ("NaN" if None in moved else f"{max(moved):.0e}" if any(moved) else "0"),
                _microseconds(row["ways"]["default-reset"]),
                _microseconds(row["ways"]["xnnpack-reset"]),
                "ok" if row["passed"] and row["is_supported"] else "FAILS" if row["failures"] else "needs newer",
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
        "* not published; us: p50 / min per window, reset before each; state: largest change of a logit without reset"
    )
    for row in rows:
        drawn += [f"{row['file']}: {failure}" for failure in row["failures"]]
    return "\n".join(drawn)


def _microseconds(figures: dict[str, Any]) -> str:
    return "-" if "failure" in figures else f"{figures['p50_us']:.0f} / {figures['min_us']:.0f}"


def _stored_rows(count: int) -> dict[str, dict[str, Any]]:
    """Return the rows of old_runtime.json with so many test windows, by the digest of the file."""
    if not JSON.exists():
        return {}
    measured = json.loads(JSON.read_text("utf-8"))
    (runtime,) = measured["runtime"]
    rows = [row for row in measured["rows"] if row["synthetic_windows"] or row["windows"] == count]
    return {row["sha256"]: {**row, "runtime": runtime} for row in rows}


def run_all(paths: list[Path], every: bool) -> dict[str, Any]:
    """Run all files and return the content of the JSON. Raises InputError."""
    old = OldRuntime()
    dataset = load_dataset()
    subjects = list(shipped(paths or [ARTIFACTS]))
    if not paths:
        info("exporting the files that are not published ...")
        known = {subject.name for subject in subjects}
        subjects += [subject for subject in unshipped(dataset) if subject.name not in known]
    count = len(dataset.test) if every else WINDOWS
    stored = {} if paths else _stored_rows(count)
    rows = []
    with progress("TensorFlow Lite 2.6.2", len(subjects), "files") as advance:
        for done, subject in enumerate(subjects, 1):
            row = stored.get(hashlib.sha256(subject.model).hexdigest()) or run_file(old, subject, dataset, count)
            rows.append({**row, "file": subject.name, "shipped": subject.shipped})
            advance(done)
    return {
        "command": COMMAND + (" --all" if every else ""),
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
        measured = run_all(options.paths, options.all)
    except HarExportError as error:
        info(str(error))
        return error.exit_code
    if not options.paths:
        files.write_json(JSON, measured)
    print(format_table(measured["rows"]))
    return int(any(row["failures"] for row in measured["rows"]))


if __name__ == "__main__":
    print_messages()
    sys.exit(main())
