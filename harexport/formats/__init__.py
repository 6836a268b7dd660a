"""Model files as bytes: reading and building .tflite and .onnx, their structure, metadata and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harexport.errors import InputError

if TYPE_CHECKING:  # importing this package loads no file format's schema
    from harexport.formats.model_file import Format, ModelFile

_TFLITE_IDENTIFIER = b"TFL3"
# Files that are given by mistake, by their first bytes; the message ends "..., not a .onnx or .tflite model".
_OTHER_SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer (fetch the file itself: git lfs pull)",
    b"PK\x03\x04": "a zip archive (a .keras, .pt2 or .task file; unpack it, or convert it to .tflite or .onnx)",
    b"\x89HDF": "a Keras .h5 file (convert it to .tflite first)",
    b"\x80\x02": "a pickle (a PyTorch checkpoint; export it first)",
    b"\x1f\x8b": "gzip (unpack it first)",
    b"<": "an HTML or XML page (a failed download?)",
}


def read_model(model: bytes, name: str, folder: Path | None = None) -> ModelFile:
    """Read a model file of either format; its content decides which, not its name.

    Args:
        model: The file's bytes.
        name: The file's name, for error messages.
        folder: Where to look for weights in files beside it.

    Raises:
        InputError: The file is damaged, or of another format.
    """
    if identify_format(model, name) == "tflite":
        from harexport.formats import tflite_reader

        return tflite_reader.read(model, name)
    from harexport.formats import onnx_reader

    return onnx_reader.read(model, name, folder)


def identify_format(model: bytes, name: str) -> Format:
    """Return the format of a model file by its first bytes. Raises InputError for files of other kinds."""
    if model[4:8] == _TFLITE_IDENTIFIER:
        return "tflite"
    for start, kind in _OTHER_SIGNATURES.items():
        if model.startswith(start):
            raise InputError(f"{name} is {kind}, not a .onnx or .tflite model")
    if not model:
        raise InputError(f"{name} is empty; get or export it again")
    if name.lower().endswith(".tflite"):
        raise InputError(f"{name} is not a .tflite file: the identifier TFL3 is missing; get or export it again")
    return "onnx"
