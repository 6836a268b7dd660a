"""Latency of the fused and the unrolled lowering by number of steps, hidden units and scheme.

    python benchmarks/lowerings.py

For each combination, both lowerings of a network with random weights are timed in one interleaved run; the latency does
not depend on the weights. Writes lowerings.json: the ratio of the medians (unrolled / fused), sizes and load times.
`--lowering auto` is based on it and on the Arm instruction counts in arm64.json.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from harexport import runtimes
from harexport.evaluation.environment import describe
from harexport.evaluation.latency import time_interleaved
from harexport.exporters import checks, tflite
from harexport.exporters.options import MAX_UNROLLED_STEPS
from harexport.model.contract import Contract
from harexport.model.layers import Conv1d, Linear, LstmLayer
from harexport.model.network import Network
from harexport.utils.console import info, print_messages
from harexport.utils.files import write_json

STEPS = (128, 64, 32, 16, 8)
HIDDEN = (24, 32, 48, 64)
SCHEMES = ("float32", "float16", "int8-weights")
RUNS = 400
_OUT = Path(__file__).with_suffix(".json")


def random_network(steps: int, hidden: int) -> Network:
    """Return a network of two layers, whose steps do not overlap."""
    random = np.random.default_rng(0)
    frame = 128 // steps

    def draw(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    layers = tuple(LstmLayer(draw(4 * hidden, hidden), draw(4 * hidden, hidden), draw(4 * hidden)) for _ in range(2))
    first = Conv1d(draw(hidden, frame, 9), draw(hidden), frame, relu=True)
    return Network.stack(128, np.zeros(9), np.ones(9), first, layers, Linear(draw(6, hidden), draw(6)))


def measure(steps: int, hidden: int, scheme: str) -> dict[str, Any]:
    """Measure both lowerings of a network."""
    files = {
        low: tflite.build(random_network(steps, hidden), Contract(), {}, low, scheme) for low in ("fused", "unrolled")
    }
    runners, loads = {}, {}
    for name, file in files.items():
        start = time.perf_counter()
        runners[name] = runtimes.load_bytes(file, ".tflite", name)
        loads[name] = round(1e3 * (time.perf_counter() - start), 2)
    timed = time_interleaved(
        {name: runner.run_batch for name, runner in runners.items()}, checks.synthetic_windows(Contract()), RUNS
    )
    return {
        "steps": steps,
        "hidden": hidden,
        "scheme": scheme,
        "unrolled_to_fused": round(timed["unrolled"].p50 / timed["fused"].p50, 3),
        "p50_us": {name: round(latency.p50, 2) for name, latency in timed.items()},
        "bytes": {name: len(file) for name, file in files.items()},
        "load_ms": loads,
    }


def main() -> None:
    cells = []
    for steps in STEPS:
        for hidden in HIDDEN:
            for scheme in SCHEMES:
                cells.append(measure(steps, hidden, scheme))
                info(
                    f"{steps:4} steps, hidden {hidden}, {scheme:12}: latency unrolled / fused "
                    f"{cells[-1]['unrolled_to_fused']:.2f}"
                )
    write_json(_OUT, {"machine": describe(), "unrolled_up_to_steps": MAX_UNROLLED_STEPS, "cells": cells})


if __name__ == "__main__":
    print_messages()
    main()
