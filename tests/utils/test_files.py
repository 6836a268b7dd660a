"""Outputs are complete or absent, and never replace devices, links or inputs; JSON of any content."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from harexport.errors import InputError
from harexport.utils import files
from tests.helpers.requirements import requires


def test_a_file_is_complete(tmp_path: Path) -> None:
    files.write_json(tmp_path / "deep" / "x.json", {"a": [1, "ä"]})
    assert files.read_json(tmp_path / "deep" / "x.json", "notes") == {"a": [1, "ä"]}


def test_an_error_keeps_the_existing_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    files.write_text(target, "old")

    def fail() -> None:
        with files.atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@requires("posix")
def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*Not a directory"):
        files.write_text(tmp_path / "file" / "x", "")


def test_invalid_json(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{]")
    with pytest.raises(InputError, match=r"notes .*x is not JSON \(line 1"):
        files.read_json(tmp_path / "x", "notes")
    with pytest.raises(InputError, match="notes not found"):
        files.read_json(tmp_path / "y", "notes")
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot read notes"):
        files.read_json(tmp_path / "x", "notes")


@requires("posix")
def test_a_device_is_written_to_and_not_replaced() -> None:
    files.write_text("/dev/null", "content")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    files.check_output(Path("/dev/null"))


@requires("posix")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "content")
    reader.join(10)
    assert received == ["content"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@requires("posix")
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "elsewhere" / "target.txt"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    files.write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("kind", ["same", "hard link", "symbolic link"])
def test_an_input_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "recording.csv"
    source.write_text("data")
    output = source if kind == "same" else tmp_path / "out.csv"
    if kind == "hard link":
        output.hardlink_to(source)
    elif kind == "symbolic link":
        output.symlink_to(source)
    with files.protect_inputs([source]):
        with pytest.raises(InputError, match="is an input of this command"):
            files.check_output(output)
        with pytest.raises(InputError, match="is an input of this command"):
            files.write_text(output, "report")
        assert source.read_text() == "data"
    files.write_text(output, "report")  # without the context it is a file as any other


def test_an_output_is_checked_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"):
        files.check_output(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        files.check_output(tmp_path / "file" / "deep" / "x.png")
    with pytest.raises(InputError, match="name too long"):
        files.check_output(tmp_path / ("x" * 300))
    files.check_output(tmp_path / "new" / "x.png")
    assert not (tmp_path / "new").exists()


def test_a_long_name_is_written(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("x" * 250 + ".json"), "")
    assert len(list(tmp_path.iterdir())) == 1


def test_json_has_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": [float("nan"), (float("inf"), 1.5)]})
    assert files.read_json(tmp_path / "x.json", "notes") == {"a": [None, [None, 1.5]]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "NaN is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ("1e999", "1e999 is not a JSON number"),
        ("1" * 5000, r"1\.\.\. is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "\ud800', "is not JSON"),
    ],
)
def test_json_of_an_untrusted_source(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text, "utf-8", "surrogatepass")
    with pytest.raises(InputError, match=words):
        files.parse_json(text, "notes")


@requires("posix")
def test_json_is_read_from_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="is not a regular file"):
            files.read_json(path, "notes")
