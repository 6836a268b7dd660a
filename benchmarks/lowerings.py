"""Latency of the lowerings by number of steps, hidden units and scheme.

    python benchmarks/lowerings.py

For each combination, the lowerings of a network with random weights are timed in one interleaved run; the latency does
not depend on the weights. Where the emulated Arm machine is set up (`harexport targets setup arm64`), its executed
instructions are counted as well. Writes lowerings.json: the ratios of the medians to the loop, sizes and load times.
`--lowering auto` is based on it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from harexport import runtimes
from harexport.errors import InputError
from harexport.evaluation.environment import describe
from harexport.evaluation.latency import time_interleaved
from harexport.exporters import checks, tflite
from harexport.exporters.options import MAX_UNROLLED_STEPS
from harexport.model.contract import Contract
from harexport.model.layers import Cell, Conv1d, GruLayer, Linear, LstmLayer
from harexport.model.network import Network
from harexport.targets.arm64 import emulator
from harexport.targets.arm64.instructions import instructions
from harexport.utils.console import info, print_messages
from harexport.utils.files import write_json

STEPS = (128, 64, 32, 16, 8)
HIDDEN = (32, 48, 64, 128)
SCHEMES = ("float32", "float16", "int8-weights")
LOWERINGS = {"lstm": ("fused", "loop", "unrolled"), "gru": ("loop", "unrolled")}
ARM_SCHEMES, ARM_HIDDEN = ("float32", "int8-weights"), (32, 64)  # counting takes 10 s
RUNS = 200
_OUT = Path(__file__).with_suffix(".json")


def random_network(kind: str, steps: int, hidden: int) -> Network:
    """Return a network of two LSTM or GRU layers, whose steps do not overlap."""
    random = np.random.default_rng(0)
    frame = 128 // steps

    def draw(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    def layer() -> Cell:
        if kind == "lstm":
            return LstmLayer(draw(4 * hidden, hidden), draw(4 * hidden, hidden), draw(4 * hidden))
        return GruLayer(draw(3 * hidden, hidden), draw(3 * hidden, hidden), draw(3 * hidden), draw(hidden), True)

    first = Conv1d(draw(hidden, frame, 9), draw(hidden), frame, relu=True)
    return Network.stack(128, np.zeros(9), np.ones(9), first, (layer(), layer()), Linear(draw(6, hidden), draw(6)))


def measure(kind: str, steps: int, hidden: int, scheme: str, target: emulator.Target | None) -> dict[str, Any]:
    """Measure all lowerings of a network."""
    network, contract = random_network(kind, steps, hidden), Contract()
    lowerings = LOWERINGS[kind]
    files = {name: tflite.build(network, contract, {}, name, scheme) for name in lowerings}
    runners, loads = {}, {}
    for name, file in files.items():
        start = time.perf_counter()
        runners[name] = runtimes.load_bytes(file, ".tflite", name)
        loads[name] = round(1e3 * (time.perf_counter() - start), 2)
    windows = checks.synthetic_windows(contract)
    timed = time_interleaved({name: runner.run_batch for name, runner in runners.items()}, windows, RUNS)
    cell = {
        "kind": kind,
        "steps": steps,
        "hidden": hidden,
        "scheme": scheme,
        "p50_to_loop": {name: round(timed[name].p50 / timed["loop"].p50, 3) for name in lowerings},
        "p50_us": {name: round(timed[name].p50, 2) for name in lowerings},
        "min_us": {name: round(timed[name].min, 2) for name in lowerings},
        "bytes": {name: len(files[name]) for name in lowerings},
        "load_ms": loads,
    }
    if target and scheme in ARM_SCHEMES and hidden in ARM_HIDDEN:
        counts = {name: _count_instructions(file, windows[:1], target) for name, file in files.items()}
        cell["arm64_instructions"] = counts
    return cell


def _count_instructions(model: bytes, windows: np.ndarray, target: emulator.Target) -> int:
    with tempfile.TemporaryDirectory(prefix="harexport-arm-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        return instructions(path, windows, target).median


def main() -> None:
    try:
        target = emulator.load()
    except InputError:
        target = None
        info("The Arm target is not set up: instructions are not counted (harexport targets setup arm64).")
    cells = []
    for kind in LOWERINGS:
        for steps in STEPS:
            for hidden in HIDDEN:
                for scheme in SCHEMES:
                    cells.append(measure(kind, steps, hidden, scheme, target))
                    info(
                        f"{kind}, {steps:4} steps, hidden {hidden}, {scheme:12}: latency relative to the loop "
                        f"{cells[-1]['p50_to_loop']}; Arm {cells[-1].get('arm64_instructions')}"
                    )
    write_json(_OUT, {"machine": describe(), "unrolled_up_to_steps": MAX_UNROLLED_STEPS, "cells": cells})


if __name__ == "__main__":
    print_messages()
    main()
