"""Imports torch.nn.Module models, by way of ONNX."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.importers.onnx import import_model, random_windows
from harexport.model.network import Network
from harexport.utils.console import info

if TYPE_CHECKING:
    from torch import Tensor, nn

_OPSET = 20  # the first one with Gelu


def from_torch(module: nn.Module, example: Tensor, num_channels: int | None = None) -> Network:
    """Import a torch.nn.Module that classifies windows as a network.

    Args:
        module: Module in evaluation mode, without hooks.
        example: Window [1, time, channels], [1, channels, time] or [time, 1, channels].
        num_channels: Number of channels. Default: the order of the axes is found from the layers; if several fit, it is
            [batch, time, channels].

    Raises:
        InputError: The module is in training mode, has hooks or cannot be exported, a layer is not supported, or the
            imported network differs from the module.
    """
    import onnx
    import torch

    name = type(module).__name__
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{name} is not a torch.nn.Module")
    if training := [part for part, inner in module.named_modules() if inner.training]:
        part = f" ({training[0]})" if training[0] else ""
        raise InputError(f"{name} is in training mode{part}; call its method eval() first")
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise InputError(f"{name} has forward hooks, which ONNX cannot represent; remove them")
    content: Any = io.BytesIO()
    options: dict[str, Any] = {"input_names": ["window"], "output_names": ["output"], "dynamo": False}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it prints the graph of errors
            warnings.simplefilter("ignore")  # about tracing and the choice of the exporter
            torch.onnx.export(module, (example,), content, opset_version=_OPSET, **options)
    except Exception as error:  # the exporter's errors share no base class
        reason = re.split(r"\. Please feel free|  \[Caused by|\n", str(error))[0]
        raise InputError(f"{name} cannot be exported to ONNX by PyTorch: {reason}") from error
    imported = import_model(onnx.load_from_string(content.getvalue()), name, num_channels)

    def run(windows: NDArray[np.float32]) -> NDArray[np.floating]:
        order = [("b", "t", "c").index(axis) for axis in imported.axes]
        with torch.no_grad():
            outputs = [module(torch.from_numpy(window[None].transpose(order).copy())) for window in windows]
        outputs = [output[0] if isinstance(output, tuple | list) else output for output in outputs]
        return np.stack([output.numpy().ravel() for output in outputs])

    imported.compare(random_windows(imported.network), run)
    for note in imported.notes:
        info(note)
    return imported.network
