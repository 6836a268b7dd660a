"""Script of test_tensorflow.py, in a separate process since TensorFlow is slow to import and does not support forks.

Reads networks and windows from an .npz file, runs them with Keras and with TensorFlow's interpreter, converts the Keras
model with TFLiteConverter, and prints the outputs as one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert import schema_py_generated as schema


def keras_model(arrays: dict[str, np.ndarray], steps: int, width: int) -> tf_keras.Model:
    """Two LSTM layers and a head on an input sequence [steps, width], with the given arrays.

    Keras has the gate order of PyTorch and transposed weights.
    """
    inputs = tf_keras.Input((steps, width), batch_size=1)
    x = inputs
    for k in range(2):
        hidden = arrays[f"lstm.{k}.recurrent_weight"].shape[1]
        layer = tf_keras.layers.LSTM(hidden, return_sequences=k == 0, unit_forget_bias=False)
        x = layer(x)
        layer.set_weights(
            [arrays[f"lstm.{k}.{part}"].T for part in ("input_weight", "recurrent_weight")] + [arrays[f"lstm.{k}.bias"]]
        )
    head = tf_keras.layers.Dense(arrays["head.weight"].shape[0])
    outputs = head(x)
    head.set_weights([arrays["head.weight"].T, arrays["head.bias"]])
    return tf_keras.Model(inputs, outputs)


def cell_clips(model: bytes) -> list[float]:
    file = schema.ModelT.InitFromPackedBuf(model, 0)
    options = [operator.builtinOptions for graph in file.subgraphs for operator in graph.operators]
    return [o.cellClip for o in options if isinstance(o, schema.UnidirectionalSequenceLSTMOptionsT)]


def main(folder: Path) -> None:
    given = np.load(folder / "given.npz")
    sequences = given["sequences"]
    model = keras_model(dict(given), *sequences.shape[1:])
    outputs = np.concatenate([model(sequence[None]).numpy() for sequence in sequences])
    converted = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    result = {"keras": outputs.tolist(), "converted_cell_clips": cell_clips(converted)}
    for path in sorted(folder.glob("*.tflite")):
        interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
        runner = interpreter.get_signature_runner("serving_default")
        result[path.name] = [runner(window=window[None])["logits"][0].tolist() for window in given["windows"]]
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
