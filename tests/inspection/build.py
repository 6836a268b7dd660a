"""Small .tflite and .onnx files, written with the schema's classes instead of our builder."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

_TYPES = {name.lower(): code for name, code in vars(schema.TensorType).items() if not name.startswith("_")}


class Subgraph:
    """A graph of a .tflite file under construction; tensors are referred to by index."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.tensors: list[Any] = []
        self.ops: list[Any] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str = "float32",
        *,
        values: Any = None,
        variable: bool = False,
        scale: list[float] | None = None,
        signature: list[int] | None = None,
    ) -> int:
        buffer = 0
        if values is not None:
            data = np.ascontiguousarray(values).tobytes()
            self.file.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
            buffer = len(self.file.buffers) - 1
        quantization = schema.QuantizationParametersT(scale=scale, zeroPoint=[3] * len(scale)) if scale else None
        self.tensors.append(
            schema.TensorT(
                name=name, shape=list(shape), type=_TYPES[dtype], buffer=buffer, isVariable=variable,
                quantization=quantization, shapeSignature=signature,
            )
        )  # fmt: skip
        return len(self.tensors) - 1

    def constant(self, name: str, values: Any, dtype: str = "float32", **more: Any) -> int:
        array = np.asarray(values, dtype)
        return self.tensor(name, array.shape, dtype, values=array, **more)

    def op(
        self,
        kind: str,
        inputs: list[int],
        outputs: list[int],
        version: int = 1,
        options: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        code = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
        custom = kind if code == schema.BuiltinOperator.CUSTOM else None
        self.file.codes.append(
            schema.OperatorCodeT(
                builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version, customCode=custom
            )
        )
        record = schema.OperatorT(opcodeIndex=len(self.file.codes) - 1, inputs=inputs, outputs=outputs)
        if options:
            record.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
            record.builtinOptions = getattr(schema, options[0] + "T")(**options[1])
        self.ops.append(record)


class File:
    """A .tflite file under construction; graphs[0] is the main graph."""

    def __init__(self) -> None:
        self.buffers: list[Any] = [schema.BufferT()]
        self.codes: list[Any] = []
        self.graphs: list[Subgraph] = []

    def graph(self) -> Subgraph:
        self.graphs.append(Subgraph(self))
        return self.graphs[-1]

    def bytes(self, *, description: str = "", signature: bool = True) -> bytes:
        main = self.graphs[0]

        def named(indices: list[int]) -> list[Any]:
            return [schema.TensorMapT(name=main.tensors[k].name, tensorIndex=k) for k in indices]

        signatures = [
            schema.SignatureDefT(
                inputs=named(main.inputs), outputs=named(main.outputs), signatureKey="serving_default", subgraphIndex=0
            )
        ]
        return packed(
            schema.ModelT(
                version=3,
                operatorCodes=self.codes,
                subgraphs=[
                    schema.SubGraphT(
                        tensors=g.tensors, operators=g.ops, inputs=g.inputs, outputs=g.outputs, name=f"graph{k}"
                    )
                    for k, g in enumerate(self.graphs)
                ],
                buffers=self.buffers,
                description=description,
                signatureDefs=signatures if signature else [],
            )
        )


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def dense(
    *,
    reads: tuple[int, ...] = (1, 4),
    weight: Any = None,
    dtype: str = "float32",
    output: str = "logits",
    version: int = 1,
    **of_input: Any,
) -> File:
    """Build one FULLY_CONNECTED [n, 4] -> [n, 3] with the given weight and input."""
    file = File()
    graph = file.graph()
    values = np.arange(12).reshape(3, 4) / 8 - 0.7 if weight is None else weight
    x = graph.tensor("window", reads, **of_input)
    w = graph.constant("weight", values, dtype, **({"scale": [0.1]} if dtype == "int8" else {}))
    y = graph.tensor(output, (reads[0], 3))
    graph.op("FULLY_CONNECTED", [x, w, -1], [y], version, ("FullyConnectedOptions", {}))
    graph.inputs, graph.outputs = [x], [y]
    return file


def loop(trips: int | None) -> File:
    """Build a WHILE that multiplies by a 3 x 3 matrix `trips` times; None for an endless loop."""
    file = File()
    main, condition, body = file.graph(), file.graph(), file.graph()
    x, y = main.tensor("window", (1, 3)), main.tensor("logits", (1, 3))
    start, end = main.constant("start", 0, "int32"), main.tensor("end", (), "int32")
    main.op("WHILE", [start, x], [end, y], 1, ("WhileOptions", {"condSubgraphIndex": 1, "bodySubgraphIndex": 2}))
    main.inputs, main.outputs = [x], [y]
    for graph in (condition, body):
        graph.inputs = [graph.tensor("i", (), "int32"), graph.tensor("h", (1, 3))]
    limit = condition.constant("trips", 1 if trips is None else trips, "int32")
    condition.outputs = [condition.tensor("goes on", (), "bool")]
    condition.op("LESS", [condition.inputs[0], limit], condition.outputs, 1, ("LessOptions", {}))
    step = body.constant("step", 0 if trips is None else 1, "int32")
    body.outputs = [body.tensor("i+1", (), "int32"), body.tensor("h+1", (1, 3))]
    body.op("ADD", [body.inputs[0], step], body.outputs[:1], 1, ("AddOptions", {}))
    weight = body.constant("recurrent", np.eye(3) / 2)
    body.op("FULLY_CONNECTED", [body.inputs[1], weight, -1], body.outputs[1:], 1, ("FullyConnectedOptions", {}))
    return file


def onnx_model(
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    constants: dict[str, Any],
    *,
    opset: int = 13,
    ir: int = 7,
    domains: tuple[str, ...] = (),
    dtype: int = TensorProto.FLOAT,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """Build a model; `inputs` and `outputs` map names to shapes, of `dtype` and float32."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "by hand",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)],
        ir_version=ir,
    )
    helper.set_model_props(model, metadata or {})
    return model


def onnx_dense(**more: Any) -> onnx.ModelProto:
    """Build window [1, 4] -> logits [1, 3]."""
    weight = (np.arange(12).reshape(3, 4) / 8 - 0.7).astype(np.float32)
    node = helper.make_node("Gemm", ["window", "weight"], ["logits"], transB=1)
    return onnx_model([node], {"window": [1, 4]}, {"logits": [1, 3]}, {"weight": weight}, **more)
