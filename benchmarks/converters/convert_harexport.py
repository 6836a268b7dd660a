"""harexport's conversion without its checks, as other converters do. Usage: CHECKPOINT FORMAT LOWERING SCHEME

It runs in a subprocess, to measure duration and memory, and writes the model to a temporary file.
"""

from __future__ import annotations

import sys
import tempfile

from harexport.model import checkpoint as checkpoints


def main(path: str, fmt: str, lowering: str, scheme: str) -> None:
    checkpoint = checkpoints.load(path)
    if fmt == "onnx":
        from harexport.exporters import onnx

        model = onnx.build(checkpoint.network, checkpoint.contract, {}, scheme)
    else:
        from harexport.exporters import tflite

        model = tflite.build(checkpoint.network, checkpoint.contract, {}, lowering, scheme)  # type: ignore[arg-type]
    with tempfile.TemporaryFile() as out:
        out.write(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
