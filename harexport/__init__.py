"""Export recurrent sensor models from PyTorch to ONNX and TFLite, and check every file against the trained model."""

import os
from typing import TYPE_CHECKING, Any

from harexport.version import __version__

# ONNX Runtime's Linux build sends usage data and leaves a database in the user's cache folder unless this variable is
# set before its first import. Set it to 0 to allow that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from harexport.exporters.export import export

__all__ = ["__version__", "export"]


def __getattr__(name: str) -> Any:
    if name == "export":  # imported on first use: `harexport --help` needs no runtime
        from harexport.exporters.export import export

        return export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
