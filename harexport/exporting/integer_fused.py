"""The LSTM stack as TensorFlow Lite's fused operator on integers: int8 rows and states, int16 cells.

The kernel is LstmStepInteger8x8_16 in lstm_eval.cc: gates are summed in Q3.12, so W x + b is clipped to [-8, 8)
before R h is added, and the sum is clipped once more. Sigmoid and tanh read Q3.12 and answer Q0.15.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from harexport.exporting import fused
from harexport.exporting.flat import Graph, Quant
from harexport.exporting.integer_ops import VERSIONS, biases, cut, power_of_two
from harexport.exporting.quantize import Calibration, asymmetric
from harexport.exporting.weights import symmetric_int8
from harexport.layers import LstmLayer

_ABSENT = -1  # an optional input that is not there
# Positions of the operator's 24 inputs, as in fused.py; in full integer biases are int32.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, _STATES = 1, 5, 12, 18
_INTERMEDIATES = (
    5  # 0 to 3 belong to layer normalisation; 4 is the state before a projection, and without one the state
)


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, calibration: Calibration) -> int:
    """From int8 rows [1, steps, inputs] to the last layer's last state int8 [1, 1, hidden]."""
    for k, layer in enumerate(layers):
        state = asymmetric(calibration.ranges[f"lstm.{k}.state"])
        cell = power_of_two(calibration.limit(f"lstm.{k}.cell"))
        rows = _operator(graph, layer, rows, state, cell, f"lstm.{k}")
    _, steps, hidden = graph.shapes[rows]
    return cut(graph, rows, [0, steps - 1, 0], (1, 1, hidden))


def _operator(graph: Graph, layer: LstmLayer, rows: int, state: Quant, cell: Quant, name: str) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over int8 [1, steps, inputs]: the states h int8 [1, steps, hidden]."""
    inputs = [rows] + [_ABSENT] * 23
    gates = zip(
        *(np.split(array, 4) for array in (layer.input_weight, layer.recurrent_weight, layer.bias)),
        strict=True,
    )
    for k, (forward, recurrent, bias) in enumerate(gates):
        gate = "ifgo"[k]
        integers, scale = symmetric_int8(forward)
        inputs[_INPUT_WEIGHTS + k] = graph.constant(integers, f"{name}.input_weight.{gate}", scale)
        unit = np.float32(scale) * np.float32(graph.quants[rows].scale)
        inputs[_BIASES + k] = biases(graph, bias, float(unit), f"{name}.bias.{gate}")
        integers, scale = symmetric_int8(recurrent)
        inputs[_RECURRENT_WEIGHTS + k] = graph.constant(integers, f"{name}.recurrent_weight.{gate}", scale)
    for k, (letter, quant) in enumerate((("h", state), ("c", cell))):
        version = VERSIONS["SLICE"][quant.dtype is np.int16]
        inputs[_STATES + k] = fused.cleared(graph, (1, layer.hidden), f"{name}.{letter}", quant, version)
    intermediates = [
        graph.tensor((0,), f"{name}.intermediate.{k}", quant=state if k == 4 else None) for k in range(_INTERMEDIATES)
    ]
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (1, graph.shapes[rows][1], layer.hidden),
        version=2,  # what TensorFlow's quantizer writes (operator_property.cc)
        quant=state,
        intermediates=intermediates,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,
        projClip=0.0,
    )
