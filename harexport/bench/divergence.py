"""Where a lowering departs from its network: the error of every layer's state, step by step.

Fused or unrolled, layer after layer or side by side, by our emitters or by anybody's: a file that computes the network
holds each state h of each layer somewhere among its intermediate values. So every value is kept, and each state of the
float64 reference is looked for among them; the distance to the nearest one is its error. It is some 1e-7 while the
file follows, and as large as the states themselves from where it departs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harexport.errors import InputError
from harexport.model.layers import Doubles
from harexport.model.network import Network
from harexport.runtimes import Floats

# An error beyond this is a departure: rounding of the weights, and of the states, of each scheme stays below.
_DEPARTED = {"float32": 1e-3, "float16": 2e-2, "int8-weights": 0.3}
SCHEMES = tuple(_DEPARTED)
_AT_ONCE = 1 << 22  # numbers of a temporary array


@dataclass(frozen=True)
class Divergence:
    """One test window, looked at inside: `layers` holds for each layer of the stack, by step, the largest error of any
    unit's state. `says` is what that shows, in one sentence; layer and step of the first departure, None without one.
    """

    window: int
    layers: tuple[tuple[float, ...], ...]
    threshold: float
    layer: int | None
    step: int | None
    says: str


def find_divergence(model: bytes, fmt: str, scheme: str, network: Network, window: Floats, number: int) -> Divergence:
    """Compare the states in a file of the format "tflite" or "onnx" for `window` [1, window, channels].

    `number` is what the window is called. Raises InputError for a scheme without float states, and for a model that
    gives nothing out.
    """
    if scheme not in _DEPARTED:
        raise InputError(f"states are compared for {', '.join(SCHEMES)}; this file is {scheme}")
    values = _onnx(model, window) if fmt == "onnx" else _tflite(model, window)
    if not values:
        raise InputError("the file gives out none of its intermediate values")
    hidden = [layer.hidden for layer in network.recurrent_layers]
    offsets = [0, *np.cumsum(hidden)[:-1].tolist()]  # where a state lies in a row that holds those of all layers
    layers = tuple(_errors(states, values, offsets) for states in _states(network, window))
    threshold = _DEPARTED[scheme] * max(1.0, float(max(np.abs(s).max() for s in _states(network, window))))
    layer, step = _first(layers, threshold)
    return Divergence(number, layers, threshold, layer, step, _sentence(layers, threshold, layer, step))


def _states(network: Network, window: Floats) -> list[Doubles]:
    """The reference's states: for each layer [steps, hidden]."""
    x = (window.astype(np.float64) - network.mean.astype(np.float64)) / network.std.astype(np.float64)
    sequence = network.input.forward(x)
    states = []
    for layer in network.recurrent_layers:
        sequence = layer.forward(sequence)
        states.append(sequence[0])
    return states


def _errors(states: Doubles, values: list[Floats], offsets: list[int]) -> tuple[float, ...]:
    """For each step the largest difference of the state [hidden] to the nearest row among the values."""
    hidden = states.shape[1]
    rows = [
        value.reshape(-1, value.shape[-1])[:, start : start + hidden]
        for value in values
        for start in offsets
        if value.shape[-1] >= start + hidden
    ]
    if not rows:
        return tuple(float(np.abs(state).max()) for state in states)
    candidates = np.unique(np.nan_to_num(np.concatenate(rows), nan=1e6), axis=0)
    part = max(1, _AT_ONCE // candidates.size)
    nearest = [
        np.abs(states[start : start + part, None] - candidates).max(axis=2).min(axis=1)
        for start in range(0, len(states), part)
    ]
    return tuple(float(error) for error in np.concatenate(nearest))


def _first(layers: tuple[tuple[float, ...], ...], threshold: float) -> tuple[int | None, int | None]:
    """The first departure in the order of computation: the earliest step, the lowest layer of it."""
    for step in range(len(layers[0])):
        for layer, errors in enumerate(layers):
            if errors[step] > threshold:
                return layer, step
    return None, None


def _sentence(layers: tuple[tuple[float, ...], ...], threshold: float, layer: int | None, step: int | None) -> str:
    if layer is None or step is None:
        largest = max(max(errors) for errors in layers)
        return (
            f"All states of all layers are where the reference has them (largest error {largest:.1g}): if the logits "
            "differ, look behind the stack, at the head"
        )
    error = layers[layer][step]
    if step == 0:
        where = "at the first step" + (": look at the input layer and the normalisation" if layer == 0 else "")
        return f"Layer {layer} departs {where} (error {error:.2g}, allowed {threshold:.1g})"
    return (
        f"Layer {layer} departs at step {step}: its error jumps from {layers[layer][step - 1]:.1g} to {error:.2g} "
        f"(allowed {threshold:.1g})"
    )


def _tflite(model: bytes, window: Floats) -> list[Floats]:
    """Every float value of a run with built-in kernels: inside of XNNPACK none can be seen."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from harexport.runtimes.litert import _without_info_lines

    with _without_info_lines():
        interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        (reads,) = interpreter.get_input_details()
        if reads["shape"][0] != 1:
            interpreter.resize_tensor_input(reads["index"], window.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(reads["index"], window)
    interpreter.invoke()
    found = []
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] is not np.float32:
            continue
        try:
            value = interpreter.get_tensor(detail["index"])
        except ValueError:  # never filled
            continue
        found += [value] if value.ndim else []
    return found


def _onnx(model: bytes, window: Floats) -> list[Floats]:
    """Every float value of a run of the model with all of them as outputs."""
    import onnx
    import onnxruntime

    file = onnx.load_from_string(model)
    for k, node in enumerate(file.graph.node):
        if node.op_type in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM") and node.output and not node.output[0]:
            node.output[0] = f"harexport.sequence.{k}"  # all its states, which nobody had asked for
    known = {output.name for output in file.graph.output}
    made = [name for node in file.graph.node for name in node.output if name and name not in known]
    file.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (reads,) = session.get_inputs()
    answers: list[Floats] = session.run(None, {reads.name: window})
    return [value for value in answers if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim]
