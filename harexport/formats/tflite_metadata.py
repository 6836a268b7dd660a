"""Model metadata and label files for LiteRT's tools (Android Studio, MetadataExtractor, MediaPipe).

The tools read the metadata entry TFLITE_METADATA, a FlatBuffer that follows LiteRT's metadata_schema.fbs. It names
files in a zip archive that is appended to the model. Interpreters ignore the archive.
"""

from __future__ import annotations

import io
import zipfile

import flatbuffers

from harexport.model.contract import INPUT_NAME, Contract

HAREXPORT_ENTRY = "harexport"  # contract and metadata of an export, as JSON
TFLITE_METADATA = "TFLITE_METADATA"
LABELS_NAME = "labels.txt"
_IDENTIFIER = b"M001"
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_MIN_PARSER_VERSION = "1.0.0"  # all fields used here are in the first version of the schema
_DATE = (1980, 1, 1, 0, 0, 0)  # fixed, so that the same export gives the same bytes


def build_metadata(description: str, contract: Contract) -> tuple[bytes, dict[str, str]]:
    """Build the TFLITE_METADATA entry of a model.

    Args:
        description: Description of the model.
        contract: Input and output contract.

    Returns:
        The serialized ModelMetadata, and the text of the label files that it names.
    """
    channels = ", ".join(f"{name} ({unit})" for name, unit in zip(contract.channels, contract.units, strict=True))
    files: dict[tuple[str, ...], str] = {contract.labels: LABELS_NAME}
    if contract.coarse_labels:
        files.setdefault(contract.coarse_labels, f"coarse_{LABELS_NAME}")
    builder = flatbuffers.Builder(1024)
    model_input = _tensor(
        builder, INPUT_NAME, f"{contract.window} samples at {contract.rate_hz:g} Hz of {channels}", None
    )
    model_outputs = [
        _tensor(builder, name, f"one value for each of {', '.join(labels)}", files[labels])
        for name, labels in contract.outputs.items()
    ]
    subgraph = _table(builder, 10, {2: _vector(builder, [model_input]), 3: _vector(builder, model_outputs)})
    fields = {
        0: builder.CreateString("harexport"),
        1: builder.CreateString(description),
        3: _vector(builder, [subgraph]),
        7: builder.CreateString(_MIN_PARSER_VERSION),
    }
    builder.Finish(_table(builder, 8, fields), _IDENTIFIER)
    return bytes(builder.Output()), {name: labels_text(labels) for labels, name in files.items()}


def append_files(model: bytes, files: dict[str, str]) -> bytes:
    """Append a zip archive of text files to a model."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for name, text in files.items():
            opened.writestr(zipfile.ZipInfo(name, _DATE), text)
    return model + archive.getvalue()


def is_complete(model: bytes) -> bool:
    """Return whether the zip archive of a model is complete; True if its metadata names no files."""
    if TFLITE_METADATA.encode() not in model:
        return True
    # "end of central directory" without a comment (APPNOTE.TXT 4.3.16): the last 22 bytes
    return model[-22:-18] == b"PK\x05\x06"


def labels_text(labels: tuple[str, ...]) -> str:
    """Return the content of labels.txt: one label per line, in the order of the logits."""
    return "".join(f"{label}\n" for label in labels)


def _tensor(builder: flatbuffers.Builder, name: str, description: str, labels: str | None) -> int:
    fields = {0: builder.CreateString(name), 1: builder.CreateString(description)}
    if labels is not None:
        file = builder.CreateString(labels)
        builder.StartObject(5)
        builder.PrependUOffsetTRelativeSlot(0, file, 0)
        builder.PrependInt8Slot(2, _AXIS_LABELS, 0)
        fields[6] = _vector(builder, [builder.EndObject()])
    return _table(builder, 7, fields)


def _table(builder: flatbuffers.Builder, size: int, fields: dict[int, int]) -> int:
    """Write a table with `size` fields in the schema; `fields` maps the positions of those present to offsets."""
    builder.StartObject(size)
    for position, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(position, offset, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
