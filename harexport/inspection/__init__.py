"""What a model file holds, whoever made it, and what will go wrong with it on a phone.

    >>> from harexport import inspection
    >>> anatomy = inspecting.inspect("model.tflite")
    >>> [trap.id for trap in anatomy.traps]

contents.py is what both formats have in common; tflite.py and onnx.py read it, macs.py and traps.py judge it,
probe.py has trial.py run the file in a child process, anatomy.py joins all of that, text.py shows it to people.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the probe's child imports this package, and neither format's schema
    from harexport.inspection.inspector import Anatomy


def inspect(path: Path | str, *, run: bool = True) -> Anatomy:
    """Inspect a .onnx or .tflite file; `run` False leaves out loading and running it in a child process.

    Raises InputError where it is neither, damaged or not readable.
    """
    from harexport.inspection.inspector import inspect

    return inspect(Path(path), run)
