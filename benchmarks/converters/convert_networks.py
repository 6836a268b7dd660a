"""Conversion of a network of networks.py, as in the documentation of each converter.

Usage: convert_networks.py TOOL GIVEN OUT. TOOL: torchscript or dynamo (torch.onnx), litert-torch, keras-float32,
keras-dynamic or keras-int8. The folder of GIVEN has weights.pt, name.txt, and for Keras layers.pickle and
calibration.npy.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def convert_torch(tool: str, folder: Path, out: str) -> None:
    import networks
    import torch

    module = networks.load((folder / "name.txt").read_text("utf-8"), str(folder / "weights.pt"))
    example = (torch.zeros(1, networks.WINDOW, networks.CHANNELS),)
    if tool == "litert-torch":
        import litert_torch

        litert_torch.convert(module, example).export(out)
    else:
        names: dict[str, Any] = {"input_names": ["window"], "output_names": ["logits"], "external_data": False}
        torch.onnx.export(module, example, out, dynamo=tool == "dynamo", **names)


def convert_keras(scheme: str, folder: Path, out: str) -> None:
    import numpy as np
    import tensorflow as tf

    layers = pickle.loads((folder / "layers.pickle").read_bytes())
    converter = tf.lite.TFLiteConverter.from_keras_model(build_keras(layers))
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "int8":

        def samples() -> Iterator[list[Any]]:
            for window in np.load(folder / "calibration.npy"):
                yield [window[None]]

        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(out).write_bytes(converter.convert())


def build_keras(layers: list[dict[str, Any]]) -> Any:
    """Return a functional model of layers, which are dictionaries of the fields of harexport's layers."""
    import keras
    from networks import CHANNELS, WINDOW

    window = keras.Input((WINDOW, CHANNELS), batch_size=1, name="window")
    return keras.Model(window, _add_keras(keras, layers, window))


def _add_keras(keras: Any, layers: list[dict[str, Any]], x: Any) -> Any:
    for layer in layers:
        x = _add_keras_layer(keras, layer, x)
    return x


def _add_keras_layer(keras: Any, layer: dict[str, Any], x: Any) -> Any:
    import numpy as np

    kind, made = layer["kind"], keras.layers
    if kind == "Branches":
        return _add_branches(keras, layer, x)
    if kind == "Step":
        return x[:, layer["index"]]
    if kind == "Recurrent":
        part, weights = _keras_cell(keras, layer)
        if layer["backward"] and layer["sequence"]:
            states = _with_weights(part, weights, x)
            return keras.ops.flip(states, axis=1)
        return _with_weights(part, weights, x)
    activation = "relu" if layer.get("relu") else None
    if kind == "Conv1d":
        same = layer["stride"] == 1 and set(layer["padding"]) == {len(layer["weight"][0]) // 2}
        if any(layer["padding"]) and not same:
            x = made.ZeroPadding1D(tuple(layer["padding"]))(x)
        outputs, size, _ = layer["weight"].shape
        options = {"strides": layer["stride"], "dilation_rate": layer["dilation"], "activation": activation}
        part = made.Conv1D(outputs, size, padding="same" if same else "valid", **options)
        return _with_weights(part, [layer["weight"].transpose(1, 2, 0), layer["bias"]], x)
    if kind == "Linear":
        return _with_weights(made.Dense(len(layer["bias"]), activation), [layer["weight"].T, layer["bias"]], x)
    if kind == "Normalize":  # BatchNormalization with stored statistics is folded by the converter
        ones = np.ones_like(layer["std"])
        weights = [1 / layer["std"], -layer["mean"] / layer["std"], 0 * ones, ones]
        return _with_weights(made.BatchNormalization(epsilon=0.0), weights, x)
    if kind == "LayerNorm":
        return _with_weights(made.LayerNormalization(epsilon=1e-5), [layer["gamma"], layer["beta"]], x)
    pools = {"max": made.MaxPooling1D, "mean": made.AveragePooling1D}
    reductions = {"max": made.GlobalMaxPooling1D, "mean": made.GlobalAveragePooling1D}
    simple = {
        "Pool": lambda: pools[layer["pool"]](layer["kernel_size"], layer["stride"]),
        "Reduce": lambda: reductions[layer["pool"]](),
        "Flatten": made.Flatten,
        "Activation": lambda: made.Activation(layer["pool"]),
    }
    return simple[kind]()(x)


def _add_branches(keras: Any, layer: dict[str, Any], x: Any) -> Any:
    """Add branches; a forward and a backward cell become the layer Bidirectional."""
    branches = layer["branches"]
    cells = [branch[0] for branch in branches if len(branch) == 1 and branch[0]["kind"] == "Recurrent"]
    if (
        layer["pool"] == "concat"
        and len(cells) == 2 == len(branches)
        and [c["backward"] for c in cells] == [False, True]
    ):
        parts = [_keras_cell(keras, cell) for cell in cells]
        both = keras.layers.Bidirectional(parts[0][0], backward_layer=parts[1][0])
        return _with_weights(both, [*parts[0][1], *parts[1][1]], x)
    outputs = [_add_keras(keras, branch, x) for branch in branches]
    return (keras.layers.Add() if layer["pool"] == "sum" else keras.layers.Concatenate())(outputs)


def _keras_cell(keras: Any, layer: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return an LSTM or GRU layer and its weights."""
    import numpy as np

    cell = layer["cell"]
    hidden = cell["recurrent_weight"].shape[1]
    options = {"return_sequences": layer["sequence"], "go_backwards": layer["backward"]}
    if cell["kind"] == "LstmLayer":
        weights = [cell["input_weight"].T, cell["recurrent_weight"].T, cell["bias"]]
        return keras.layers.LSTM(hidden, **options), weights

    def order(values: Any) -> Any:  # r, z, n to z, r, n
        r, z, n = np.split(values, 3)
        return np.concatenate([z, r, n])

    second = np.zeros_like(cell["bias"])
    second[2 * hidden :] = cell["recurrent_bias"]
    weights = [order(cell["input_weight"]).T, order(cell["recurrent_weight"]).T]
    weights.append(np.stack([order(cell["bias"]), order(second)]))
    return keras.layers.GRU(hidden, reset_after=True, **options), weights


def _with_weights(part: Any, weights: list[Any], x: Any) -> Any:
    output = part(x)
    part.set_weights(weights)
    return output


def main(tool: str, given: str, out: str) -> None:
    folder = Path(given).parent
    if tool.startswith("keras-"):
        convert_keras(tool.removeprefix("keras-"), folder, out)
    else:
        convert_torch(tool, folder, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
