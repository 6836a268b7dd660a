"""Conversion by Keras and TFLiteConverter, as in their documentation.

Usage: convert_keras.py KERAS LOOP SCHEME GIVEN.npz OUT
KERAS: keras (version 3) or tf_keras (version 2); LOOP: loop or unroll (the layers' option);
SCHEME: float32, dynamic (post-training dynamic range), int8 (full integer, calibrated).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import inputs
import numpy as np
import tensorflow as tf


def build(keras: Any, what: inputs.ConversionInput, unroll: bool) -> Any:
    """Return a functional model with these weights. Keras has PyTorch's gate order and transposed weights."""
    arrays = what.arrays
    units, frame, channels = arrays["input.weight"].shape
    layers = keras.layers
    window = keras.Input((what.window, channels), batch_size=1, name="window")
    x = window
    if what.has_normalization:
        # Keras adds an epsilon of 1e-7 to the standard deviation: 1e-6 of the smallest one
        x = layers.Normalization(mean=arrays["mean"], variance=arrays["std"].astype(np.float64) ** 2)(x)
    activation = "relu" if what.relu else None
    if frame > 1:
        entry = layers.Conv1D(units, frame, strides=what.hop, activation=activation)
        kernel = arrays["input.weight"].transpose(1, 2, 0)
    else:
        entry = layers.Dense(units, activation=activation)
        kernel = arrays["input.weight"][:, 0].T
    x = entry(x)
    entry.set_weights([kernel, arrays["input.bias"]])
    for k in range(what.layers):
        parts = [arrays[f"lstm.{k}.{part}"] for part in ("input_weight", "recurrent_weight", "bias")]
        layer = layers.LSTM(parts[1].shape[1], return_sequences=k + 1 < what.layers, unroll=unroll)
        x = layer(x)
        layer.set_weights([parts[0].T, parts[1].T, parts[2]])
    head = layers.Dense(len(arrays["head.bias"]), name="logits")
    outputs = head(x)
    head.set_weights([arrays["head.weight"].T, arrays["head.bias"]])
    return keras.Model(window, outputs)


def main(keras: str, loop: str, scheme: str, path: str, out: str) -> None:
    what = inputs.load(path)
    converter = tf.lite.TFLiteConverter.from_keras_model(
        build(importlib.import_module(keras), what, unroll=loop == "unroll")
    )
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "int8":

        def samples() -> Iterator[list[np.ndarray]]:
            for window in what.calibration:
                yield [window[None]]

        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
