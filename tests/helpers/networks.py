"""Random networks of many shapes, with weights of trained size, for tests that need no trained model."""

from __future__ import annotations

from typing import Any

import numpy as np

from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.contract import CHANNELS, LABELS, Contract
from harexport.model.layers import (
    Activation,
    Branches,
    Conv1d,
    Flatten,
    GruLayer,
    Layer,
    Linear,
    LstmLayer,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Step,
    shape_after,
)
from harexport.model.network import Network


def random_network(
    *,
    frame: int = 1,
    hop: int = 1,
    units: int = 32,
    hidden: tuple[int, ...] = (32, 32),
    relu: bool = False,
    channels: int = 9,
    labels: int = 6,
    window: int = 128,
    forget_bias: float | None = None,
    seed: int = 0,
) -> Network:
    """Return a network of LSTM layers with random weights of trained size.

    Args:
        hidden: Units of each layer.
        forget_bias: Bias of the forget gates; 6 makes an LSTM that keeps its state for hundreds of steps.
    """
    random = np.random.default_rng(seed)

    def normal(*shape: int, inputs: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(inputs)).astype(np.float32)

    layers = []
    width = units
    for size in hidden:
        bias = normal(4 * size, inputs=4)
        if forget_bias is not None:
            bias[size : 2 * size] = forget_bias
        layers.append(LstmLayer(normal(4 * size, width, inputs=width), normal(4 * size, size, inputs=size), bias))
        width = size
    return Network.stack(
        window=window,
        mean=random.normal(0.0, 0.3, channels).astype(np.float32),
        std=random.uniform(0.1, 0.5, channels).astype(np.float32),
        input=Conv1d(
            normal(units, frame, channels, inputs=frame * channels), normal(units, inputs=4), stride=hop, relu=relu
        ),
        recurrent_layers=tuple(layers),
        head=Linear(normal(labels, width, inputs=1), normal(labels, inputs=1)),
    )


def variable_state(graph: TfliteBuilder, shape: tuple[int, int], name: str) -> int:
    """Replace tflite_lstm.zero_state: an LSTM state that persists, as TensorFlow's converter writes it."""
    return graph.tensor(shape, name, variable=True)


def contract_of(network: Network) -> Contract:
    """Return a contract that fits: the channels and labels of UCI HAR, or generated ones."""
    channels = CHANNELS if network.num_channels == 9 else tuple(f"total_acc_{k}" for k in range(network.num_channels))
    units = Contract().units if network.num_channels == 9 else ("g",) * network.num_channels
    labels = LABELS if network.num_labels == 6 else tuple(f"LABEL_{k}" for k in range(network.num_labels))
    coarse = tuple(f"COARSE_{k}" for k in range(len(network.coarse_head.weight))) if network.coarse_head else ()
    return Contract(window=network.window, channels=channels, units=units, labels=labels, coarse_labels=coarse)


# Shapes that all formats must support: the two published ones, and variants of each property.
SHAPES: dict[str, Network] = {
    "seed": random_network(),
    "edge": random_network(frame=32, hop=16, units=48, hidden=(48, 48), relu=True),
    "side-by-side": random_network(frame=16, hop=16, hidden=(24, 24), relu=True),
    "one-layer": random_network(frame=8, hop=8, units=20, hidden=(64,)),
    "three-layers": random_network(frame=16, hop=16, hidden=(24, 64, 16)),
    "remainder": random_network(frame=24, hop=24, units=17, hidden=(9, 5), relu=True),
    "gaps": random_network(frame=10, hop=25, units=8, hidden=(8, 8)),
    "one-step": random_network(frame=128, hop=128, hidden=(16, 16), relu=True),
    "other-labels": random_network(frame=20, hop=10, channels=6, labels=4, window=100, hidden=(12, 12), relu=True),
}


def random_gru(
    *,
    frame: int = 1,
    hop: int = 1,
    units: int = 16,
    hidden: tuple[int, ...] = (16,),
    reset_after: bool = False,
    relu_candidate: bool = True,
    relu: bool = True,
    coarse: bool = True,
    channels: int = 9,
    labels: int = 6,
    window: int = 128,
    seed: int = 0,
) -> Network:
    """Return a network of GRU layers, by default of the shape of the published GRU, whose gate biases start at 1.

    Candidates with ReLU get smaller weights, so that their states stay within 10 over 128 steps.

    Args:
        coarse: Whether to add a second head, with one label less.
    """
    like = random_network(
        frame=frame, hop=hop, units=units, hidden=hidden, relu=relu, channels=channels, labels=labels, window=window,
        seed=seed,
    )  # fmt: skip
    random = np.random.default_rng(seed + 1000)
    scale = 0.7 if relu_candidate else 1.0

    def normal(*shape: int) -> np.ndarray:
        return (scale * random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    layers = []
    width = units
    for size in hidden:
        bias = np.concatenate([np.ones(2 * size, np.float32), np.zeros(size, np.float32)]) + normal(1, 3 * size)[0]
        recurrent_bias = random.normal(0.0, 0.5, size) if reset_after else np.zeros(size)
        layers.append(
            GruLayer(
                normal(3 * size, width), normal(3 * size, size), bias, recurrent_bias.astype(np.float32), reset_after,
                relu_candidate,
            )
        )  # fmt: skip
        width = size
    head = Linear(normal(labels - 1, width), normal(labels - 1)) if coarse else None
    return like.replace(recurrent_layers=tuple(layers), coarse_head=head)


GRU_SHAPES: dict[str, Network] = {
    "baseline-gru": random_gru(),
    "pytorch": random_gru(
        frame=32, hop=16, units=48, hidden=(48, 48), reset_after=True, relu_candidate=False, coarse=False
    ),
    "three-layers": random_gru(frame=16, hop=16, hidden=(24, 64, 16), relu_candidate=False, coarse=False),
    "relu-after": random_gru(frame=4, hop=4, units=20, hidden=(32,), reset_after=True, relu=False),
    "one-step": random_gru(frame=128, hop=128, hidden=(16, 16)),
    "one-step-after": random_gru(frame=128, hop=128, hidden=(8,), reset_after=True),
    "two-relu-layers": random_gru(frame=8, hop=8, units=24, hidden=(17, 9)),
    "other-labels": random_gru(frame=20, hop=10, channels=6, labels=4, window=100, hidden=(12, 12), reset_after=True),
}


def _normal(*shape: int) -> np.ndarray:
    inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 4
    random = np.random.default_rng(shape)
    return (random.normal(size=shape) / np.sqrt(inputs)).astype(np.float32)


def conv(outputs: int, kernel: int, inputs: int, **options: Any) -> Conv1d:
    return Conv1d(_normal(outputs, kernel, inputs), _normal(outputs), **options)


def linear(outputs: int, inputs: int, relu: bool = False) -> Linear:
    return Linear(_normal(outputs, inputs), _normal(outputs), relu)


def lstm(hidden: int, inputs: int, **options: bool) -> Recurrent:
    arrays = _normal(4 * hidden, inputs), _normal(4 * hidden, hidden), _normal(4 * hidden)
    return Recurrent(LstmLayer(*arrays), **options)


def gru(hidden: int, inputs: int, reset_after: bool = True, **options: bool) -> Recurrent:
    recurrent_bias = _normal(hidden) if reset_after else np.zeros(hidden, np.float32)
    arrays = _normal(3 * hidden, inputs), _normal(3 * hidden, hidden), _normal(3 * hidden), recurrent_bias
    return Recurrent(GruLayer(*arrays, reset_after=reset_after), **options)


def both(add: Any, hidden: int, inputs: int, sequence: bool) -> Branches:
    """Return a bidirectional layer."""
    parts = (add(hidden, inputs, backward=backward, sequence=sequence) for backward in (False, True))
    return Branches("concat", tuple((part,) for part in parts))


_normalize = Normalize(np.linspace(-0.2, 0.3, 9).astype(np.float32), np.linspace(0.3, 0.9, 9).astype(np.float32))

# Every layer, by name: the layers between windows of 24 samples with 9 channels and the output layer. A new layer needs
# an entry here; it is then tested in all formats, schemes, lowerings and runtimes.
LAYERS: dict[str, tuple[Layer, ...]] = {
    "conv, padding and dilation": (
        _normalize,
        conv(8, 5, 9, padding=(2, 2), relu=True),
        conv(8, 3, 8, stride=2, dilation=2),
        Flatten(),
    ),
    "conv, uneven padding": (conv(8, 4, 9, padding=(3, 0)), Activation("tanh"), Reduce("max")),
    "linear at every step": (_normalize, linear(8, 9, relu=True), Reduce("mean")),
    "pools": (conv(8, 3, 9), Pool("max", 2, 2), conv(8, 3, 8), Pool("mean", 3, 2), Flatten()),
    "activations": (
        linear(8, 9),
        Activation("leaky_relu", 0.2),
        Activation("elu", 1.0),
        Activation("sigmoid"),
        Step(3),
    ),
    "gelu": (linear(8, 9), Activation("gelu"), Step()),
    "normalization inside": (conv(9, 3, 9), _normalize, Activation("relu"), Reduce("mean")),
    "lstm, not normalized": (lstm(8, 9), lstm(6, 8), Step()),
    "lstm after normalization": (_normalize, lstm(8, 9, sequence=False)),
    "lstm, all steps": (conv(8, 3, 9), lstm(8, 8), Reduce("mean"), linear(5, 8), Activation("relu")),
    "lstm, both directions": (both(lstm, 6, 9, True), both(lstm, 5, 12, False)),
    "lstm, two runs": (lstm(6, 9, sequence=True), lstm(5, 6, backward=True), lstm(4, 5), lstm(4, 4, sequence=False)),
    "gru": (conv(8, 3, 9), gru(7, 8), gru(6, 7, sequence=False)),
    "gru, both directions": (both(gru, 6, 9, True), gru(5, 12, reset_after=False, backward=True, sequence=False)),
    "gru and lstm": (gru(6, 9, reset_after=False), lstm(5, 6, sequence=False)),
    "residual": (conv(8, 3, 9), Branches("sum", ((), (linear(8, 8, relu=True), linear(8, 8)), (lstm(8, 8),))), Step()),
    "concat of vectors": (
        conv(8, 3, 9),
        Branches("concat", ((Reduce("mean"),), (Reduce("max"),), (Step(),), (Flatten(),))),
    ),
}


def layer_network(name: str, labels: int = 6) -> Network:
    """Return a network of LAYERS, with an output layer."""
    layers = LAYERS[name]
    (width,) = shape_after(layers, (24, 9))
    return Network(24, 9, (*layers, linear(labels, width)))
