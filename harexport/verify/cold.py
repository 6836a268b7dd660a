"""Run in a fresh process by `latency.cold_start`: prints [load, first answer] in milliseconds."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from harexport import runtimes
from harexport.errors import HarExportError


def main(path: Path) -> None:
    runtimes.prepare(path)  # the runtime's own import is not the model's cold start
    began = time.perf_counter()
    runner = runtimes.load(path)
    loaded = time.perf_counter()
    runner.one(np.zeros((1, *runner.window_shape), dtype=np.float32))
    answered = time.perf_counter()
    print(json.dumps([1e3 * (loaded - began), 1e3 * (answered - loaded)]))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except HarExportError as error:
        sys.exit(str(error))
