"""Export sensor models from PyTorch to ONNX and TFLite, and check every file against the trained model.

>>> import harexport
>>> model = harexport.load("edge.safetensors")
>>> result = harexport.export(model.network, "edge.tflite", contract=model.contract)
>>> harexport.load("edge.tflite").logits(windows)  # [n, window, channels] -> [n, labels]
"""

import os
from typing import TYPE_CHECKING, Any

from harexport.version import __version__

# ONNX Runtime's Linux build sends usage data and leaves a database in the user's cache folder unless this variable is
# set before its first import. Set it to 0 to allow that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from harexport.api import export
    from harexport.importers.onnx import from_onnx
    from harexport.importers.torch import from_torch
    from harexport.runtimes.model import load_model as load

__all__ = ["__version__", "export", "from_onnx", "from_torch", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `harexport --help` needs no runtime.
    if name == "export":
        from harexport.api import export

        return export
    if name == "from_onnx":
        from harexport.importers.onnx import from_onnx

        return from_onnx
    if name == "from_torch":
        from harexport.importers.torch import from_torch

        return from_torch
    if name == "load":
        from harexport.runtimes.model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
