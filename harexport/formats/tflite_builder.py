"""Builds .tflite files from tensors and operators.

A .tflite file is a FlatBuffer that follows TensorFlow Lite's schema.fbs. Building it takes milliseconds and no
TensorFlow. The bytes are deterministic: the same graph gives the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # force_align of Buffer.data in schema.fbs, which the generated Python code ignores
_TYPES = {
    np.dtype(np.bool_): schema.TensorType.BOOL,
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}
OPERATOR_NAMES: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}
_OPTION_TYPES = {name: code for name, code in vars(schema.BuiltinOptions).items() if not name.startswith("_")}


@dataclass(frozen=True)
class QuantParams:
    """Quantization of an int8 or int16 activation: value = scale * (integer - zero_point)."""

    dtype: type[np.int8] | type[np.int16]
    scale: float
    zero_point: int = 0


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    def Pack(self, builder: Any) -> int:
        payload = bytes(self.data or b"")
        vector = None
        if payload:
            builder.StartVector(1, len(payload), _ALIGNMENT)
            builder.head = builder.Head() - len(payload)
            builder.Bytes[builder.Head() : builder.Head() + len(payload)] = payload
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class TfliteBuilder:
    """Builds a model, or one subgraph of it. A tensor is referred to by its index in its subgraph.

    Attributes:
        shapes: Shape of each tensor.
        quants: Quantization of each quantized activation.
        has_dynamic_batch: Whether the first axis of the activations is dynamic.
    """

    def __init__(self, main: TfliteBuilder | None = None, name: str = "main") -> None:
        """Start a model. With `main`, start a further subgraph of that model; `add_subgraph` adds it."""
        self.shapes: list[tuple[int, ...]] = []
        self.quants: dict[int, QuantParams] = {}
        self._name = name
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = main._codes if main else {}
        self._buffers: list[Any] = main._buffers if main else [_AlignedBuffer()]  # 0 is the schema's "no data"
        self._shared: dict[bytes, int] = main._shared if main else {}
        self._subgraphs: list[Any] = []  # of the whole model, after the main one
        self.has_dynamic_batch: bool = main is not None and main.has_dynamic_batch

    def tensor(
        self,
        shape: tuple[int, ...],
        name: str | None = None,
        *,
        variable: bool = False,
        dynamic: bool = False,
        quant: QuantParams | None = None,
        dtype: type[np.generic] = np.float32,
    ) -> int:
        """Add an input or a variable tensor, or one for an output of `add_op`.

        Args:
            shape: Its shape.
            name: Its name in the file.
            variable: Whether it keeps its values between invocations.
            dynamic: Whether its first axis, and that of every operator's output, can be resized.
            quant: Quantization; None: values of `dtype`.
            dtype: Type of its values.

        Returns:
            The index of the tensor.
        """
        index = self._activation(shape, name, quant, variable=variable, dtype=dtype)
        if dynamic:
            self.has_dynamic_batch = True
            self._set_dynamic(index)
        return index

    def constant(
        self,
        values: Any,
        name: str | None = None,
        scale: float | NDArray[np.floating] | None = None,
        zero_point: int = 0,
    ) -> int:
        """Add a constant. Equal constants share one buffer.

        Args:
            values: Array of float32, float16, or int8 to int64.
            name: Name of the tensor in the file.
            scale: Quantization scale of integers, per tensor or per slice of the first axis.
            zero_point: Zero point of integers.

        Returns:
            The index of the tensor.
        """
        array = np.ascontiguousarray(values)
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        buffer = self._shared.get(data)
        if buffer is None:
            buffer = self._shared[data] = self._buffer(data)
        quantization = None
        if scale is not None:
            scales = [float(value) for value in np.atleast_1d(scale)]
            quantization = schema.QuantizationParametersT(scale=scales, zeroPoint=[zero_point] * len(scales))
        return self._add(array.shape, _TYPES[array.dtype], buffer, name, quantization=quantization)

    def op(
        self,
        operator: str,
        inputs: list[int],
        shape: tuple[int, ...],
        *,
        version: int = 1,
        quant: QuantParams | None = None,
        dtype: type[np.generic] = np.float32,
        **options: Any,
    ) -> int:
        """Append an operator with one output.

        Args:
            operator: Name in schema.fbs.
            inputs: Indices of the input tensors; -1: an optional input without a value.
            shape: Shape of the output.
            version: Version of the operator.
            quant: Quantization of the output; None: values of `dtype`.
            dtype: Type of the output's values. The first axis of integers is not that of the batch.
            **options: Options of the operator in schema.fbs.

        Returns:
            The index of the output tensor.
        """
        return self.ops(operator, inputs, [shape], version=version, quant=quant, dtype=dtype, **options)[0]

    def ops(
        self,
        operator: str,
        inputs: list[int],
        shapes: list[tuple[int, ...]],
        *,
        version: int = 1,
        quant: QuantParams | None = None,
        dtype: type[np.generic] = np.float32,
        **options: Any,
    ) -> list[int]:
        """Append an operator with one output per shape; arguments as for `op`."""
        outputs = [self._activation(shape, None, quant, dtype=dtype) for shape in shapes]
        # the input of DEQUANTIZE is a weight, without a batch axis
        if self.has_dynamic_batch and operator != "DEQUANTIZE" and dtype is np.float32:
            for output in outputs:
                self._set_dynamic(output)
        self.add_op(operator, inputs, outputs, version=version, **options)
        return outputs

    def add_op(
        self,
        operator: str,
        inputs: list[int],
        outputs: list[int],
        *,
        version: int = 1,
        intermediates: list[int] | None = None,
        **options: Any,
    ) -> None:
        """Append an operator whose output tensors exist already; arguments as for `op`."""
        code = getattr(schema.BuiltinOperator, operator)
        index = self._codes.setdefault((code, version), len(self._codes))
        record = schema.OperatorT(opcodeIndex=index, inputs=inputs, outputs=outputs, intermediates=intermediates)
        if (kind := _OPTIONS.get(operator)) is not None:
            record.builtinOptionsType = _OPTION_TYPES[kind]
            record.builtinOptions = getattr(schema, kind + "T")(**options)
        self._operators.append(record)

    @property
    def operator_versions(self) -> list[tuple[str, int]]:
        """The operators of the model, all subgraphs included, with their versions."""
        return [(OPERATOR_NAMES[code], version) for code, version in self._codes]

    def add_subgraph(self, graph: TfliteBuilder, inputs: list[int], outputs: list[int]) -> int:
        """Add a complete subgraph, such as the body of a loop, and return its index."""
        self._subgraphs.append(
            schema.SubGraphT(
                tensors=graph._tensors, inputs=inputs, outputs=outputs, operators=graph._operators, name=graph._name
            )
        )
        return len(self._subgraphs)

    def finish(
        self, inputs: dict[str, int], outputs: dict[str, int], description: str, metadata: dict[str, bytes]
    ) -> bytes:
        """Return the bytes of the file.

        Args:
            inputs: Tensors by name, as in the signature `serving_default`.
            outputs: Tensors by name, as in the signature `serving_default`.
            description: Description of the model.
            metadata: Metadata entries by name.
        """
        for name, index in {**inputs, **outputs}.items():
            self._tensors[index].name = name
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=self._operators,
            name=self._name,
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in inputs.items()],
            outputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in outputs.items()],
            signatureKey="serving_default",
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=[
                # readers before TensorFlow Lite 2.4 know the one-byte field only
                schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version)
                for code, version in self._codes
            ],
            subgraphs=[subgraph, *self._subgraphs],
            description=description,
            metadata=[schema.MetadataT(name=name, buffer=self._buffer(data)) for name, data in metadata.items()],
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _set_dynamic(self, tensor: int) -> None:
        self._tensors[tensor].shapeSignature = [-1, *self.shapes[tensor][1:]]

    def _buffer(self, data: bytes) -> int:
        self._buffers.append(_AlignedBuffer(data=data))
        return len(self._buffers) - 1

    def _activation(
        self,
        shape: tuple[int, ...],
        name: str | None,
        quant: QuantParams | None,
        *,
        variable: bool = False,
        dtype: type[np.generic] = np.float32,
    ) -> int:
        if quant is None:
            return self._add(shape, _TYPES[np.dtype(dtype)], 0, name, variable=variable)
        parameters = schema.QuantizationParametersT(scale=[quant.scale], zeroPoint=[quant.zero_point])
        index = self._add(shape, _TYPES[np.dtype(quant.dtype)], 0, name, variable=variable, quantization=parameters)
        self.quants[index] = quant
        return index

    def _add(
        self,
        shape: tuple[int, ...],
        dtype: int,
        buffer: int,
        name: str | None,
        *,
        variable: bool = False,
        quantization: Any = None,
    ) -> int:
        self._tensors.append(
            schema.TensorT(
                shape=[int(size) for size in shape],
                type=dtype,
                buffer=buffer,
                name=name,
                isVariable=variable,
                quantization=quantization,
            )
        )
        self.shapes.append(tuple(shape))
        return len(self._tensors) - 1


_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LESS": "LessOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "QUANTIZE": "QuantizeOptions",
    "REDUCE_MAX": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "REVERSE_V2": "ReverseV2Options",
    "SELECT": "SelectOptions",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SUB": "SubOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "WHILE": "WhileOptions",
    "ZEROS_LIKE": "ZerosLikeOptions",
}  # ELU, LOGISTIC, RELU and TANH have none
