"""Labels where LiteRT's tools look for them, read here by the field numbers of metadata_schema.fbs."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import flatbuffers.number_types as numbers
import flatbuffers.table
import pytest

from harexport.errors import InputError
from harexport.exporters import tflite
from harexport.formats import tflite_reader
from harexport.model.contract import LABELS
from harexport.runtimes.litert import LiteRtRunner
from tests.helpers.networks import GRU_SHAPES, SHAPES, contract_of


class Table:
    """A FlatBuffer table; fields by their position in the schema."""

    def __init__(self, data: bytes, position: int | None = None) -> None:
        root = flatbuffers.table.Table(bytearray(data), 0).Get(numbers.UOffsetTFlags, 0)
        self.data, self.table = (
            data,
            flatbuffers.table.Table(bytearray(data), root if position is None else position),
        )

    def offset(self, field: int) -> int:
        return int(self.table.Offset(4 + 2 * field))

    def text(self, field: int) -> str:
        return bytes(self.table.String(self.offset(field) + self.table.Pos)).decode()

    def byte(self, field: int) -> int:
        return int(self.table.Get(numbers.Int8Flags, self.offset(field) + self.table.Pos))

    def tables(self, field: int) -> list[Table]:
        if not self.offset(field):
            return []
        start, count = self.table.Vector(self.offset(field)), self.table.VectorLen(self.offset(field))
        return [Table(self.data, int(self.table.Indirect(start + 4 * k))) for k in range(count)]


def described(model: bytes) -> Table:
    file = tflite_reader.unpack(model, "model")
    (entry,) = (entry for entry in file.metadata if entry.name == b"TFLITE_METADATA")
    data = tflite_reader.buffer_data(file, entry.buffer).tobytes()
    assert data[4:8] == b"M001"
    return Table(data)


def emitted(network: Any, lowering: str = "unrolled") -> bytes:
    return tflite.build(network, contract_of(network), {}, lowering)


def test_inputs_outputs_and_labels() -> None:
    root = described(emitted(SHAPES["edge"], "fused"))
    assert root.text(0) == "harexport"
    assert root.text(7) == "1.0.0"
    (subgraph,) = root.tables(3)
    (window,) = subgraph.tables(2)
    assert window.text(0) == "window"
    assert "128 samples at 50 Hz of body_acc_x (g)" in window.text(1)
    outputs = subgraph.tables(3)
    assert [output.text(0) for output in outputs] == ["logits", "probabilities"]
    for output in outputs:
        (file,) = output.tables(6)
        assert (file.text(0), file.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_labels_are_in_an_appended_zip() -> None:
    archive = zipfile.ZipFile(io.BytesIO(emitted(SHAPES["edge"])))
    assert archive.namelist() == ["labels.txt"]
    assert archive.read("labels.txt").decode().splitlines() == list(LABELS)


def test_second_head_has_its_own_labels() -> None:
    network = GRU_SHAPES["baseline-gru"]
    model = emitted(network)
    archive = zipfile.ZipFile(io.BytesIO(model))
    assert archive.read("coarse_labels.txt").decode().splitlines() == list(contract_of(network).coarse_labels)
    named = {output.text(0): output.tables(6)[0].text(0) for output in described(model).tables(3)[0].tables(3)}
    assert named == {
        "logits": "labels.txt", "probabilities": "labels.txt",
        "coarse_logits": "coarse_labels.txt", "coarse_probabilities": "coarse_labels.txt",
    }  # fmt: skip


@pytest.mark.parametrize("missing", [1, 21, 22, 100])
def test_truncated_file_is_rejected(missing: int) -> None:
    with pytest.raises(InputError, match="is truncated"):
        LiteRtRunner(emitted(SHAPES["edge"])[:-missing], "edge.tflite")
