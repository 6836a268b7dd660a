"""load_dataset() and its cache: fast, keyed by content, and rebuilt when damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset, load_dataset
from harexport.data import cache as cache_module
from harexport.data.load import load_or_download
from harexport.errors import InputError


def same(a: Dataset, b: Dataset) -> bool:
    return (a.source, a.digest) == (b.source, b.digest) and all(
        np.array_equal(getattr(getattr(a, split), array), getattr(getattr(b, split), array))
        for split in ("train", "test")
        for array in ("signals", "labels", "subjects")
    )


@pytest.fixture
def parses(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List the places that were parsed, in order; files count as settled at once."""
    from harexport.data.uci_har import reader

    done: list[Path] = []
    real = reader.read_dataset

    def counted(path: Path) -> Dataset:
        done.append(path)
        return real(path)

    monkeypatch.setattr(reader, "read_dataset", counted)
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", -60.0)
    return done


@pytest.mark.serial
def test_cached_load_is_fast(uci_har_path: Path, isolated: Path) -> None:
    first = load_dataset(uci_har_path)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        again = load_dataset(uci_har_path)
        times.append(time.perf_counter() - began)
    assert same(first, again)
    assert min(times) < 0.2, times


def test_second_load_is_from_the_cache_beside_the_data(small: Path, parses: list[Path]) -> None:
    first, again = load_dataset(small), load_dataset(small.parent)
    assert len(parses) == 1
    assert same(first, again)
    assert again.train.signals.dtype == np.float32
    assert list((small.parent / ".harexport-cache").glob("windows-*.npz"))
    assert (small.parent / ".harexport-cache" / ".gitignore").read_text().endswith("\n*\n")


@pytest.mark.parametrize("as_zip", [False, True])
def test_an_edited_file_changes_the_result(
    as_zip: bool, small: Path, parses: list[Path], tmp_path: Path, zipped: Callable[..., bytes]
) -> None:
    place = tmp_path / "given.zip" if as_zip else small

    def loaded() -> Dataset:
        if as_zip:
            place.write_bytes(zipped(small))
        return load_dataset(place)

    before = loaded()
    labels = small / "train" / "y_train.txt"
    labels.write_bytes(labels.read_bytes().replace(b"5", b"4"))  # the same size
    after = loaded()
    assert len(parses) == 2
    assert before.digest != after.digest
    assert before.train.labels.tolist() == [4, 0, 5]
    assert after.train.labels.tolist() == [3, 0, 5]


def test_an_edit_with_the_old_time_is_seen(small: Path, parses: list[Path]) -> None:
    if sys.platform == "win32":
        return  # Windows has no change time: see cache._file_stats
    import os

    load_dataset(small)
    labels = small / "train" / "y_train.txt"
    stat = labels.stat()
    labels.write_bytes(labels.read_bytes().replace(b"5", b"4"))
    os.utime(labels, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_dataset(small).train.labels.tolist() == [3, 0, 5]


def test_recently_changed_files_are_parsed_again(
    small: Path, parses: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", 60.0)
    load_dataset(small)
    load_dataset(small)
    assert len(parses) == 2


def test_the_same_content_elsewhere_is_stored_once(small: Path, parses: list[Path]) -> None:
    shutil.copytree(small, small.parent / "train copy")
    first, second = load_dataset(small), load_dataset(small.parent / "train copy")
    assert same(first, second)
    assert len(list((small.parent / ".harexport-cache").glob("windows-*.npz"))) == 1


def _replace_arrays(file: Path, **changed: np.ndarray) -> None:
    with np.load(file) as stored:
        arrays = {**stored, **changed}
    np.savez(file, **arrays)


def _patched(data: bytes, mark: bytes, offset: int, value: int) -> bytes:
    """`data` with one byte set, `offset` bytes after the first `mark`."""
    at = data.index(mark) + offset
    return data[:at] + bytes([value]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-500]),
    "empty": lambda file: file.write_bytes(b""),
    "flipped": lambda file: file.write_bytes(bytes(b ^ (k == 2000) for k, b in enumerate(file.read_bytes()))),
    "needs an unknown version": lambda file: file.write_bytes(_patched(file.read_bytes(), b"PK\x01\x02", 6, 250)),
    "marked as encrypted": lambda file: file.write_bytes(_patched(file.read_bytes(), b"PK\x01\x02", 8, 1)),
    "garbage": lambda file: file.write_bytes(b"\x00" * 5000),
    "plain npy": lambda file: np.save(file.open("wb"), np.zeros(3)),
    "wrong shape": lambda file: _replace_arrays(file, train_signals=np.zeros((3, 127, 9), np.float32)),
    "wrong rows": lambda file: _replace_arrays(file, test_subjects=np.zeros(3, np.int64)),
    "wrong dtype": lambda file: _replace_arrays(file, test_signals=np.zeros((2, 128, 9), np.float64)),
    "a pickle": lambda file: _replace_arrays(file, train_labels=np.array([None, 1, 2], object)),
    "lacks an array": lambda file: np.savez(file, source=np.array("x"), digest=np.array("y")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_rebuilt(
    damage: str, small: Path, parses: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_dataset(small)
    (file,) = (small.parent / ".harexport-cache").glob("windows-*.npz")
    DAMAGES[damage](file)
    capsys.readouterr()
    assert same(before, load_dataset(small))
    assert f"The cache file {file} is damaged" in capsys.readouterr().err
    assert same(before, load_dataset(small))
    assert len(parses) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', "{", '{"version": 1, "files": []}'])
def test_a_damaged_index_is_rebuilt(content: str, small: Path, parses: list[Path]) -> None:
    before = load_dataset(small)
    (file,) = (small.parent / ".harexport-cache").glob("seen-*.json")
    file.write_text(content)
    assert same(before, load_dataset(small))
    assert same(before, load_dataset(small))
    assert len(parses) == 2


def test_a_deleted_cache_is_rebuilt(small: Path, parses: list[Path]) -> None:
    before = load_dataset(small)
    for file in (small.parent / ".harexport-cache").glob("windows-*.npz"):
        file.unlink()
    assert same(before, load_dataset(small))


def test_a_read_only_folder_is_not_written(small: Path, parses: list[Path], isolated: Path) -> None:
    small.parent.chmod(0o555)
    try:
        first, again = load_dataset(small), load_dataset(small)
    finally:
        small.parent.chmod(0o755)
    assert same(first, again)
    assert len(parses) == 1
    assert [file.name for file in small.parent.iterdir()] == [small.name]
    assert list((isolated / "parsed").glob("windows-*.npz"))


def test_without_any_folder_for_a_cache(
    small: Path, parses: list[Path], isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small.parent / ".harexport-cache").write_text("in the way")
    assert len(load_dataset(small).train) == 3
    assert len(load_dataset(small).train) == 3
    assert "The parsed data is not cached" in capsys.readouterr().err


def test_concurrent_loads(small: Path, parses: list[Path]) -> None:
    results: list[Dataset] = []
    threads = [threading.Thread(target=lambda: results.append(load_dataset(small))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(same(results[0], other) for other in results)
    assert {file.name[:5] for file in (small.parent / ".harexport-cache").iterdir()} == {".giti", "seen-", "windo"}


@pytest.mark.parametrize("name", ["", "train/y_train.txt", "train/Inertial Signals/body_acc_x_train.txt"])
def test_pipes_and_devices_are_refused(name: str, small: Path) -> None:
    """They would never end. Runs in a child process, so that a failure ends as well."""
    path = small / name if name else small.parent / "pipe"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    code = (
        "import sys; from pathlib import Path; from harexport.data import load_dataset; load_dataset(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(small if name else path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "regular file" in child.stderr


def test_environment_variable_gives_the_path(small: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_DATA", str(small))
    assert len(load_dataset().test) == 2
    monkeypatch.setenv("HAREXPORT_DATA", str(small / "nowhere"))
    with pytest.raises(InputError, match=r"HAREXPORT_DATA is set to .*, but .*does not exist"):
        load_dataset()
    assert len(load_dataset(small).test) == 2  # a path has priority over the setting
    with pytest.raises(InputError, match="unknown data source"):  # the setting is ignored
        load_or_download("none")


def test_importing_is_cheap() -> None:
    heavy = "{'scipy', 'requests', 'pypi_simple', 'pooch', 'msgspec', 'matplotlib', 'rich'}"
    code = f"import sys, harexport.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
