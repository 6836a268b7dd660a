"""What a file is to be: everything about an export that the network does not say, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harexport.errors import InputError
from harexport.model.network import Network

SCHEMES = {
    "onnx": ("float32", "float16", "int8-weights"),
    "tflite": ("float32", "float16", "int8-weights", "int8"),
}
FORMATS = tuple(SCHEMES)
LOWERINGS = ("auto", "fused", "unrolled")
IO_TYPES = ("float32", "int8")

# Up to 32 steps the unrolled graph is the faster one on x86 (benchmarks/lowerings.json: 0.3 to 0.7 of the fused one's
# time) and executes half of its instructions on 64-bit Arm (benchmarks/arm64.json). At 128 steps it is still ahead
# for most shapes (0.3 to 1.5; FACTS: 421 against 329 us), but the file has 3000 operators, is six
# times as large and takes ten times as long to load: fused.
MAX_UNROLLED_STEPS = 32
MAX_BATCH = 4096  # at once


@dataclass(frozen=True)
class ExportOptions:
    """A file's format, scheme, lowering (None for ONNX, which has an operator), windows at once (None: any number),
    and the type of its input and outputs. `reason` says in words why `auto` took this lowering; "" where it was asked.
    """

    format: str
    scheme: str = "float32"
    lowering: str | None = None
    batch: int | None = 1
    io: str = "float32"
    reason: str = ""

    @property
    def name(self) -> str:
        """What errors call it: "tflite/fused/int8-weights"."""
        return "/".join(part for part in (self.format, self.lowering, self.scheme) if part)

    def file_name(self, recipe: str) -> str:
        """`<recipe>-<lowering>-<scheme>.tflite` or `<recipe>-<scheme>.onnx`; what is unusual joins at the end."""
        batch = [] if self.batch == 1 else ["dynamic" if self.batch is None else f"batch{self.batch}"]
        io = [] if self.io == "float32" else [f"{self.io}-io"]
        return "-".join(part for part in (recipe, self.lowering, self.scheme, *io, *batch) if part) + f".{self.format}"


def resolve(
    network: Network,
    fmt: str,
    scheme: str = "float32",
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
) -> ExportOptions:
    """The form of a file, with "auto" decided. Raises InputError for options that do not exist or do not fit."""
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}; choose one of {', '.join(FORMATS)}")
    if scheme not in SCHEMES[fmt]:
        known = "; ".join(f"{name} comes in {', '.join(schemes)}" for name, schemes in SCHEMES.items())
        raise InputError(f"there is no {scheme!r} for the format {fmt}: {known}")
    if lowering not in LOWERINGS:
        raise InputError(f"unknown lowering {lowering!r}; choose one of {', '.join(LOWERINGS)}")
    if io not in IO_TYPES:
        raise InputError(f"unknown input and output type {io!r}; choose one of {', '.join(IO_TYPES)}")
    if io == "int8" and scheme != "int8":
        raise InputError(f"int8 input and output belong to the scheme int8 (full integer); {scheme} computes in floats")
    if batch is not None and (type(batch) is not int or not 1 <= batch <= MAX_BATCH):
        raise InputError(f"batch {batch}: give a number of windows from 1 to {MAX_BATCH}, or dynamic (None)")
    if scheme == "int8" and network.gru:
        raise InputError("full integer is for LSTM networks; a GRU comes in float32, float16 and int8-weights")
    if scheme == "int8" and batch != 1:
        raise InputError("full integer takes one window at a time: leave the batch at 1")
    if fmt == "onnx":
        if scheme == "int8-weights" and batch != 1 and network.lstm:
            raise InputError(
                "ONNX Runtime's int8 LSTM rounds all windows of a batch by one scale, so that an answer would depend "
                "on the windows beside it: leave the batch at 1, or take float16"
            )
        if lowering != "auto":
            raise InputError(
                f"the lowering {lowering!r} is for tflite; ONNX has its own LSTM operator: leave it at auto"
            )
        return ExportOptions(fmt, scheme, None, batch, io)
    chosen, reason = _lowering(network, lowering, batch)
    return ExportOptions(fmt, scheme, chosen, batch, io, reason)


def parse_schemes(fmt: str, quantize: Sequence[str]) -> list[str]:
    """The schemes that `--quantize` asks for; with "all" formats float32 comes first. Raises InputError."""
    known = [scheme for scheme in SCHEMES["tflite"] if scheme != "float32"]
    for scheme in quantize:
        if scheme not in known:
            raise InputError(
                f"--quantize={scheme}: choose one of {', '.join(known)}; a checkpoint's path stands before --quantize"
            )
    asked = list(dict.fromkeys(quantize))
    return ["float32", *asked] if fmt == "all" else asked or ["float32"]


def parse_batch(batch: str) -> int | None:
    """`--batch` as a number of windows at once, None for "dynamic". Raises InputError."""
    if batch == "dynamic":
        return None
    if not (batch.isascii() and batch.isdecimal() and 1 <= int(batch) <= MAX_BATCH):
        raise InputError(f"--batch {batch}: give a number of windows from 1 to {MAX_BATCH}, or dynamic")
    return int(batch)


def resolve_all(
    network: Network, fmt: str, schemes: Sequence[str], lowering: str, batch: int | None, io: str
) -> list[ExportOptions]:
    """The forms of one format in these schemes, or, of "all" formats, in those of them that each has.

    With "all", a lowering means the .tflite files; a type of input and output means the files in full integer.
    Raises InputError.
    """
    if fmt != "all":
        return [resolve(network, fmt, scheme, lowering, batch, io) for scheme in schemes]
    files = []
    for form in FORMATS:
        for scheme in (scheme for scheme in schemes if scheme in SCHEMES[form] or form == "tflite"):
            asked = "auto" if form == "onnx" else lowering
            files.append(resolve(network, form, scheme, asked, batch, io if scheme == "int8" else "float32"))
    if io != "float32" and "int8" not in schemes:
        resolve(network, "tflite", schemes[0], "auto", batch, io)  # raises: it has the words
    return files


def _lowering(network: Network, lowering: str, batch: int | None) -> tuple[str, str]:
    if lowering == "fused" and network.gru:
        raise InputError("TensorFlow Lite has no fused GRU operator; leave the lowering at auto, or say unrolled")
    if lowering == "fused" and batch is None:
        raise InputError("the fused LSTM keeps a state for a fixed number of windows: give one, or say unrolled")
    if lowering != "auto":
        return lowering, ""
    if network.gru:
        return "unrolled", "TensorFlow Lite has no fused GRU operator"
    if batch is None:
        return "unrolled", "the fused LSTM cannot take an open number of windows"
    if network.num_steps <= MAX_UNROLLED_STEPS:
        return "unrolled", f"{network.num_steps} steps: up to {MAX_UNROLLED_STEPS} the faster one on x86 and Arm"
    return "fused", f"{network.num_steps} steps: above {MAX_UNROLLED_STEPS} the smaller one, and loaded faster"
