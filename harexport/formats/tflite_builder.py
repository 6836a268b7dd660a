"""The .tflite container: tensors and operators in, bytes out, and back again.

A .tflite file is one FlatBuffer after TensorFlow Lite's schema.fbs. Writing it directly takes
milliseconds and no TensorFlow (FACTS, trap 4). Bytes are deterministic: same graph, same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # schema.fbs: force_align of Buffer.data; the generated Python code forgets it
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}
_OPTION_TYPES = {name: code for name, code in vars(schema.BuiltinOptions).items() if not name.startswith("_")}


@dataclass(frozen=True)
class QuantParams:
    """What the integers of an activation mean: scale * (integer - zero_point), in int8 or int16."""

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
    """One subgraph under construction. Tensors are named by their index.

    `shapes` remembers their shapes and `quants` what the integers of the quantised activations mean.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.quants: dict[int, QuantParams] = {}
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._buffers: list[Any] = [_AlignedBuffer()]  # buffer 0 is the schema's "no data"
        self._shared: dict[bytes, int] = {}
        self.is_open = False  # whether the number of windows is left to whoever loads the file

    def tensor(
        self,
        shape: tuple[int, ...],
        name: str | None = None,
        *,
        variable: bool = False,
        dynamic: bool = False,
        quant: QuantParams | None = None,
    ) -> int:
        """A tensor, float32 or `quant`, that an operator fills, or (`variable`) that lives on between invokes.

        `dynamic` leaves its first dimension open: whoever loads the file may resize it, and with it what
        every operator answers.
        """
        index = self._activation(shape, name, quant, variable=variable)
        if dynamic:
            self.is_open = True
            self._leave_open(index)
        return index

    def constant(
        self,
        values: Any,
        name: str | None = None,
        scale: float | NDArray[np.floating] | None = None,
        zero_point: int = 0,
    ) -> int:
        """A constant of its array's dtype (float32, float16, int8 to int64).

        `scale` says that integers mean scale * (value - zero_point): one number, or one a row of the first axis.
        Equal constants share one buffer, so a weight that 100 steps use is in the file once.
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
        **options: Any,
    ) -> int:
        """Append an operator with one output, float32 (LESS: bool) or `quant`; `options` as in schema.fbs."""
        return self.ops(operator, inputs, [shape], version=version, quant=quant, **options)[0]

    def ops(
        self,
        operator: str,
        inputs: list[int],
        shapes: list[tuple[int, ...]],
        *,
        version: int = 1,
        quant: QuantParams | None = None,
        **options: Any,
    ) -> list[int]:
        """`op` with as many outputs as there are `shapes`."""
        outputs = [self._activation(shape, None, quant, boolean=operator == "LESS") for shape in shapes]
        if self.is_open and operator != "DEQUANTIZE":  # that widens weights, which have no number of windows
            for output in outputs:
                self._leave_open(output)
        self.write(operator, inputs, outputs, version=version, **options)
        return outputs

    def write(
        self,
        operator: str,
        inputs: list[int],
        outputs: list[int],
        *,
        version: int = 1,
        intermediates: list[int] | None = None,
        **options: Any,
    ) -> None:
        """Append an operator that fills tensors which are there already."""
        code = getattr(schema.BuiltinOperator, operator)
        index = self._codes.setdefault((code, version), len(self._codes))
        record = schema.OperatorT(opcodeIndex=index, inputs=inputs, outputs=outputs, intermediates=intermediates)
        if (kind := _OPTIONS.get(operator)) is not None:
            record.builtinOptionsType = _OPTION_TYPES[kind]
            record.builtinOptions = getattr(schema, kind + "T")(**options)
        self._operators.append(record)

    def finish(
        self, inputs: dict[str, int], outputs: dict[str, int], description: str, metadata: dict[str, bytes]
    ) -> bytes:
        """The file. Inputs and outputs get their names as tensors and in the signature `serving_default`."""
        for name, index in {**inputs, **outputs}.items():
            self._tensors[index].name = name
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=self._operators,
            name="main",
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
            subgraphs=[subgraph],
            description=description,
            metadata=[schema.MetadataT(name=name, buffer=self._buffer(data)) for name, data in metadata.items()],
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _leave_open(self, tensor: int) -> None:
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
        boolean: bool = False,
    ) -> int:
        if quant is None:
            dtype = schema.TensorType.BOOL if boolean else schema.TensorType.FLOAT32
            return self._add(shape, dtype, 0, name, variable=variable)
        meaning = schema.QuantizationParametersT(scale=[quant.scale], zeroPoint=[quant.zero_point])
        index = self._add(shape, _TYPES[np.dtype(quant.dtype)], 0, name, variable=variable, quantization=meaning)
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
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "LESS": "LessOptions",
    "MUL": "MulOptions",
    "QUANTIZE": "QuantizeOptions",
    "RESHAPE": "ReshapeOptions",
    "SELECT": "SelectOptions",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SUB": "SubOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "ZEROS_LIKE": "ZerosLikeOptions",
}  # LOGISTIC and TANH have none
