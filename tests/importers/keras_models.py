"""Exports Keras 3 classifiers of windows to ONNX. Usage: keras_models.py FOLDER

It needs TensorFlow and tf2onnx, which `Model.export` of Keras uses as well. Each model gives <name>.onnx, and
<name>.npy with its outputs for the windows of `windows`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np

NAMES = ("cnn", "flatten", "lstm", "bilstm", "gru")
STEPS = 16


def windows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, STEPS, 9)).astype(np.float32)


def layers_of(name: str, layers: Any) -> list[Any]:
    """Return the layers of a model; `layers` is the module of Keras."""
    models = {
        "cnn": lambda: [
            layers.Conv1D(8, 5, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2),
            layers.Conv1D(8, 3, strides=2, padding="causal", activation="elu"),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, activation="softmax"),
        ],
        "flatten": lambda: [
            layers.Rescaling(0.5, offset=0.1),
            layers.Conv1D(4, 3),
            layers.LeakyReLU(),
            layers.AveragePooling1D(2),
            layers.Flatten(),
            layers.Dense(10, activation="tanh"),
            layers.Dense(6),
        ],
        "lstm": lambda: [
            layers.Conv1D(8, 3, activation="relu"),
            layers.LSTM(8, return_sequences=True),
            layers.LSTM(5),
            layers.Dense(6, activation="softmax"),
        ],
        "bilstm": lambda: [
            layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(6),
        ],
        "gru": lambda: [layers.Dense(7, activation="relu"), layers.GRU(8), layers.Dense(6)],
    }
    return models[name]()


def main(folder: Path) -> None:
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.utils.set_random_seed(0)
    signature = [tf.TensorSpec((None, STEPS, 9), tf.float32, name="window")]
    for name in NAMES:
        model = keras.Sequential([keras.Input((STEPS, 9)), *layers_of(name, keras.layers)])
        np.save(folder / f"{name}.npy", model(windows(), training=False).numpy())
        path = str(folder / f"{name}.onnx")
        if name in ("flatten", "bilstm"):
            function = tf.function(lambda x, model=model: model(x, training=False), input_signature=signature)
            tf2onnx.convert.from_function(function, signature, opset=13, output_path=path)
        else:
            model.export(path, format="onnx", verbose=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
