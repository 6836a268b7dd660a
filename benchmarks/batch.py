"""Windows per second on one core in batches of 1 to 4096, in each runtime that takes a dynamic batch.

    python benchmarks/batch.py [--readme]

Files are exported with a dynamic batch; .tflite files are unrolled, because the fused operator has a fixed one. Writes
batch.json and the block `batch` of benchmarks/README.md (--readme: from the JSON file of an earlier run).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks import readme
from harexport import runtimes
from harexport.data import load_dataset
from harexport.evaluation.environment import NoiseMonitor, describe, pin_to_idle_cores
from harexport.evaluation.latency import Model
from harexport.evaluation.statistics import median_interval
from harexport.exporters import onnx, tflite
from harexport.model import checkpoint as checkpoints
from harexport.runtimes.runner import Floats
from harexport.runtimes.torch import TorchRunner
from harexport.utils import files
from harexport.utils.console import print_messages, progress
from harexport.utils.tables import format_markdown

JSON = Path(__file__).with_suffix(".json")
RECIPES = ("edge", "baseline-lstm")
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
_ROUNDS, _SECONDS = 9, 0.03  # of each model and batch, and how long a round takes at least


def measure() -> dict[str, Any]:
    signals = np.ascontiguousarray(load_dataset().test.signals)
    rows = []
    with pin_to_idle_cores() as cores, progress("batches", len(RECIPES) * len(BATCHES), "steps") as advance:
        watch = NoiseMonitor(cores)
        conditions = watch.conditions([])
        models = {(recipe, key): model for recipe in RECIPES for key, model in _models(recipe).items()}
        for done, batch in enumerate(BATCHES, 1):
            times = _race(models, np.resize(signals, (max(batch, len(signals)), *signals.shape[1:])), batch)
            for (recipe, key), taken in times.items():
                seconds = median_interval(taken[None, :, None])
                speed = {part: batch / getattr(seconds, other) for part, other in _INVERSE.items()}
                rows.append({"recipe": recipe, "model": key, "batch": batch, "windows_per_second": speed})
            advance(done * len(RECIPES))
    return {
        "command": "python benchmarks/batch.py",
        "machine": describe(),
        "conditions": dataclasses.asdict(conditions),
        "rows": rows,
    }


_INVERSE = {"value": "value", "low": "high", "high": "low"}


def _models(recipe: str) -> dict[str, Model]:
    """Load models that accept any number of windows, with one thread each."""
    checkpoint = checkpoints.load(ROOT / "artifacts" / recipe / f"{recipe}.safetensors")
    network, contract = checkpoint.network, checkpoint.contract
    emitted = {
        "ONNX Runtime, float32": ("onnx", onnx.build(network, contract, {}, "float32", None)),
        "ONNX Runtime, int8 weights": ("onnx", onnx.build(network, contract, {}, "int8-weights", None)),
        "LiteRT unrolled, float32": ("tflite", tflite.build(network, contract, {}, "unrolled", "float32", None)),
        "LiteRT unrolled, int8 weights": (
            "tflite",
            tflite.build(network, contract, {}, "unrolled", "int8-weights", None),
        ),
    }
    models: dict[str, Model] = {
        key: runtimes.load_bytes(model, f".{fmt}", key, output=0).run_batch for key, (fmt, model) in emitted.items()
    }
    return {**models, "PyTorch": TorchRunner(network).run_batch}


def _race(models: dict[tuple[str, str], Model], windows: Floats, batch: int) -> dict[tuple[str, str], Any]:
    """Return the seconds of a call of each model in each round; each round has its own order."""
    random = np.random.default_rng(0)
    given = np.ascontiguousarray(windows[:batch])
    calls = {}
    for key, model in models.items():
        model(given)
        calls[key] = max(1, round(_SECONDS / _timed(model, given, 1)))
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in models}
    keys = list(models)
    for _ in range(_ROUNDS):
        for k in random.permutation(len(keys)):
            key = keys[int(k)]
            models[key](given)
            taken[key].append(_timed(models[key], given, calls[key]) / calls[key])
    return {key: np.array(seconds) for key, seconds in taken.items()}


def _timed(model: Model, windows: Floats, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        model(windows)
    return time.perf_counter() - began


def render(measured: dict[str, Any]) -> str:
    """Render the block `batch`, Markdown: one row per model, one column per batch size."""
    speeds: dict[tuple[str, str], dict[int, float]] = {}
    for row in measured["rows"]:
        speeds.setdefault((row["recipe"], row["model"]), {})[row["batch"]] = row["windows_per_second"]["value"]
    head = ("recipe", "runtime", *(str(batch) for batch in BATCHES))
    rows = [(*key, *(f"{of[batch]:,.0f}" for batch in BATCHES)) for key, of in speeds.items()]
    machine = measured["machine"]
    origin = (
        f"Windows per second on one core of {machine['processor']}, by batch size; medians of {_ROUNDS} interleaved "
        "rounds. A phone produces 0.8 windows per second. From [batch.json](batch.json)."
    )
    return f"{format_markdown([head, *rows])}\n\n{origin}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="measure nothing: draw the README from the json")
    if not parser.parse_args().readme:
        files.write_json(JSON, measure())
    measured = json.loads(JSON.read_text("utf-8"))
    print(render(measured))
    readme.refresh("batch", render(measured))


if __name__ == "__main__":
    print_messages()
    main()
