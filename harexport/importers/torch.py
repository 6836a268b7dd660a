"""Imports torch.nn.Module models, by way of ONNX."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from harexport.errors import InputError
from harexport.importers.onnx import import_model
from harexport.model.network import Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def from_torch(module: nn.Module, example: Tensor, num_channels: int | None = None) -> Network:
    """Import a torch.nn.Module that classifies windows.

    Args:
        module: Module in evaluation mode, without hooks.
        example: Window [1, time, channels], [1, channels, time] or [time, 1, channels].
        num_channels: Number of channels; needed unless the input is [1, time, channels].

    Raises:
        InputError: The module is in training mode, has hooks or cannot be exported, or a layer is not supported.
    """
    import onnx
    import torch

    name = type(module).__name__
    if module.training:
        raise InputError(f"{name} is in training mode; call its method eval() first")
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise InputError(f"{name} has forward hooks, which ONNX cannot represent; remove them")
    content: Any = io.BytesIO()
    options: dict[str, Any] = {"input_names": ["window"], "output_names": ["output"], "dynamo": False}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it prints the graph of errors
            warnings.simplefilter("ignore")  # about tracing and the choice of the exporter
            torch.onnx.export(module, (example,), content, opset_version=17, **options)
    except Exception as error:  # the exporter's errors share no base class
        raise InputError(f"{name} cannot be exported to ONNX: {str(error).splitlines()[0]}") from error
    return import_model(onnx.load_from_string(content.getvalue()), name, num_channels)
