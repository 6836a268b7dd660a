"""Nothing half-written, nothing lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harexport.errors import InputError
from harexport.utils import files
from tests.helpers.requirements import requires


def test_a_file_appears_whole(tmp_path: Path) -> None:
    files.write_json(tmp_path / "deep" / "x.json", {"a": [1, "ä"]})
    assert files.read_json(tmp_path / "deep" / "x.json", "notes") == {"a": [1, "ä"]}


def test_an_error_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    files.write_text(target, "old")

    def break_off() -> None:
        with files.atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(target, float("nan"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@requires("posix")
def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file.*--out"):
        files.write_text(tmp_path / "file" / "x", "")


def test_json_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{]")
    with pytest.raises(InputError, match=r"notes .*x is not JSON \(line 1"):
        files.read_json(tmp_path / "x", "notes")
    with pytest.raises(InputError, match="notes not found"):
        files.read_json(tmp_path / "y", "notes")
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot read notes"):
        files.read_json(tmp_path / "x", "notes")
