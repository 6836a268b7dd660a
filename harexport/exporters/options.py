"""Export options and their validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harexport.errors import InputError
from harexport.model.layers import Activation, Linear, walk
from harexport.model.network import Network

SCHEMES = {
    "onnx": ("float32", "float16", "int8-weights"),
    "tflite": ("float32", "float16", "int8-weights", "int8"),
}
FORMATS = tuple(SCHEMES)
LOWERINGS = ("auto", "fused", "loop", "unrolled")
IO_TYPES = ("float32", "int8")

# By latency on x86 (benchmarks/lowerings.json) and executed instructions on 64-bit Arm (benchmarks/arm64.json).
# Each unrolled step has its own packed copy of the weights: large ones do not fit into the caches.
MAX_UNROLLED_STEPS, MAX_UNROLLED_UNITS = 32, 64
MAX_BATCH = 4096
_INT8_ONLY = ("elu", "gelu")  # activations without an int16 kernel in TensorFlow Lite


@dataclass(frozen=True)
class ExportOptions:
    """Options of one exported file.

    Attributes:
        format: "onnx" or "tflite".
        scheme: Quantization scheme, one of SCHEMES.
        lowering: "fused", "loop" or "unrolled"; None for ONNX, which has an LSTM operator.
        batch: Windows per run; None: dynamic.
        io: Type of input and outputs, "float32" or "int8".
        reason: Why "auto" selected this lowering; empty if it was requested.
        stream: Steps per run of a file with an explicit state; None: whole windows.
    """

    format: str
    scheme: str = "float32"
    lowering: str | None = None
    batch: int | None = 1
    io: str = "float32"
    reason: str = ""
    stream: int | None = None

    @property
    def name(self) -> str:
        """Name in error messages: "tflite/fused/int8-weights"."""
        return "/".join(part for part in (self.format, self.lowering, self.scheme) if part)

    def file_name(self, recipe: str) -> str:
        """Return `<recipe>-<lowering>-<scheme>.tflite` or `<recipe>-<scheme>.onnx`, with io and batch if unusual."""
        batch = [] if self.batch == 1 else ["dynamic" if self.batch is None else f"batch{self.batch}"]
        io = [] if self.io == "float32" else [f"{self.io}-io"]
        stream = [] if self.stream is None else [f"stream{self.stream}"]
        parts = (recipe, *stream, self.lowering, self.scheme, *io, *batch)
        return "-".join(part for part in parts if part) + f".{self.format}"


def resolve(
    network: Network,
    fmt: str,
    scheme: str = "float32",
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
) -> ExportOptions:
    """Validate the options of one file and resolve the lowering "auto".

    Raises:
        InputError: An option does not exist, or the options do not fit each other or the network.
    """
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}; choose one of {', '.join(FORMATS)}")
    if scheme not in SCHEMES[fmt]:
        known = "; ".join(f"{name} comes in {', '.join(schemes)}" for name, schemes in SCHEMES.items())
        raise InputError(f"the format {fmt} has no scheme {scheme!r}: {known}")
    if lowering not in LOWERINGS:
        raise InputError(f"unknown lowering {lowering!r}; choose one of {', '.join(LOWERINGS)}")
    if io not in IO_TYPES:
        raise InputError(f"unknown input and output type {io!r}; choose one of {', '.join(IO_TYPES)}")
    if io == "int8" and scheme != "int8":
        raise InputError(f"int8 input and output need the scheme int8; {scheme} has float activations")
    if batch is not None and (type(batch) is not int or not 1 <= batch <= MAX_BATCH):
        raise InputError(f"batch {batch}: give a number of windows from 1 to {MAX_BATCH}, or dynamic (None)")
    if scheme == "int8" and batch != 1:
        raise InputError("the scheme int8 takes one window at a time; set the batch to 1")
    if fmt == "onnx":
        if scheme == "int8-weights" and batch != 1 and network.lstm:
            raise InputError(
                "ONNX Runtime's int8 LSTM has one activation scale per batch, so that a prediction depends on the "
                "other windows of its batch; set the batch to 1, or use float16"
            )
        if lowering != "auto":
            raise InputError(f"the lowering {lowering!r} is for tflite; leave it at auto for onnx")
        return ExportOptions(fmt, scheme, None, batch, io)
    chosen, reason = _resolve_lowering(network, scheme, lowering, batch)
    if scheme == "int8":
        check_integer_layers(network, chosen)
    return ExportOptions(fmt, scheme, chosen, batch, io, reason)


def resolve_all(
    network: Network, fmt: str, schemes: Sequence[str], lowering: str, batch: int | None, io: str
) -> list[ExportOptions]:
    """Resolve the options of all files of an export.

    Args:
        network: Network to export.
        fmt: "onnx", "tflite" or "all"; with "all", each format gets those of the schemes that it has.
        schemes: Quantization schemes.
        lowering: Lowering; with "all" it applies to .tflite files.
        batch: Windows per run; None: dynamic.
        io: Type of input and outputs; with "all" it applies to the scheme int8.

    Raises:
        InputError: As for `resolve`.
    """
    if fmt != "all":
        return [resolve(network, fmt, scheme, lowering, batch, io) for scheme in schemes]
    files = []
    for file_format in FORMATS:
        for scheme in (scheme for scheme in schemes if scheme in SCHEMES[file_format] or file_format == "tflite"):
            requested = "auto" if file_format == "onnx" else lowering
            file_io = io if scheme == "int8" else "float32"
            files.append(resolve(network, file_format, scheme, requested, batch, file_io))
    if io != "float32" and "int8" not in schemes:
        resolve(network, "tflite", schemes[0], "auto", batch, io)  # raises
    return files


def parse_schemes(fmt: str, quantize: Sequence[str]) -> list[str]:
    """Return the schemes of the option `--quantize`; with the format "all", float32 comes first.

    Raises:
        InputError: A scheme does not exist.
    """
    known = [scheme for scheme in SCHEMES["tflite"] if scheme != "float32"]
    for scheme in quantize:
        if scheme not in known:
            raise InputError(
                f"--quantize={scheme}: choose one of {', '.join(known)}. Place the path of the checkpoint before "
                "--quantize"
            )
    schemes = list(dict.fromkeys(quantize))
    return ["float32", *schemes] if fmt == "all" else schemes or ["float32"]


def parse_batch(batch: str) -> int | None:
    """Return the number of windows of the option `--batch`; None for "dynamic".

    Raises:
        InputError: It is neither a number in range nor "dynamic".
    """
    if batch == "dynamic":
        return None
    if not (batch.isascii() and batch.isdecimal() and 1 <= int(batch) <= MAX_BATCH):
        raise InputError(f"--batch {batch}: give a number of windows from 1 to {MAX_BATCH}, or dynamic")
    return int(batch)


def _resolve_lowering(network: Network, scheme: str, lowering: str, batch: int | None) -> tuple[str, str]:
    """Return the lowering, and the reason if it was "auto"."""
    if lowering == "fused" and network.gru:
        raise InputError("TensorFlow Lite has no fused GRU operator; set the lowering to auto, loop or unrolled")
    if lowering == "fused" and batch is None:
        raise InputError(
            "the fused LSTM needs a fixed number of windows; set the batch, or the lowering to unrolled or loop"
        )
    if lowering == "fused" and not network.lstm:
        raise InputError("the lowering fused is for LSTM layers; set the lowering to auto or unrolled")
    if lowering == "loop" and not network.recurrent_layers:
        raise InputError("the lowering loop is for LSTM and GRU layers; set the lowering to auto or unrolled")
    if lowering == "loop" and scheme == "int8":
        raise InputError("the lowering loop has no scheme int8; set the lowering to auto, or use int8-weights")
    if lowering != "auto":
        return lowering, ""
    if not network.recurrent_layers:
        return "unrolled", "no recurrent layers"
    steps, units = network.num_steps, max(layer.hidden for layer in network.recurrent_layers)
    if steps > MAX_UNROLLED_STEPS and scheme == "int8":
        if network.gru:
            return "unrolled", "in int8, TensorFlow Lite has no fused GRU operator"
        return "fused", f"{steps} steps in int8: above {MAX_UNROLLED_STEPS}, fused is smaller and loads faster"
    if steps > MAX_UNROLLED_STEPS:
        return "loop", f"{steps} steps: above {MAX_UNROLLED_STEPS}, a loop is smaller and faster"
    if units > MAX_UNROLLED_UNITS and scheme != "int8":
        return "loop", f"{units} units: above {MAX_UNROLLED_UNITS}, a loop is smaller and faster"
    return "unrolled", f"{steps} steps: up to {MAX_UNROLLED_STEPS}, unrolled is faster"


def computes_on_int16(network: Network, lowering: str) -> bool:
    """Whether activations of the scheme int8 are int16, because rounding errors add up over unrolled steps."""
    return lowering == "unrolled" and bool(network.recurrent_layers)


def check_integer_layers(network: Network, lowering: str) -> None:
    """Raise InputError if a layer cannot compute on integers."""
    if not isinstance(network.layers[-1], Linear):
        raise InputError("the scheme int8 needs a linear layer at the end; use int8-weights")
    for layer in walk(network.layers):
        if not isinstance(layer, Activation):
            continue
        if layer.kind == "elu" and layer.alpha != 1.0:
            raise InputError(f"TensorFlow Lite has no ELU with alpha {layer.alpha:g}; it is 1 there")
        if layer.kind in _INT8_ONLY and computes_on_int16(network, lowering):
            raise InputError(
                f"the scheme int8 has no {layer.kind.upper()} in a network with unrolled recurrent layers, which "
                "computes on int16; use int8-weights, or the lowering fused for LSTM layers"
            )
