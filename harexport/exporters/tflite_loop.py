"""LSTM and GRU layers of a .tflite file as a loop: one WHILE whose body computes one step of all layers.

The loop has no hidden state. Its file is as small as that of the fused LSTM, since the operators of a step are stored
once, and XNNPACK runs them with one packed copy of the weights, while unrolled steps have a copy each. The inputs of
all steps are projected at once before the loop. Shapes of sequences and steps: tflite_lstm.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harexport.exporters import tflite_gru
from harexport.exporters.gptq import candidate_factor
from harexport.exporters.tflite_lstm import lstm_step
from harexport.exporters.tflite_ops import add_weight, fully_connected
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.layers import Cell, GruLayer, LstmLayer


def input_weights(layer: Cell) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return weight and bias of the projection of a layer's inputs, as `lower` reads it."""
    if isinstance(layer, GruLayer):
        return layer.input_weight, layer.bias
    factor = candidate_factor(layer.hidden)
    return layer.input_weight * factor[:, None], layer.bias * factor


def lower(
    graph: TfliteBuilder,
    layers: tuple[Cell, ...],
    projected: int,
    leading_shape: tuple[int, ...],
    scheme: str,
    name: str,
    *,
    backward: bool = False,
    sequence: bool = False,
) -> int:
    """Add a WHILE over the steps of a sequence.

    Args:
        graph: Graph to add to.
        layers: Layers of one kind; each reads the state of the one before.
        projected: Inputs of all steps of the first layer times its `input_weights`.
        leading_shape: Shape of the sequence without its last axis.
        scheme: Type of the weights.
        name: First part of the names in the file.
        backward: Whether the steps are computed from the last to the first.
        sequence: Whether to return the states of all steps; this needs TensorFlow Lite 2.9.

    Returns:
        The last layer's last state, one step of a sequence, or its states of all steps, a sequence.
    """
    *windows, steps = leading_shape
    axis = len(windows)  # of the steps
    hidden = layers[-1].hidden
    per_layer = [[layer.hidden] * _num_states(layer) for layer in layers]
    initial = [_add_zeros(graph, (*windows, 1, size), projected) for sizes in per_layer for size in sizes]
    if sequence:
        initial.append(_add_zeros(graph, (*windows, steps, hidden), projected))
    inputs = [graph.constant(np.array([0], np.int32)), projected, *initial]

    body = TfliteBuilder(graph, f"{name}.step")
    counter, rows, *variables = _add_variables(body, graph, inputs)
    index = counter
    if backward:
        index = body.op("SUB", [body.constant(np.array([steps - 1], np.int32)), counter], (1,), dtype=np.int32)
    value = body.op("GATHER", [rows, index], (*windows, 1, body.shapes[rows][-1]), axis=axis)
    new: list[int] = []
    for k, layer in enumerate(layers):
        states = variables[len(new) : len(new) + _num_states(layer)]
        new += _step(body, layer, value, states, k == 0, scheme, f"{name}.{k}")
        value = new[-_num_states(layer)]  # h
    if sequence:
        position = body.constant(np.eye(axis + 2, dtype=np.int32)[axis])
        start = body.op("MUL", [index, position], (axis + 2,), dtype=np.int32)
        new.append(body.op("DYNAMIC_UPDATE_SLICE", [variables[-1], value, start], body.shapes[variables[-1]]))
    following = body.op("ADD", [counter, body.constant(np.array([1], np.int32))], (1,), dtype=np.int32)

    condition = TfliteBuilder(graph, f"{name}.condition")
    counter_before, *others = _add_variables(condition, graph, inputs)
    limit = condition.constant(np.array([steps], np.int32))
    is_running = condition.op("LESS", [counter_before, limit], (1,), dtype=np.bool_)

    outputs = _add_variables(graph, graph, inputs)
    graph.add_op(
        "WHILE",
        inputs,
        outputs,
        condSubgraphIndex=graph.add_subgraph(condition, [counter_before, *others], [is_running]),
        bodySubgraphIndex=graph.add_subgraph(body, [counter, rows, *variables], [following, rows, *new]),
    )
    return outputs[-1] if sequence else outputs[2 + len(variables) - _num_states(layers[-1])]


def _add_variables(target: TfliteBuilder, graph: TfliteBuilder, variables: list[int]) -> list[int]:
    """Add tensors to `target` with the shapes of the loop variables in `graph`, the first of which is the counter."""
    counter = target.tensor((1,), dtype=np.int32)
    return [counter, *(target.tensor(graph.shapes[k], dynamic=graph.has_dynamic_batch) for k in variables[1:])]


def _add_zeros(graph: TfliteBuilder, shape: tuple[int, ...], projected: int) -> int:
    """Add zeros. A sequence and a batch take their leading shape from `projected`, which costs few bytes."""
    if not graph.has_dynamic_batch and len(shape) == 2 and shape[0] == 1:
        return graph.constant(np.zeros(shape, np.float32))
    sizes = [-1] * (len(shape) - 2) if graph.has_dynamic_batch else list(shape[:-2])
    begin, size = [0] * len(shape), [*sizes, shape[-2], 1]
    bounds = [graph.constant(np.array(values, np.int32)) for values in (begin, size)]
    column = graph.op("SLICE", [projected, *bounds], (*shape[:-1], 1))
    zeros = graph.op("ZEROS_LIKE", [column], (*shape[:-1], 1))  # also where the column is NaN
    return graph.op("ADD", [zeros, graph.constant(np.zeros(shape[-1], np.float32))], shape)


def _num_states(layer: Cell) -> int:
    return 2 if isinstance(layer, LstmLayer) else 1  # h and c, or h


def _step(
    body: TfliteBuilder, layer: Cell, value: int, states: list[int], is_first: bool, scheme: str, name: str
) -> list[int]:
    """Add one step of a layer and return its new states.

    Args:
        body: Body of the loop.
        layer: The layer.
        value: Projected inputs of the step for the first layer, else the state of the layer before.
        states: h and c of an LSTM, h of a GRU.
        is_first: Whether this is the first layer.
        scheme: Type of the weights.
        name: First part of the names in the file.
    """
    weight, bias = input_weights(layer)
    if isinstance(layer, GruLayer):
        if not is_first:
            value = _product(body, value, weight, bias, scheme, f"{name}.input")
        return [tflite_gru.add_step(body, layer, value, states[0], scheme, name)]
    recurrent = layer.recurrent_weight * candidate_factor(layer.hidden)[:, None]
    if is_first:
        product = _product(body, states[0], recurrent, np.zeros(len(bias)), scheme, f"{name}.recurrent")
        gates = body.op("ADD", [value, product], body.shapes[value])
    else:  # one product of both states
        *leading, size = body.shapes[value]
        both = body.op("CONCATENATION", [value, states[0]], (*leading, size + layer.hidden), axis=len(leading))
        gates = _product(body, both, np.concatenate([weight, recurrent], axis=1), bias, scheme, name)
    two, one = (body.constant(np.array([number], np.float32)) for number in (2.0, 1.0))
    return list(lstm_step(body, gates, states[1], two, one))


def _product(
    body: TfliteBuilder, rows: int, weight: NDArray[np.floating], bias: NDArray[np.floating], scheme: str, name: str
) -> int:
    offsets = body.constant(bias.astype(np.float32), f"{name}_bias")
    matrix = add_weight(body, weight, f"{name}_weight", scheme)
    return fully_connected(body, rows, matrix, offsets, body.shapes[rows][:-1], scheme)
