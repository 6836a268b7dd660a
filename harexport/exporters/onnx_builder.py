"""Collects the nodes and weights of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harexport.exporters.gptq import row_scales


class OnnxBuilder:
    """Collects nodes and initializers; stores weights in the type of the scheme."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: NDArray[Any] | list[int], name: str) -> str:
        """Add an initializer; other types become float32 or int64."""
        array = np.asarray(values)
        if array.dtype not in (np.float16, np.int8, np.uint8):
            array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, values: NDArray[np.floating], name: str) -> str:
        """Add a matrix [..., rows, inputs] in the type of the scheme, converted to float32 for its operator."""
        if self.scheme == "float16":
            stored = self.constant(values.astype(np.float16), f"{name}.float16")
            return self.op("Cast", [stored], name, to=onnx.TensorProto.FLOAT)
        if self.scheme == "int8-weights":
            flat = values.reshape(-1, values.shape[-1])  # the leading axis, of directions, has length 1
            integers, scales = quantize_rows(flat)
            parts = [self.constant(integers, f"{name}.int8"), self.constant(scales, f"{name}.scale")]
            rows = self.op("DequantizeLinear", parts, f"{name}.rows" if values.ndim > 2 else name, axis=0)
            if values.ndim == 2:
                return rows
            return self.op("Reshape", [rows, self.constant(list(values.shape), f"{name}.shape")], name)
        return self.constant(values, name)

    def op(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output, which has the node's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def quantize_rows(matrix: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return integers and one scale per row of a matrix [rows, inputs]."""
    scales = row_scales(matrix)
    return np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8), scales[:, 0]
