"""harexport: a human-activity model from PyTorch to a phone, with proof that what runs there is what was trained."""

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime's Linux build sends usage data, and leaves a database in the user's cache folder, unless it is told not
# to before its import. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from harexport.exporters.export import export

__version__ = "0.1.0"
__all__ = ["export"]


def __getattr__(name: str) -> Any:
    if name == "export":  # imported when it is asked for: `harexport --help` has no use for a runtime
        from harexport.exporters.export import export

        return export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
