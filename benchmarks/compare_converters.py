"""Compare harexport with other converters on the same trained networks: cost of conversion, and the files.

Each conversion runs in a subprocess; converters with conflicting dependencies run in their own environments, which are
created in the cache once. Prints a table, and writes compare_converters.json and the block `converters` of README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.converters import converting, environments, inputs, measuring, table
from benchmarks.converters.pipelines import PIPELINES
from benchmarks.readme import refresh
from harexport.data import Dataset, load_dataset
from harexport.data.uci_har.download import cache_folder
from harexport.errors import InputError
from harexport.evaluation.environment import describe
from harexport.model import checkpoint as checkpoints
from harexport.utils import files
from harexport.utils.console import info, print_messages, progress

JSON = ROOT / "benchmarks" / "compare_converters.json"
MODELS = ("baseline-lstm", "edge")
CALIBRATION = 200


def checkpoint_path(name: str) -> Path:
    return ROOT / "artifacts" / name / f"{name}.safetensors"


def compare(work: Path, environment_folder: Path, reuse: bool, runs: int) -> dict[str, Any]:
    """Convert all networks, measure all files, and return the content of the JSON."""
    dataset = load_dataset()
    loaded = {name: checkpoints.load(checkpoint_path(name)) for name in MODELS}
    networks = {name: checkpoint.network for name, checkpoint in loaded.items()}
    rows = _convert(work, environment_folder, reuse, dataset)
    references = {}
    for name, network in networks.items():
        with progress(f"float64 reference of {name}", len(dataset.test.signals), "windows") as advance:
            references[name] = network.logits(dataset.test.signals, advance)
    files_measured = {}
    with progress("running all files on the test windows", len(rows), "files") as advance:
        for done, row in enumerate(rows, 1):
            path = work / row["model"] / f"{row['key']}.{row['format']}"
            if not row["failure"]:
                try:
                    measured = measuring.measure(path, networks[row["model"]], references[row["model"]], dataset.test)
                    row |= measured.figures
                    files_measured[f"{row['model']}/{row['key']}"] = measured
                except InputError as error:
                    row["failure"] = f"its runtime rejects it: {environments.without_paths(str(error))}"
            advance(done)
    kernels = measuring.build_c_kernels(networks, references, dataset.test)
    latency, limits = measuring.time_models(files_measured, kernels, dataset.test, runs)
    for row in rows:
        if not row["failure"]:
            row["latency"] = latency[f"{row['model']}/{row['key']}"]
    result = {
        "command": "python benchmarks/compare_converters.py",
        "machine": describe(),
        "environments": {name: environments.versions(name) for name in ("harexport", *environments.COSTS)},
        "networks": {name: checkpoint.digest for name, checkpoint in loaded.items()},
        "data": {"source": dataset.source, "digest": dataset.digest, "calibration_windows": CALIBRATION},
        "runs": runs,
        "limits": limits,
        "rows": rows,
    }
    return {**result, "targets": table.targets(result)}


def _convert(work: Path, environment_folder: Path, reuse: bool, dataset: Dataset) -> list[dict[str, Any]]:
    chosen = np.random.default_rng(0).choice(len(dataset.train.signals), CALIBRATION, replace=False)
    calibration = dataset.train.signals[np.sort(chosen)].astype(np.float32)
    rows = []
    for name in MODELS:
        network = checkpoints.load(checkpoint_path(name)).network
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {key: np.asarray(values, np.float32) for key, values in network.arrays().items()}
        what = inputs.ConversionInput(arrays, network.window, network.input.stride, network.input.relu, calibration)
        inputs.save(what, folder / "given.npz")
        with progress(f"converting {name}", len(PIPELINES), "ways") as advance:
            for done, way in enumerate(PIPELINES, 1):
                made = converting.convert(way, checkpoint_path(name), folder, environment_folder, reuse)
                made.pop("sign")
                info(f"{name} {way.key}: {made['failure'] or format(made['seconds'], '.2f') + ' s'}")
                result = {"who": way.who, "scheme": way.scheme, "format": way.suffix[1:], "source": way.source}
                kind = {"environment": way.environment, "ours": way.ours, "by_tensorflow": way.by_tensorflow}
                rows.append({"model": name, "key": way.key, **result, **kind, **made})
                advance(done)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reuse", action="store_true", help="keep the valid conversions of an earlier run")
    parser.add_argument("--render", action="store_true", help="measure nothing; render README.md from the JSON")
    parser.add_argument("--runs", type=int, default=1000, help="timed runs a file (default 1000)")
    parser.add_argument("--work", type=Path, default=ROOT / "harexport-out" / "peers", help="where the files go")
    parser.add_argument("--environments", type=Path, help="where the peers are installed (default: the cache)")
    options = parser.parse_args()
    if options.render:
        measured = json.loads(JSON.read_text("utf-8"))
        measured["targets"] = table.targets(measured)
    else:
        folder = options.environments or cache_folder() / "peers"
        measured = compare(options.work.resolve(), folder.resolve(), options.reuse, options.runs)
    files.write_json(JSON, measured)
    refresh("converters", table.render(measured))
    print(table.terminal(measured))


if __name__ == "__main__":
    print_messages()
    main()
