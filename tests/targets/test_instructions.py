"""Counting from QEMU's log: lengths of translated blocks, times they ran, between the guest's marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from harexport.errors import CheckFailedError
from harexport.targets.arm64.instructions import Instructions, read_log

_CODE = [(0x400000, 0x500000, "python3.13"), (0x7F0000000000, 0x7F0000002000, "libc.so.6")]
_A, _B, _PYTHON = 0x7F0000000100, 0x7F0000001000, 0x400100


def _translated(address: int, count: int) -> str:
    lines = "".join(f"0x{address + 4 * k:x}:  d503201f  nop      \n" for k in range(count))
    return f"----------------\nIN: \n{lines}\n"


def _ran(address: int, times: int = 1, thread: int = 0) -> str:
    return f"Trace {thread}: 0x7f5f82e00280 [81009331/{address:016x}/00000001/00008200] \n" * times


_WINDOW = "#empty\n" + _ran(_A) + "#begin\n" + _ran(_A) + _ran(_B, 10) + _ran(_PYTHON, 5) + "#end\n"
_START = _translated(_A, 3) + _ran(_A) + "#warm\n" + _translated(_B, 7) + _ran(_B)


def _log(folder: Path, text: str) -> Path:
    path = folder / "log"
    path.write_text(text)
    return path


def test_instructions_between_the_marks(tmp_path: Path) -> None:
    # 3 + 70, less the marks' own 3; the interpreter and other threads are left out
    assert read_log(_log(tmp_path, _START + _WINDOW), _CODE) == [70]
    other = _WINDOW.replace("#end", _ran(_B, 4, thread=1) + _ran(_A, 2) + "#end")
    assert read_log(_log(tmp_path, _START + _WINDOW + _ran(_B, 9) + other), _CODE) == [70, 76]


def test_a_name_and_a_block_of_one(tmp_path: Path) -> None:
    start = _START.replace("IN: \n", "IN: memcpy\n") + _translated(0x7F0000001800, 1)
    window = _WINDOW.replace("#end", _ran(0x7F0000001800, 2) + "#end")
    assert read_log(_log(tmp_path, start + window), _CODE) == [72]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "log is empty"),
        ("qemu: unknown\n", "has no marks"),
        (_START + _WINDOW.replace("#end\n", ""), "truncated"),
        (_START + _WINDOW + _WINDOW[:20], "truncated"),
        (_START.replace(_translated(_B, 7), "") + _WINDOW, "no length for the block at 0x7f0000001000"),
        (_START + _WINDOW + _translated(_B, 8), "two lengths for the block"),
    ],
)
def test_an_inconsistent_log(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(CheckFailedError, match=sentence):
        read_log(_log(tmp_path, text), _CODE)


def test_summary_of_the_counts() -> None:
    counted = Instructions("cortex-a76", (5, 3, 4))
    assert counted.to_dict() == {"min": 3, "median": 4, "max": 5, "windows": 3}
