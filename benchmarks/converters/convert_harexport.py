"""harexport's conversion without its checks, as other converters do. Usage: MODEL FORMAT LOWERING SCHEME

MODEL is a checkpoint or a .onnx file. The script runs in a subprocess, to measure duration and memory, and writes the
model to a temporary file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harexport.exporters.options import resolve
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.model.network import Network


def _load(path: str) -> tuple[Network, Contract]:
    if Path(path).suffix == ".onnx":
        from harexport.importers.onnx import from_onnx

        return from_onnx(path), Contract()
    checkpoint = checkpoints.load(path)
    return checkpoint.network, checkpoint.contract


def main(path: str, fmt: str, lowering: str, scheme: str) -> None:
    network, contract = _load(path)
    if fmt == "onnx":
        from harexport.exporters import onnx

        model = onnx.build(network, contract, {}, scheme)
    else:
        from harexport.exporters import tflite

        chosen = resolve(network, fmt, scheme, lowering).lowering or ""
        model = tflite.build(network, contract, {}, chosen, scheme)
    with tempfile.TemporaryFile() as out:
        out.write(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
