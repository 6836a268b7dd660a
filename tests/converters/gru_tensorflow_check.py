"""Script of test_gru_tensorflow.py, in a separate process (see tensorflow_check.py).

Reads GRU layers and sequences from an .npz file, runs them with TensorFlow 1's GRUCell and with Keras' GRU, runs the
.tflite files of the folder with TensorFlow's interpreter, and prints the outputs as one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Keras 3 has no cells of version 1

import numpy as np
import tensorflow as tf
import tf_keras


def keras_order(gates: np.ndarray) -> np.ndarray:
    """Return the gates in the order of Keras: z, r, h."""
    r, z, n = np.split(gates, 3)
    return np.concatenate([z, r, n])


def keras(given: dict[str, np.ndarray], sequences: np.ndarray, reset_after: bool, activation: str) -> np.ndarray:
    weight, recurrent, bias = (keras_order(given[name]) for name in ("input_weight", "recurrent_weight", "bias"))
    hidden = recurrent.shape[1]
    layer = tf_keras.layers.GRU(hidden, activation=activation, reset_after=reset_after)
    layer.build(sequences.shape)
    second = np.concatenate([np.zeros(2 * hidden, np.float32), given["recurrent_bias"]])
    layer.set_weights([weight.T, recurrent.T, np.stack([bias, second]) if reset_after else bias])
    return layer(sequences).numpy()


def gru_cell(given: dict[str, np.ndarray], sequences: np.ndarray, activation: str) -> np.ndarray:
    """Run tf.nn.rnn_cell.GRUCell step by step; its kernels apply to [x, h]."""
    kernel = np.concatenate([given["input_weight"], given["recurrent_weight"]], axis=1).T
    hidden = given["recurrent_weight"].shape[1]
    cell = tf.compat.v1.nn.rnn_cell.GRUCell(hidden, activation=getattr(tf.nn, activation))
    cell.build((None, sequences.shape[2]))
    gates = 2 * hidden
    cell.set_weights([kernel[:, :gates], given["bias"][:gates], kernel[:, gates:], given["bias"][gates:]])
    state = tf.zeros((len(sequences), hidden))
    for t in range(sequences.shape[1]):
        _, state = cell(tf.constant(sequences[:, t]), state)
    return state.numpy()


def main(folder: Path) -> None:
    given = dict(np.load(folder / "given.npz"))
    sequences = given["sequences"]
    result = {}
    for activation in ("relu", "tanh"):
        for reset_after in (False, True):
            result[f"keras {activation} {reset_after}"] = keras(given, sequences, reset_after, activation).tolist()
        result[f"cell {activation} False"] = gru_cell(given, sequences, activation).tolist()
    for path in sorted(folder.glob("*.tflite")):
        interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
        runner = interpreter.get_signature_runner("serving_default")
        result[path.name] = [runner(window=window[None])["logits"][0].tolist() for window in given["windows"]]
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
