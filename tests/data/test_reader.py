"""Reader of the official files: published figures, folders and zips, and damaged files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset, find_segments
from harexport.data.uci_har.manifest import FOLDER, REQUIRED_FILES, load_manifest
from harexport.data.uci_har.reader import OFFICIAL, read_dataset
from harexport.errors import InputError
from harexport.model.contract import LABELS

TRAIN_SIGNAL = "train/Inertial Signals/body_gyro_y_train.txt"


def test_known_figures(dataset: Dataset) -> None:
    train, test = dataset.train, dataset.test
    assert train.signals.shape == (7352, 128, 9)
    assert test.signals.shape == (2947, 128, 9)
    assert train.signals.dtype == np.float32
    assert np.bincount(train.labels).tolist() == [1226, 1073, 986, 1286, 1374, 1407]
    assert np.bincount(test.labels).tolist() == [496, 471, 420, 491, 532, 537]
    assert np.unique(test.subjects).tolist() == [2, 4, 9, 10, 12, 13, 18, 20, 24]
    assert len(np.unique(train.subjects)) == 21
    assert not set(train.subjects.tolist()) & set(test.subjects.tolist())
    np.testing.assert_allclose(test.signals.mean(dtype=np.float64), 0.0991399, rtol=0, atol=5e-8)
    np.testing.assert_allclose(test.signals.std(dtype=np.float64), 0.395671, rtol=0, atol=5e-7)


def test_official_files_are_recognized(official_path: Path) -> None:
    assert read_dataset(official_path).source == OFFICIAL


def test_segments_contain_every_window(dataset: Dataset) -> None:
    for windows, count in ((dataset.train, 600), (dataset.test, 257)):
        found = find_segments(windows)
        assert len(found.start) == count
        begins = found.start[found.segment_index] + found.offset
        assert np.array_equal(found.signal[begins[:, None] + np.arange(128)], windows.signals)
        assert (found.offset + 128 <= found.length[found.segment_index]).all()


def test_manifest_lists_every_required_file() -> None:
    assert set(REQUIRED_FILES) <= set(load_manifest())
    assert len(REQUIRED_FILES) == 22


def test_numbers_and_order(small: Path) -> None:
    exact = read_dataset(small, exact=True)
    text = (small / TRAIN_SIGNAL).read_text().splitlines()
    for row, line in enumerate(text):
        assert exact.train.signals[row, :, 4].tolist() == [float(field) for field in line.split()]
    assert exact.train.labels.tolist() == [4, 0, 5]
    assert exact.train.subjects.tolist() == [1, 1, 3]
    assert exact.test.labels.tolist() == [1, 3]
    assert read_dataset(small).test.signals.dtype == np.float32


def test_folders_and_zips_give_the_same_digest(small: Path, tmp_path: Path, zipped: Callable[..., bytes]) -> None:
    flat, nested, beside = tmp_path / "a.zip", tmp_path / "b.zip", tmp_path / "beside"
    flat.write_bytes(zipped(small))
    nested.write_bytes(zipped(small, nested=True))
    beside.mkdir()
    (beside / f"{FOLDER}.zip").write_bytes(zipped(small))
    digests = {read_dataset(place).digest for place in (small, small.parent, flat, nested, beside)}
    assert len(digests) == 1


def test_other_content_is_read_and_reported(small: Path) -> None:
    source = read_dataset(small).source
    assert source.startswith(f"{FOLDER} (not the official files: train/y_train.txt, train/subject_train.txt, ")
    assert source.endswith("and 19 more differ)")
    assert str(small) not in source


def test_line_ends_of_windows_are_fine(small: Path) -> None:
    before = read_dataset(small)
    for file in small.rglob("*.txt"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    after = read_dataset(small)
    assert np.array_equal(before.train.signals, after.train.signals)
    assert before.digest != after.digest


def _edited(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(edit((folder / name).read_bytes()))

    return change


def _in_row(row: int, edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[row - 1] = b" ".join(edit(lines[row - 1].split()))
        return b"\n".join(lines)

    return change


def _first(value: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda fields: [value, *fields[1:]]


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing signal": (lambda folder: (folder / TRAIN_SIGNAL).unlink(), f"lacks {TRAIN_SIGNAL}"),
    "missing labels": (lambda folder: (folder / "test/y_test.txt").unlink(), r"lacks test/y_test\.txt"),
    "empty signal": (_edited(TRAIN_SIGNAL, lambda _: b""), f"{TRAIN_SIGNAL} is empty"),
    "blank labels": (_edited("train/y_train.txt", lambda _: b" \n\n"), r"y_train\.txt is empty"),
    "nan": (_edited(TRAIN_SIGNAL, _in_row(2, _first(b"NaN"))), f"{TRAIN_SIGNAL}, row 2, column 1 reads 'NaN'"),
    "inf": (_edited(TRAIN_SIGNAL, _in_row(3, _first(b"-inf"))), f"{TRAIN_SIGNAL}, row 3, column 1 reads '-inf'"),
    "overflow": (_edited(TRAIN_SIGNAL, _in_row(1, _first(b"1e999"))), "row 1, column 1 reads '1e999'"),
    "word": (_edited(TRAIN_SIGNAL, _in_row(1, _first(b"walk"))), "row 1, column 1 reads 'walk'; expected a finite"),
    "127 samples": (_edited(TRAIN_SIGNAL, _in_row(2, lambda f: f[1:])), f"{TRAIN_SIGNAL}, row 2 has 127 numbers"),
    "127 in all": (
        _edited(TRAIN_SIGNAL, lambda data: b"".join(b" ".join(r.split()[1:]) + b"\n" for r in data.splitlines())),
        f"{TRAIN_SIGNAL}, row 1 has 127 numbers; expected 128",
    ),
    "cut in a number": (_edited(TRAIN_SIGNAL, lambda data: data[:-3]), f"{TRAIN_SIGNAL} is cut off in row 3"),
    "cut at a line": (_edited(TRAIN_SIGNAL, lambda data: data[: data.index(b"\n") + 1]), f"{TRAIN_SIGNAL} has 1 rows"),
    "binary": (_edited(TRAIN_SIGNAL, lambda _: bytes(range(256)) + b"\n"), f"{TRAIN_SIGNAL}.*row 1"),
    "not ascii": (_edited(TRAIN_SIGNAL, lambda _: b"\xff\xfe1 2\n"), f"{TRAIN_SIGNAL}.*row 1, column 1"),
    "label 7": (_edited("train/y_train.txt", lambda _: b"5\n7\n1\n"), r"y_train\.txt, row 2 reads 7; expected.*1\.\.6"),
    "label 0": (_edited("test/y_test.txt", lambda _: b"0\n1\n"), r"y_test\.txt, row 1 reads 0"),
    "label 1.5": (_edited("test/y_test.txt", lambda _: b"1.5\n1\n"), r"y_test\.txt, row 1 reads 1\.5"),
    "two labels a row": (_edited("test/y_test.txt", lambda _: b"1 2\n1 2\n"), r"y_test\.txt, row 1 has 2 numbers"),
    "a label too few": (
        _edited("train/y_train.txt", lambda _: b"5\n1\n"),
        r"y_train\.txt has 2 rows, the others 3",
    ),
    "a subject too many": (
        _edited("test/subject_test.txt", lambda data: data + b"2\n"),
        r"test/subject_test\.txt has 3 rows, the others 2",
    ),
    "subject 0": (_edited("test/subject_test.txt", lambda _: b"0\n2\n"), r"subject_test\.txt, row 1 reads 0"),
    "subject in both": (
        _edited("test/subject_test.txt", lambda _: b"3\n2\n"),
        r"subject \[3\] is in train and in",
    ),
    "far too large": (
        _edited("test/y_test.txt", lambda data: data * 100_000),
        r"y_test\.txt is far larger than the official file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused(case: str, small: Path) -> None:
    damage, message = BAD[case]
    damage(small)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(small)
    assert "downloads the data" in str(caught.value)


@pytest.mark.parametrize("damage", ["nan", "missing labels", "label 7"])
def test_bad_files_in_a_zip_are_refused(damage: str, small: Path, tmp_path: Path, zipped: Callable[..., bytes]) -> None:
    BAD[damage][0](small)
    place = tmp_path / "bad.zip"
    place.write_bytes(zipped(small, nested=True))
    with pytest.raises(InputError, match=BAD[damage][1]):
        read_dataset(place)


def test_missing_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="contains neither train/ and test/ nor"):
        read_dataset(tmp_path)


def _with_entry(name: str, data: bytes = b"x") -> Callable[[bytes], bytes]:
    def add(packed: bytes) -> bytes:
        file = io.BytesIO(packed)
        with zipfile.ZipFile(file, "a") as archive:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
        return file.getvalue()

    return add


def _encrypted(packed: bytes) -> bytes:
    """The same zip with the flag "encrypted" in each local and central header."""
    changed = bytearray(packed)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = packed.find(mark)
        while position >= 0:
            changed[position + at] |= 1
            position = packed.find(mark, position + 1)
    return bytes(changed)


def _flipped(packed: bytes) -> bytes:
    """A byte changed inside the first entry that is read."""
    at = packed.index(b"train/y_train.txt") + len("train/y_train.txt") + 3
    return packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :]


def _bomb(_: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{FOLDER}/train/y_train.txt", b"1\n" * 10_000_000)
    return file.getvalue()


def _bomb_with_wrong_size(packed: bytes) -> bytes:
    """A bomb whose headers state 6 bytes."""
    packed = _bomb(packed)
    return packed.replace((20_000_000).to_bytes(4, "little"), (6).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda packed: packed[: len(packed) // 2], "is not a readable zip"),
        (lambda _: b"", "is not a readable zip"),
        (lambda _: b"<html>404</html>", "is not a readable zip"),
        (_flipped, r"cannot unpack .*train/y_train\.txt"),
        (_encrypted, r"cannot unpack .*train/y_train\.txt .*encrypted"),
        (_bomb, r"train/y_train\.txt is far larger"),
        (_bomb_with_wrong_size, r"cannot unpack .*train/y_train\.txt"),
    ],
)
def test_bad_zips_are_refused(
    change: Callable[[bytes], bytes], message: str, small: Path, tmp_path: Path, zipped: Callable[..., bytes]
) -> None:
    place = tmp_path / "given.zip"
    place.write_bytes(change(zipped(small)))
    with pytest.raises(InputError, match=message):
        read_dataset(place)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.txt", f"{FOLDER}/../../up.txt", "..\\up.txt", "C:\\up.txt"])
def test_members_outside_the_folder_are_ignored(
    name: str, small: Path, tmp_path: Path, zipped: Callable[..., bytes]
) -> None:
    place = tmp_path / "given.zip"
    place.write_bytes(_with_entry(name)(zipped(small)))
    assert read_dataset(place).digest == read_dataset(small).digest
    assert {file.name for file in tmp_path.iterdir()} == {"given", "given.zip"}


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    place = tmp_path / "other.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("holiday.txt", "sun")
    with pytest.raises(InputError, match="holds no file of 'UCI HAR Dataset'"):
        read_dataset(place)


def test_labels_match_the_published_names(official_path: Path) -> None:
    """The contract's label k is the published label k + 1."""
    from harexport.data.uci_har.reader import locate, open_files

    with open_files(locate(official_path)) as reader:
        text = reader("activity_labels.txt")
    assert text is not None
    assert text.decode().split() == [word for k, label in enumerate(LABELS) for word in (str(k + 1), label)]
