"""Files with an explicit state: one run reads a part of a window, and the state that the part before left.

A network can be split if its layers before the first recurrent layer have no padding, all recurrent layers run forward,
the layers between them work on each step alone, and the last step is read at the end.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harexport.errors import InputError
from harexport.exporters.options import ExportOptions
from harexport.model.contract import LOGITS_NAME, NEW_STATE_NAME, Contract, Stream
from harexport.model.layers import Activation, Array, Conv1d, Layer, Linear, LstmLayer, Normalize, Pool, Recurrent, Step
from harexport.model.network import Network
from harexport.runtimes.runner import Floats

_POINTWISE = (Normalize, Linear, Activation)


def resolve_stream(network: Network, options: ExportOptions, steps: int) -> ExportOptions:
    """Return the options of a file with an explicit state.

    Args:
        network: Network to export.
        options: Options of the same file without a state.
        steps: Steps of the recurrent layers per run.

    Raises:
        InputError: The network or the options do not allow it.
    """
    if options.scheme == "int8" or options.batch != 1:
        raise InputError(
            "a stream has one window at a time in float32, float16 or int8-weights; leave out int8 and batch"
        )
    if options.lowering in ("fused", "loop") and not options.reason:
        raise InputError("a stream needs the lowering unrolled; set the lowering to auto or unrolled")
    split(network, Contract(), steps)
    lowering = None if options.lowering is None else "unrolled"
    return dataclasses.replace(options, lowering=lowering, reason="", stream=steps)


def split(network: Network, contract: Contract, steps: int) -> tuple[Network, Contract]:
    """Return the network and the contract of one part of a window.

    Args:
        network: Network of whole windows.
        contract: Its contract.
        steps: Steps of the recurrent layers per part.

    Raises:
        InputError: A layer does not run forward in time, or a window is not a whole number of parts.
    """
    span, stride = _input_frame(network.layers)
    total, state_size = network.num_steps, 0
    for layer in network.recurrent_layers:
        state_size += (2 if isinstance(layer, LstmLayer) else 1) * layer.hidden
    if not 1 <= steps <= total or total % steps:
        parts = ", ".join(str(count) for count in range(1, total + 1) if total % count == 0)
        raise InputError(f"a window has {total} steps, which {steps} does not divide; give one of {parts}")
    window = span + (steps - 1) * stride
    part = Network(window, network.num_channels, network.layers, network.coarse_head)
    stream = Stream(steps, total // steps, state_size)
    return part, dataclasses.replace(contract, window=window, hop=steps * stride, stream=stream)


def _input_frame(layers: tuple[Layer, ...]) -> tuple[int, int]:
    """Return the samples that a step of the first recurrent layer reads, and those between two steps."""
    span = stride = 1
    is_sequence, has_recurrent = True, False
    for k, layer in enumerate(layers):
        if isinstance(layer, _POINTWISE):
            continue
        is_input = is_sequence and not has_recurrent
        if is_input and isinstance(layer, Conv1d) and not any(layer.padding):
            span, stride = span + layer.dilation * (layer.kernel_size - 1) * stride, stride * layer.stride
        elif is_input and isinstance(layer, Pool):
            span, stride = span + (layer.kernel_size - 1) * stride, stride * layer.stride
        elif is_sequence and isinstance(layer, Recurrent) and not layer.backward:
            has_recurrent, is_sequence = True, layer.sequence
        elif has_recurrent and is_sequence and layer == Step(-1):
            is_sequence = False
        else:
            what = "backward LSTM or GRU" if isinstance(layer, Recurrent) else type(layer).__name__
            raise InputError(
                f"a stream needs layers that run forward in time, step by step; layer {k}, {what}, does not. Export "
                "whole windows"
            )
    if not has_recurrent:
        raise InputError("a stream needs an LSTM or GRU layer; export whole windows")
    return span, stride


class StreamRunner:
    """A file with an explicit state, run on whole windows in parts.

    Args:
        model: The file's bytes.
        fmt: "onnx" or "tflite".
        name: Name in error messages.
        contract: Contract of a part.
        window: Samples of a whole window.
    """

    batch: int | None = 1

    def __init__(self, model: bytes, fmt: str, name: str, contract: Contract, window: int) -> None:
        from harexport.runtimes.litert import LiteRtModel
        from harexport.runtimes.onnx import OnnxModel

        assert contract.stream is not None
        self.name, self.runtime, self.metadata = name, fmt, dict[str, str]()
        self.window_shape = (window, len(contract.channels))
        self._model = LiteRtModel(model) if fmt == "tflite" else OnnxModel(model)
        self._contract, self._stream = contract, contract.stream

    def outputs(self, windows: Floats) -> dict[str, Any]:
        """Run one window [1, window, channels] from the state 0 -> the outputs of its last part by name."""
        contract, outputs = self._contract, dict[str, Any]()
        state = np.zeros((1, self._stream.state_size), np.float32)
        for k in range(self._stream.runs):
            start = k * contract.hop
            part = np.ascontiguousarray(windows[:, start : start + contract.window], np.float32)
            outputs = self._model.run([part, state])
            state = outputs.pop(NEW_STATE_NAME)
        return outputs

    def run_batch(self, windows: Floats) -> Floats:
        """Run one window -> logits [1, labels]."""
        logits: Floats = self.outputs(windows)[LOGITS_NAME]
        return logits

    def logits(self, windows: Array) -> Floats:
        """Run windows [n, window, channels] -> logits [n, labels]."""
        return np.concatenate([self.run_batch(window[None].astype(np.float32)) for window in windows])
