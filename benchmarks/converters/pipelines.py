"""The conversions that are compared: those of harexport and of other tools."""

from __future__ import annotations

from dataclasses import dataclass

HERE = "harexport"  # the current environment


@dataclass(frozen=True)
class Pipeline:
    """A conversion from a trained network to a file.

    Attributes:
        key: Name of the file.
        who: Converter, in the table.
        scheme: Quantization scheme, in the table.
        suffix: Suffix of the file.
        environment: Environment that runs the command.
        command: Script of this folder with arguments; for harexport the options of `harexport export`.
        source: Key of the conversion whose file is the input.
    """

    key: str
    who: str
    scheme: str
    suffix: str
    environment: str
    command: tuple[str, ...]
    source: str | None = None

    @property
    def ours(self) -> bool:
        return self.key.startswith("harexport-")

    @property
    def by_tensorflow(self) -> bool:
        return self.command[0] == "convert_keras.py" or self.command[1].startswith("keras-")


def _ours(fmt: str, scheme: str, lowering: str | None = None) -> Pipeline:
    # the option last: a bare --quantize means int8 weights
    options = ["--format", fmt, *(["--lowering", lowering] if lowering else [])]
    if scheme != "float32":
        options.append(f"--quantize={scheme}")
    name = "-".join(part for part in ("harexport", fmt, lowering, scheme) if part)
    return Pipeline(name, "harexport", scheme, f".{fmt}", HERE, tuple(options))


def _keras(keras: str, loop: str, scheme: str) -> Pipeline:
    who = {"keras": "Keras 3", "tf_keras": "legacy Keras"}[keras] + (", unrolled" if loop == "unroll" else "")
    named = {"float32": "float32", "dynamic": "int8-weights", "int8": "int8"}[scheme]
    command = ("convert_keras.py", keras, loop, scheme)
    return Pipeline(f"{keras}-{loop}-{scheme}", f"{who} + TFLiteConverter", named, ".tflite", HERE, command)


def _torch(way: str, who: str, suffix: str, environment: str) -> Pipeline:
    return Pipeline(way, who, "float32", suffix, environment, ("convert_torch.py", way))


def _tool(key: str, who: str, scheme: str, suffix: str, environment: str, tool: str, source: str) -> Pipeline:
    return Pipeline(key, who, scheme, suffix, environment, ("convert_files.py", tool), source)


PIPELINES = (
    _ours("onnx", "float32"),
    _ours("onnx", "int8-weights"),
    *(_ours("tflite", scheme, "unrolled") for scheme in ("float32", "int8-weights", "int8")),
    *(_ours("tflite", scheme, "fused") for scheme in ("float32", "int8-weights", "int8")),
    _torch("torchscript", "torch.onnx (TorchScript)", ".onnx", HERE),
    _torch("dynamo", "torch.onnx (dynamo)", ".onnx", "litert-torch"),
    _tool(
        "ort-dynamic", "torch.onnx, then onnxruntime.quantization", "int8-weights", ".onnx",
        HERE, "ort-dynamic", "torchscript",
    ),
    _keras("keras", "loop", "float32"),
    _keras("keras", "loop", "dynamic"),
    _keras("keras", "loop", "int8"),
    _keras("keras", "unroll", "float32"),
    _keras("tf_keras", "loop", "float32"),
    _keras("tf_keras", "loop", "dynamic"),
    _keras("tf_keras", "loop", "int8"),
    _torch("litert-torch", "litert-torch", ".tflite", "litert-torch"),
    _tool(
        "onnx2tf-float32", "torch.onnx, then onnx2tf", "float32", ".tflite",
        "onnx2tf", "onnx2tf-float32", "torchscript",
    ),
    _tool(
        "onnx2tf-dynamic", "torch.onnx, then onnx2tf", "int8-weights", ".tflite",
        "onnx2tf", "onnx2tf-dynamic", "torchscript",
    ),
    _tool(
        "quantizer-tf_keras", "legacy Keras, then ai-edge-quantizer", "int8-weights", ".tflite",
        "quantizer", "quantizer", "tf_keras-loop-float32",
    ),
    _tool(
        "quantizer-litert-torch", "litert-torch, then ai-edge-quantizer", "int8-weights", ".tflite",
        "quantizer", "quantizer", "litert-torch",
    ),
)  # fmt: skip


def _network(tool: str, who: str, scheme: str, suffix: str, environment: str) -> Pipeline:
    return Pipeline(tool, who, scheme, suffix, environment, ("convert_networks.py", tool))


# For the networks of networks.py, which harexport imports from the file of `torchscript`.
OWN_PIPELINES = (
    _network("torchscript", "torch.onnx (TorchScript)", "float32", ".onnx", HERE),
    *(_ours("onnx", scheme) for scheme in ("float32", "int8-weights")),
    *(_ours("tflite", scheme) for scheme in ("float32", "int8-weights", "int8")),
    *(_ours("tflite", scheme, "unrolled") for scheme in ("float32", "int8-weights")),
    _tool(
        "ort-dynamic", "torch.onnx, then onnxruntime.quantization", "int8-weights", ".onnx",
        HERE, "ort-dynamic", "torchscript",
    ),
    _network("keras-float32", "Keras 3 + TFLiteConverter", "float32", ".tflite", HERE),
    _network("keras-dynamic", "Keras 3 + TFLiteConverter", "int8-weights", ".tflite", HERE),
    _network("keras-int8", "Keras 3 + TFLiteConverter", "int8", ".tflite", HERE),
    _network("litert-torch", "litert-torch", "float32", ".tflite", "litert-torch"),
    _tool(
        "onnx2tf-float32", "torch.onnx, then onnx2tf", "float32", ".tflite",
        "onnx2tf", "onnx2tf-float32", "torchscript",
    ),
    _tool(
        "onnx2tf-dynamic", "torch.onnx, then onnx2tf", "int8-weights", ".tflite",
        "onnx2tf", "onnx2tf-dynamic", "torchscript",
    ),
    _tool(
        "quantizer-keras", "Keras 3, then ai-edge-quantizer", "int8-weights", ".tflite",
        "quantizer", "quantizer", "keras-float32",
    ),
    _tool(
        "quantizer-litert-torch", "litert-torch, then ai-edge-quantizer", "int8-weights", ".tflite",
        "quantizer", "quantizer", "litert-torch",
    ),
)  # fmt: skip
