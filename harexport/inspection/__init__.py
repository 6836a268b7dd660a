"""Inspection of model files from any converter: contents, costs, and problems to expect on a phone.

    >>> from harexport import inspection
    >>> result = inspection.inspect("model.tflite")
    >>> [finding.id for finding in result.findings]

`formats` reads the file, `runtimes.sandbox` runs it in a child process, rules.py and performance_rules.py find
problems, inspector.py joins the results, and report.py formats them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing this package loads no file format's schema
    from harexport.inspection.inspector import Inspection


def inspect(path: Path | str, *, run: bool = True) -> Inspection:
    """Inspect a .onnx or .tflite file.

    Args:
        path: The file.
        run: Whether to load and run it in a child process, too.

    Raises:
        InputError: The file is of another format, damaged or unreadable.
    """
    from harexport.inspection.inspector import inspect

    return inspect(Path(path), run)
