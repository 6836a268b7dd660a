"""Executed instructions per window on 64-bit Arm, and outputs compared with x86-64, for every form of a file.

    harexport targets setup arm64          # once
    python benchmarks/arm64.py [--windows N|all] [--render]

Measures the artifacts, and the forms that are not shipped (built in memory from the same checkpoints), under qemu-user
on three cores: a small one of many cheap phones, a large one of Armv8.2 (the default of `harexport bench`), and one of
Armv9. Writes arm64.json after each file; a file with the same bytes, versions and windows is not measured again.
Renders the block `arm64` of benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


from benchmarks import readme
from harexport import runtimes
from harexport.data import Dataset, load_dataset
from harexport.errors import HarExportError
from harexport.evaluation.comparison import Predictions, check_tolerance, compare
from harexport.exporters import options
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.targets.arm64 import emulator
from harexport.targets.arm64.bench import spread_indices
from harexport.targets.arm64.instructions import instructions
from harexport.utils import files
from harexport.utils.console import info, print_messages

JSON, ARTIFACTS = Path(__file__).with_suffix(".json"), ROOT / "artifacts"
SCHEMA, COMMAND = "harexport-arm-1", "python benchmarks/arm64.py"
RECIPES = ("edge", "baseline-lstm")
PROCESSORS = (emulator.PROCESSOR, "cortex-a53", "cortex-a710")
COUNTED = 3  # windows
MIN_LOOP_STEPS = options.MAX_UNROLLED_STEPS + 1  # of the lowering auto


@dataclass(frozen=True)
class Subject:
    """A file to be measured."""

    recipe: str
    form: options.ExportOptions
    content: bytes
    shipped: bool

    @property
    def name(self) -> str:
        return self.form.file_name(self.recipe)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def subjects(dataset: Dataset) -> Iterator[Subject]:
    """Yield every form of every recipe: the artifact, else a new export. Raises InputError."""
    for recipe in RECIPES:
        trained = checkpoints.load(ARTIFACTS / recipe / f"{recipe}.safetensors")
        for fmt, schemes in options.SCHEMES.items():
            for lowering in ("auto",) if fmt == "onnx" else ("unrolled", "loop", "fused"):
                for scheme in schemes:
                    if lowering == "loop" and (scheme == "int8" or trained.network.num_steps < MIN_LOOP_STEPS):
                        continue
                    form = options.resolve(trained.network, fmt, scheme, lowering)
                    shipped = ARTIFACTS / recipe / form.file_name(recipe)
                    if shipped.exists():
                        yield Subject(recipe, form, shipped.read_bytes(), True)
                    else:
                        yield Subject(recipe, form, _made(trained, form, dataset), False)


def measure(count: int | None) -> dict[str, Any]:
    """Measure what arm64.json does not contain yet. Raises InputError if the target is not set up."""
    target, versions = emulator.load(), emulator.facts()["versions"]
    dataset = load_dataset()
    test = dataset.test
    chosen = spread_indices(len(test), count)
    held = {"schema": SCHEMA, "command": COMMAND, "versions": versions, "processors": list(PROCESSORS)}
    known = {row["sha256"]: row for row in _read().get("rows", []) if row.get("versions") == versions}
    todo = list(subjects(dataset))
    rows: list[dict[str, Any]] = []
    for number, subject in enumerate(todo, 1):
        row = known.get(subject.digest)
        if row and not row["error"] and row["windows"] >= len(chosen) and set(PROCESSORS) <= set(row["instructions"]):
            rows.append({**row, "name": subject.name, "shipped": subject.shipped})
            continue
        info(f"{number}/{len(todo)} {subject.name} ...")
        began = time.monotonic()
        rows.append(_row(subject, test.signals[chosen], test.labels[chosen], target))
        rows[-1] |= {"versions": versions, "seconds": round(time.monotonic() - began, 1)}
        left = [known[later.digest] for later in todo[number:] if later.digest in known]
        files.write_json(JSON, {**held, "rows": [*rows, *left]})
    result = {**held, "rows": rows}
    files.write_json(JSON, result)
    return result


def render(measured: dict[str, Any]) -> str:
    """Render the block `arm64`, Markdown: the fewest instructions first."""
    head = ["file", "KB", *(f"{name}, instructions" for name in PROCESSORS), "logit diff. to x86"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for recipe in RECIPES:
        rows = [row for row in measured["rows"] if row["recipe"] == recipe]
        for row in sorted(rows, key=lambda row: row["instructions"].get(PROCESSORS[0], {}).get("median", 0)):
            name = row["name"] if row["shipped"] else f"{row['name']} (not shipped)"
            if row["error"]:
                lines.append(f"| {name} | {row['kilobytes']} | {row['error']} |" + " |" * (len(head) - 3))
                continue
            counts = [f"{row['instructions'][processor]['median']:,}" for processor in PROCESSORS]
            lines.append(f"| {name} | {row['kilobytes']} | {' | '.join(counts)} | {row['largest']:.1e} |")
    return "\n".join(lines)


def _row(subject: Subject, windows: Any, labels: Any, target: emulator.Target) -> dict[str, Any]:
    row: dict[str, Any] = {
        "recipe": subject.recipe,
        "name": subject.name,
        "shipped": subject.shipped,
        "format": subject.form.format,
        "lowering": subject.form.lowering,
        "scheme": subject.form.scheme,
        "sha256": subject.digest,
        "kilobytes": round(len(subject.content) / 1e3, 1),
        "windows": len(windows),
        "largest": None,
        "agreement": None,
        "failures": [],
        "instructions": {},
        "error": "",
    }
    with tempfile.TemporaryDirectory(prefix="harexport-arm-") as folder:
        path = Path(folder) / subject.name
        path.write_bytes(subject.content)
        try:
            here = runtimes.load(path).logits(windows)
            there = target.run(path, windows)
            compared = compare(Predictions("arm64", "logits", there), Predictions("x86-64", "logits", here), labels)
            row |= {"largest": compared.max_logit_difference, "agreement": compared.agreement}
            row["failures"] = list(check_tolerance(compared, subject.form.scheme))
            for processor in PROCESSORS:
                row["instructions"][processor] = instructions(path, windows[:COUNTED], target, processor).to_dict()
        except HarExportError as error:
            row["error"] = str(error).replace(str(path), subject.name)
    return row


def _made(trained: Checkpoint, form: options.ExportOptions, dataset: Dataset) -> bytes:
    from harexport.exporters import calibration, onnx, tflite, tflite_int8

    network, contract, metadata = trained.network, trained.contract, {"scheme": form.scheme}
    if form.format == "onnx":
        return onnx.build(network, contract, metadata, form.scheme)
    assert form.lowering is not None
    if form.scheme == "int8":
        return tflite_int8.build(
            network, contract, metadata, form.lowering, calibration.calibrate(network, dataset.train)
        )
    return tflite.build(network, contract, metadata, form.lowering, form.scheme)


def _read() -> dict[str, Any]:
    held = files.read_json(JSON, "the Arm figures") if JSON.exists() else {}
    return dict(held) if held.get("schema") == SCHEMA else {}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Instructions and comparison on 64-bit Arm; see the module's docstring."
    )
    parser.add_argument("--windows", default="64", metavar="N|all", help="test windows to compare the outputs on")
    parser.add_argument("--render", action="store_true", help="only render the block of the README from arm64.json")
    arguments = parser.parse_args()
    try:
        measured = (
            _read() if arguments.render else measure(None if arguments.windows == "all" else int(arguments.windows))
        )
    except HarExportError as error:
        sys.exit(f"Error: {error}")
    if not measured:
        sys.exit(f"{JSON.name} is not there: {COMMAND}")
    readme.refresh("arm64", render(measured))
    print(render(measured))


if __name__ == "__main__":
    print_messages()
    main()
