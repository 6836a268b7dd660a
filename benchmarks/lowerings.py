"""Latency of the lowerings by number of steps, hidden units and scheme.

    python benchmarks/lowerings.py

For each combination, the lowerings of a network with random weights are timed in one interleaved run; the latency does
not depend on the weights. Writes lowerings.json: the ratios of the medians to the loop, sizes and load times.
`--lowering auto` is based on it and on the Arm instruction counts in arm64.json.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import readme
from harexport import runtimes
from harexport.evaluation.environment import describe
from harexport.evaluation.latency import time_interleaved
from harexport.exporters import checks, tflite
from harexport.exporters.options import MAX_UNROLLED_STEPS, MAX_UNROLLED_UNITS
from harexport.model.contract import Contract
from harexport.model.layers import Cell, Conv1d, GruLayer, Linear, LstmLayer
from harexport.model.network import Network
from harexport.utils.console import info, print_messages
from harexport.utils.files import write_json
from harexport.utils.tables import format_markdown

STEPS = (128, 64, 32, 16)
HIDDEN = (32, 64, 128)
SCHEMES = ("float32", "int8-weights")
LOWERINGS = {"lstm": ("fused", "loop", "unrolled"), "gru": ("loop", "unrolled")}
RUNS = 200
_OUT = Path(__file__).with_suffix(".json")


def random_network(kind: str, steps: int, hidden: int) -> Network:
    """Return a network of two LSTM or GRU layers, whose steps do not overlap."""
    random = np.random.default_rng(0)
    frame = 128 // steps

    def draw(*shape: int) -> Any:
        return (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    def layer() -> Cell:
        if kind == "lstm":
            return LstmLayer(draw(4 * hidden, hidden), draw(4 * hidden, hidden), draw(4 * hidden))
        return GruLayer(draw(3 * hidden, hidden), draw(3 * hidden, hidden), draw(3 * hidden), draw(hidden), True)

    first = Conv1d(draw(hidden, frame, 9), draw(hidden), frame, relu=True)
    return Network.stack(128, np.zeros(9), np.ones(9), first, (layer(), layer()), Linear(draw(6, hidden), draw(6)))


def build_files(kind: str, steps: int, hidden: int, scheme: str) -> dict[str, bytes]:
    """Build the files of all lowerings of a network."""
    network = random_network(kind, steps, hidden)
    return {name: tflite.build(network, Contract(), {}, name, scheme) for name in LOWERINGS[kind]}


def measure(kind: str, steps: int, hidden: int, scheme: str) -> dict[str, Any]:
    """Measure all lowerings of a network."""
    files = build_files(kind, steps, hidden, scheme)
    runners, loads = {}, {}
    for name, file in files.items():
        start = time.perf_counter()
        runners[name] = runtimes.load_bytes(file, ".tflite", name)
        loads[name] = round(1e3 * (time.perf_counter() - start), 2)
    windows = checks.synthetic_windows(Contract())
    timed = time_interleaved({name: runner.run_batch for name, runner in runners.items()}, windows, RUNS)
    return {
        "kind": kind,
        "steps": steps,
        "hidden": hidden,
        "scheme": scheme,
        "p50_to_loop": {name: round(timed[name].p50 / timed["loop"].p50, 3) for name in files},
        "p50_us": {name: round(timed[name].p50, 2) for name in files},
        "min_us": {name: round(timed[name].min, 2) for name in files},
        "bytes": {name: len(files[name]) for name in files},
        "load_ms": loads,
    }


def render(measured: dict[str, Any]) -> str:
    """Render the block `lowerings`, Markdown."""
    names = LOWERINGS["lstm"]
    rows = [["layers", "steps", "hidden", "scheme", *(f"{name} {unit}" for unit in ("µs", "KB") for name in names)]]
    for cell in measured["cells"]:
        micros = [f"{cell['p50_us'][name]:.0f}" if name in cell["p50_us"] else "-" for name in names]
        sizes = [f"{cell['bytes'][name] / 1000:.0f}" if name in cell["bytes"] else "-" for name in names]
        shape = [cell["kind"].upper(), str(cell["steps"]), str(cell["hidden"]), cell["scheme"]]
        rows.append([*shape, *micros, *sizes])
    return (
        f"{format_markdown(rows)}\n\n*µs*: latency (p50) on one core of {measured['machine']['processor']}. "
        "From [lowerings.json](lowerings.json)."
    )


def main() -> None:
    combinations = itertools.product(LOWERINGS, STEPS, HIDDEN, SCHEMES)
    cells = []
    for kind, steps, hidden, scheme in combinations:
        cells.append(measure(kind, steps, hidden, scheme))
        relative = cells[-1]["p50_to_loop"]
        info(f"{kind}, {steps} steps, hidden {hidden}, {scheme}: latency relative to the loop {relative}")
    limits = {"unrolled_up_to_steps": MAX_UNROLLED_STEPS, "unrolled_up_to_units": MAX_UNROLLED_UNITS}
    measured = {"machine": describe(), **limits, "cells": cells}
    write_json(_OUT, measured)
    readme.refresh("lowerings", render(measured))


if __name__ == "__main__":
    print_messages()
    main()
