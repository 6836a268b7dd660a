"""Latency of every recipe in every lowering and scheme, relative to a C kernel written for its shape.

    python benchmarks/latency.py [--runs N] [--readme]

One interleaved run per recipe measures all its files, the overheads of both runtimes and the C kernel
(benchmarks/c_kernel/). Writes latency.json and the block `latency` of benchmarks/README.md (--readme: from the JSON
file of an earlier run). Files that fail their checks are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks import readme
from benchmarks.c_kernel.c_kernel import Kernel
from harexport import runtimes
from harexport.bench import timing
from harexport.bench.timing import TimedModel, Timings
from harexport.data import Dataset, load_dataset
from harexport.data.mounting import adapt_dataset
from harexport.errors import CheckFailedError, InputError
from harexport.evaluation.environment import describe
from harexport.exporters import options as forms
from harexport.exporters.export import checkpoint_metadata, export_file
from harexport.exporters.options import SCHEMES, ExportOptions
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.runtimes.runner import RUNTIMES
from harexport.utils import files
from harexport.utils.console import info, print_messages, progress
from harexport.utils.tables import format_markdown

JSON = Path(__file__).with_suffix(".json")
RECIPES = ("edge", "baseline-lstm")
RUNS = 2000
LIMIT = "limit"
_WINDOWS = 256


def measure(runs: int) -> dict[str, Any]:
    dataset = load_dataset()
    recipes = {name: _recipe(name, dataset, runs) for name in RECIPES}
    return {"command": "python benchmarks/latency.py", "machine": describe(), "runs": runs, "recipes": recipes}


def _recipe(name: str, dataset: Dataset, runs: int) -> dict[str, Any]:
    """Measure all files of one recipe in one run."""
    checkpoint = checkpoints.load(ROOT / "artifacts" / name / f"{name}.safetensors")
    network = checkpoint.network
    emitted = _emitted(checkpoint, dataset)
    contestants = [
        TimedModel(key, RUNTIMES[form.format], 1, _loader(model, form.format)) for key, (form, model) in emitted.items()
    ]
    limit: str | None = None
    try:
        kernel = Kernel(network)
        difference = float(np.abs(kernel.logits(dataset.test.signals) - network.logits(dataset.test.signals)).max())
        contestants.append(TimedModel(LIMIT, "C", 1, lambda threads: kernel.run_batch))
    except InputError as error:
        limit = str(error)
        info(f"{name}: no limit to compare with: {limit}")
    baseline = contestants[-1].name if limit is None else contestants[0].name
    signals = np.ascontiguousarray(dataset.test.signals[:: len(dataset.test) // _WINDOWS][:_WINDOWS])
    timings = timing.time_models(contestants, baseline, signals, runs, (1,))
    return {
        "network": checkpoint.digest,
        "steps": network.num_steps,
        "hidden": network.recurrent_layers[0].hidden,
        "baseline": baseline,
        "limit": {"failure": limit} if limit else {"logit_difference": difference, **_figures(timings, LIMIT)},
        "overheads": {runtime: dataclasses.asdict(latency) for runtime, latency in timings.overheads.items()},
        "conditions": dataclasses.asdict(timings.conditions),
        "files": [
            {
                "format": form.format,
                "lowering": form.lowering,
                "scheme": form.scheme,
                "size_bytes": len(model),
                **_figures(timings, key),
            }
            for key, (form, model) in emitted.items()
        ],
    }


def _emitted(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, tuple[ExportOptions, bytes]]:
    """Build every file of a network, by name; a file that fails its checks is reported and left out."""
    network = checkpoint.network
    wanted = [
        forms.resolve(network, fmt, scheme, lowering)
        for fmt, schemes in SCHEMES.items()
        for lowering in (("auto",) if fmt == "onnx" else ("fused", "unrolled"))
        for scheme in schemes
    ]
    train = adapt_dataset(dataset, checkpoint.contract).train
    found = {}
    recipe = checkpoint.recipe.name
    with tempfile.TemporaryDirectory() as folder, progress(f"exporting {recipe}", len(wanted), "files") as advance:
        for done, form in enumerate(wanted, 1):
            path = Path(folder) / form.file_name(recipe)
            try:
                export_file(
                    network, checkpoint.contract, checkpoint_metadata(checkpoint), path, form, None, train, None
                )
                found[form.name] = form, path.read_bytes()
            except CheckFailedError as error:
                info(f"Left out: {error}")
            advance(done)
    return found


def _loader(model: bytes, fmt: str) -> Any:
    return lambda threads: runtimes.load_bytes(model, f".{fmt}", "the model", threads=threads, output=0).run_batch


def _figures(timings: Timings, key: str) -> dict[str, Any]:
    return {
        "latency": dataclasses.asdict(timings.latency[key]),
        "ratio": dataclasses.asdict(timings.ratio[key]),
    }


def table(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one row per kind of file: for each recipe, p50 and its ratio to the C kernel."""
    recipes = measured["recipes"]
    head = ["format", "lowering", "scheme"]
    for name in recipes:
        head += [f"{name} µs", "/ C kernel", "95 %", "KB"]
    rows: dict[tuple[str, ...], list[str]] = {}
    for k, recipe in enumerate(recipes.values()):
        limit = recipe["limit"]
        entries = [(("C", "-", "float32"), {**limit, "size_bytes": None})] if "latency" in limit else []
        entries += [((file["format"], file["lowering"] or "-", file["scheme"]), file) for file in recipe["files"]]
        for key, entry in entries:
            row = rows.setdefault(key, ["-"] * 4 * len(recipes))
            ratio, size = entry["ratio"], entry["size_bytes"]
            row[4 * k : 4 * k + 4] = [
                f"{entry['latency']['p50']:.1f}",
                f"{ratio['value']:.2f}",
                f"{ratio['low']:.2f}-{ratio['high']:.2f}",
                f"{size / 1000:.0f}" if size else "-",
            ]
    return [tuple(head), *((*key, *row) for key, row in rows.items())]


def render(measured: dict[str, Any]) -> str:
    """Render the block `latency`, Markdown."""
    runs = list(measured["recipes"].values())
    noise = max((run["conditions"]["noise"] for run in runs), key=len)
    quiet = f"Noise on the machine: {'; '.join(noise)}." if noise else "The machine was quiet."
    overheads = ", ".join(f"{runtime} {overhead['p50']:.1f} µs" for runtime, overhead in runs[0]["overheads"].items())
    machine = measured["machine"]
    origin = (
        f"p50 of at least {measured['runs']} runs, each model loaded eight times, one interleaved run per recipe, on "
        f"{machine['processor']}. Runtime overhead (an empty model): {overheads}. {quiet} From "
        "[latency.json](latency.json)."
    )
    return f"{format_markdown(table(measured))}\n\n{origin}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"timed runs a file (default {RUNS})")
    parser.add_argument("--readme", action="store_true", help="measure nothing: draw the README from the json")
    options = parser.parse_args()
    if not options.readme:
        files.write_json(JSON, measure(options.runs))
    measured = json.loads(JSON.read_text("utf-8"))
    print(render(measured))
    readme.refresh("latency", render(measured))


if __name__ == "__main__":
    print_messages()
    main()
