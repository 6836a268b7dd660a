"""The LSTM stack as TensorFlow Lite's fused operator, made stateless inside the graph."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from harexport.exporting.flat import Graph, Quant
from harexport.exporting.weights import HYBRID_VERSIONS, add_weight
from harexport.layers import LstmLayer

_ABSENT = -1  # an optional input that is not there
# Positions of the operator's 24 inputs (lstm_eval.cc): 1-4 input weights, 5-8 recurrent weights and
# 12-15 biases in the order i, f, candidate, o, which is PyTorch's; 18 and 19 the state h and the cell c.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, _STATES = 1, 5, 12, 18


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, scheme: str) -> int:
    """From the input layer's `rows` [windows, steps, units] to the last layer's last state [windows, 1, hidden]."""
    for k, layer in enumerate(layers):
        rows = _operator(graph, layer, rows, scheme, f"lstm.{k}")
    windows, steps, hidden = graph.shapes[rows]
    begin = graph.constant(np.array([0, steps - 1, 0], np.int32))
    last = (windows, 1, hidden)
    return graph.op("SLICE", [rows, begin, graph.constant(np.array(last, np.int32))], last)


def _operator(graph: Graph, layer: LstmLayer, rows: int, scheme: str, name: str) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over [windows, steps, inputs]: the states h [windows, steps, hidden]."""
    windows, steps, _ = graph.shapes[rows]
    int8 = scheme == "int8-weights"
    inputs = [rows] + [_ABSENT] * 23
    forward, recurrent, biases = (
        np.split(values, 4) for values in (layer.input_weight, layer.recurrent_weight, layer.bias)
    )
    for k, gate in enumerate("ifgo"):
        inputs[_INPUT_WEIGHTS + k] = add_weight(graph, forward[k], f"{name}.input_weight.{gate}", scheme)
        inputs[_RECURRENT_WEIGHTS + k] = add_weight(graph, recurrent[k], f"{name}.recurrent_weight.{gate}", scheme)
        inputs[_BIASES + k] = graph.constant(biases[k].astype(np.float32), f"{name}.bias.{gate}")
    for k, letter in enumerate("hc"):
        inputs[_STATES + k] = cleared(graph, (windows, layer.hidden), f"{name}.{letter}")
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (windows, steps, layer.hidden),
        version=HYBRID_VERSIONS["UNIDIRECTIONAL_SEQUENCE_LSTM"] if int8 else 1,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,  # PyTorch has none; TensorFlow's converter would write 10 (FACTS, trap 2)
        projClip=0.0,
    )


def cleared(graph: Graph, shape: tuple[int, int], name: str, quant: Quant | None = None, version: int = 1) -> int:
    """A variable tensor, float32 or `quant`, that an operator sets to zero before the LSTM reads it.

    The LSTM keeps h and c between invokes (FACTS, trap 1), and NaN in them for good. A SLICE of a constant writes
    the zeros anew at every invoke. FACTS' cure, a last row of input that closes the gates, costs 8 to 16 % more and
    does not help against NaN, since 0 * NaN is NaN; on integers it cannot close the gates (edge: R h up to 24, and
    W x ends at -8). `version` is SLICE's.
    """
    variable = graph.tensor(shape, name, variable=True, quant=quant)
    if quant is None:
        zeros = graph.constant(np.zeros(shape, np.float32), f"{name}.zero")
    else:
        values = np.full(shape, quant.zero_point, quant.dtype)
        zeros = graph.constant(values, f"{name}.zero", quant.scale, quant.zero_point)
    places = [graph.constant(np.array(values, np.int32)) for values in ((0, 0), shape)]
    graph.write("SLICE", [zeros, *places], [variable], version=version)
    return variable
