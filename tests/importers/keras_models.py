"""Exports Keras 3 classifiers of windows to ONNX. Usage: keras_models.py FOLDER

It needs TensorFlow and tf2onnx, which Keras uses as well. Each model gives <name>.keras.onnx (`Model.export`) and
<name>.tf2onnx.onnx, and <name>.npy with its outputs for the windows of `windows`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np


def windows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 32, 9)).astype(np.float32)


def main(folder: Path) -> None:
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers

    keras.utils.set_random_seed(0)
    models = {
        "cnn": [
            layers.Conv1D(8, 5, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2),
            layers.Conv1D(8, 3, strides=2, padding="causal", activation="elu"),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, activation="softmax"),
        ],
        "flatten": [
            layers.Rescaling(0.5, offset=0.1),
            layers.Conv1D(4, 3),
            layers.LeakyReLU(),
            layers.AveragePooling1D(2),
            layers.Flatten(),
            layers.Dense(10, activation="tanh"),
            layers.Dense(6),
        ],
        "lstm": [layers.LSTM(8, return_sequences=True), layers.LSTM(5), layers.Dense(6)],
        "unrolled-lstm": [layers.LSTM(8, unroll=True), layers.Dense(6)],
        "bilstm": [
            layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(6),
        ],
        "gru": [layers.Dense(7, activation="relu"), layers.GRU(8), layers.Dense(6)],
        "gru-reset-before": [layers.GRU(8, reset_after=False), layers.Dense(6)],
        "cnn-lstm": [
            layers.Conv1D(8, 3, activation="relu"),
            layers.MaxPooling1D(2),
            layers.LSTM(8),
            layers.Dense(10, activation="relu"),
            layers.Dense(6, activation="softmax"),
        ],
    }
    signature = [tf.TensorSpec((None, 32, 9), tf.float32, name="window")]
    for name, parts in models.items():
        model = keras.Sequential([keras.Input((32, 9)), *parts])
        np.save(folder / f"{name}.npy", model(windows(), training=False).numpy())
        for tool in ("keras", "tf2onnx"):
            path = str(folder / f"{name}.{tool}.onnx")
            try:
                if tool == "keras":
                    model.export(path, format="onnx", verbose=False)
                else:
                    function = tf.function(lambda x, model=model: model(x, training=False), input_signature=signature)
                    tf2onnx.convert.from_function(function, signature, opset=15, output_path=path)
            except Exception as error:
                print(f"{name}.{tool}: {type(error).__name__}: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
