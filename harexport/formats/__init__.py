"""Model files as bytes: reading and building .tflite and .onnx, their structure, metadata and costs."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from harexport.errors import InputError

if TYPE_CHECKING:  # importing this package loads no file format's schema
    from harexport.formats.model_file import Format, ModelFile

_TFLITE_IDENTIFIER = b"TFL3"
_MAX_SIZE = 1 << 31  # bytes: the limit of both formats
# Files that are given by mistake, by their first bytes; the message ends "..., not a .onnx or .tflite model".
_OTHER_SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer (fetch the file itself: git lfs pull)",
    b"PK\x03\x04": "a zip archive (a .keras, .pt2 or .task file; unpack it, or convert it to .tflite or .onnx)",
    b"\x89HDF": "a Keras .h5 file (convert it to .tflite first)",
    b"\x80\x02": "a pickle (a PyTorch checkpoint; export it first)",
    b"\x1f\x8b": "gzip (unpack it first)",
    b"<": "an HTML or XML page (a failed download?)",
}


def read_model_bytes(path: Path, name: str | None = None) -> bytes:
    """Read a model file into memory.

    Args:
        path: The file.
        name: Its name in error messages; default: the path.

    Raises:
        InputError: It does not exist, is a folder, a device or a pipe, is too large, or cannot be read.
    """
    name = name or str(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name} is a folder; give a .onnx or .tflite file in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name} is no regular file; give a .onnx or .tflite file")
        if status.st_size > _MAX_SIZE:
            raise InputError(f"{name} has {status.st_size / 1e9:.1f} GB; model files of up to 2 GB are supported")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"model not found: {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


def read_model(
    model: bytes, name: str, folder: Path | None = None, checked: tuple[str | None, bytes] | None = None
) -> ModelFile:
    """Read a model file of either format; its content decides which, not its name.

    Args:
        model: The file's bytes.
        name: The file's name, for error messages.
        folder: Where to look for weights in files beside it.
        checked: Result of `onnx_reader.check` in another process. Without it, ONNX's native checks run in this one.

    Raises:
        InputError: The file is damaged, or of another format.
    """
    if identify_format(model, name) == "tflite":
        from harexport.formats import tflite_reader

        return tflite_reader.read(model, name)
    from harexport.formats import onnx_reader

    return onnx_reader.read(model, name, folder, checked)


def identify_format(model: bytes, name: str) -> Format:
    """Return the format of a model file by its first bytes. Raises InputError for files of other kinds."""
    if model[4:8] == _TFLITE_IDENTIFIER:
        return "tflite"
    for start, kind in _OTHER_SIGNATURES.items():
        if model.startswith(start):
            raise InputError(f"{name} is {kind}, not a .onnx or .tflite model")
    if model[8:10] == b'{"' and int.from_bytes(model[:8], "little") < len(model):
        raise InputError(f"{name} is a safetensors checkpoint, not a .onnx or .tflite model; export it first")
    if not model:
        raise InputError(f"{name} is empty; get or export it again")
    if name.lower().endswith(".tflite"):
        raise InputError(f"{name} is not a .tflite file: the identifier TFL3 is missing; get or export it again")
    return "onnx"
