"""Script of test_integer_peers.py, in a separate process: quantize a float .tflite file with TensorFlow's calibrator.

Reads float.tflite and windows.npy from a folder, writes theirs.tflite, and prints its logits as one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.optimize.calibrator import Calibrator


def main(folder: Path) -> None:
    windows = np.load(folder / "windows.npy")

    def representative() -> Iterator[list[np.ndarray]]:
        for window in windows:
            yield [window[None]]

    calibrator = Calibrator((folder / "float.tflite").read_bytes())
    quantized = calibrator.calibrate_and_quantize(representative, tf.float32, tf.float32, allow_float=False)
    (folder / "theirs.tflite").write_bytes(quantized)
    interpreter = tf.lite.Interpreter(model_content=bytes(quantized), num_threads=1)
    interpreter.allocate_tensors()
    input_index, output_index = (
        interpreter.get_input_details()[0]["index"],
        interpreter.get_output_details()[0]["index"],
    )
    logits = []
    for window in windows:
        interpreter.reset_all_variables()
        interpreter.set_tensor(input_index, window[None])
        interpreter.invoke()
        logits.append(interpreter.get_tensor(output_index)[0].tolist())
    print(json.dumps(logits))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
