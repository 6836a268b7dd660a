"""Labels and descriptions where LiteRT's tools look for them (Android Studio, MetadataExtractor, MediaPipe).

They read the buffer TFLITE_METADATA, a FlatBuffer after LiteRT's metadata_schema.fbs, which names the files
that lie in a zip archive behind the model's own bytes. Interpreters stop reading before it.
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
_OLDEST_PARSER = "1.0.0"  # everything used here was in the schema's first version
_ALONE = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same export gives the same bytes


def build_metadata(description: str, contract: Contract) -> tuple[bytes, dict[str, str]]:
    """The ModelMetadata that `description` and `contract` make, and the files that it names, as name -> text."""
    channels = ", ".join(f"{name} ({unit})" for name, unit in zip(contract.channels, contract.units, strict=True))
    files: dict[tuple[str, ...], str] = {contract.labels: LABELS_NAME}
    if contract.coarse_labels:
        files.setdefault(contract.coarse_labels, f"coarse_{LABELS_NAME}")
    builder = flatbuffers.Builder(1024)
    reads = _tensor(builder, INPUT_NAME, f"{contract.window} samples at {contract.rate_hz:g} Hz of {channels}", None)
    answers = [
        _tensor(builder, name, f"one value for each of {', '.join(labels)}", files[labels])
        for name, labels in contract.outputs.items()
    ]
    subgraph = _table(builder, 10, {2: _vector(builder, [reads]), 3: _vector(builder, answers)})
    fields = {
        0: builder.CreateString("harexport"),
        1: builder.CreateString(description),
        3: _vector(builder, [subgraph]),
        7: builder.CreateString(_OLDEST_PARSER),
    }
    builder.Finish(_table(builder, 8, fields), _IDENTIFIER)
    return bytes(builder.Output()), {name: labels_text(labels) for labels, name in files.items()}


def append_files(model: bytes, files: dict[str, str]) -> bytes:
    """The model with a zip of `files` (name -> text) behind it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for name, text in files.items():
            opened.writestr(zipfile.ZipInfo(name, _ALONE), text)
    return model + archive.getvalue()


def is_complete(model: bytes) -> bool:
    """Whether the archive that a model's metadata names is there to its last byte (true where it names none)."""
    if TFLITE_METADATA.encode() not in model:
        return True
    # zip's "end of central directory" without a comment, APPNOTE.TXT 4.3.16: 22 bytes at the very end
    return model[-22:-18] == b"PK\x05\x06"


def labels_text(labels: tuple[str, ...]) -> str:
    """A labels file: one label a line, in the order of the logits."""
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
    """A table of `size` fields after the schema, of which `fields` (position -> offset) are there."""
    builder.StartObject(size)
    for position, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(position, offset, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
