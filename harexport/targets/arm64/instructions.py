"""Executed instructions per window on 64-bit Arm: what stands for time where time is emulated.

QEMU logs each block of code that it executes (`-d exec,nochain`) and, when it first translates one, the instructions in
it (`-d in_asm`); the sum of the blocks' lengths between the guest's marks is the number of instructions, the same to
the last one as with a block for each instruction (`-one-insn-per-tb`). Only the inference is logged (guest.py).
"""

from __future__ import annotations

import mmap
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harexport.errors import CheckFailedError
from harexport.model.layers import Array
from harexport.targets.arm64 import emulator
from harexport.targets.arm64.guest import BEGIN, EMPTY, END, WARM

_BLOCK = re.compile(rb"^IN:[^\n]*\n((?:0x[0-9a-f]+: +[0-9a-f]{8}\b[^\n]*\n)+)", re.M)
_EXECUTED = re.compile(rb"^Trace 0: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/", re.M)  # 0: the guest's first thread
_MARKS = re.compile(b"^(?:" + b"|".join(re.escape(mark.strip()) for mark in (EMPTY, BEGIN, END)) + b")$", re.M)
_INTERPRETER = re.compile(r"^python3(\.\d+)?$")


@dataclass(frozen=True)
class Instructions:
    """Of one file on one processor: the instructions of each counted window. Hybrid kernels vary a little with the
    data; all others do the same for every window.
    """

    processor: str
    counts: tuple[int, ...]

    @property
    def least(self) -> int:
        return min(self.counts)

    @property
    def median(self) -> int:
        return round(statistics.median(self.counts))

    def to_dict(self) -> dict[str, Any]:
        return {"min": self.least, "median": self.median, "max": max(self.counts), "windows": len(self.counts)}


def instructions(
    path: Path,
    windows: Array,
    target: emulator.Target | None = None,
    processor: str = emulator.PROCESSOR,
    timeout_s: float | None = None,
) -> Instructions:
    """Count what one .tflite or .onnx file executes for each of a few windows [n, window, channels].

    The inference alone: `invoke` or `run` with its input set before. Of a file that takes several windows at once, a
    window's share. Raises InputError, and CheckFailedError where the log does not add up.
    """
    target = target or emulator.load()
    ready = np.ascontiguousarray(windows, dtype="<f4")
    with tempfile.TemporaryDirectory(prefix="harexport-arm64-") as work:
        log = Path(work) / "log"
        # the interpreter lies below this address: it is not what is to be counted
        options = ["-d", "exec,nochain,in_asm", "-dfilter", "0x1000000..0x7fffffffffff", "-D", "/dev/null"]
        told = target.ask(path, ready, Path(work), {"log": str(log)}, options, processor, timeout_s)
        counts = read_log(log, [(int(begin), int(end), str(name)) for begin, end, name in told["code"]])
    if len(counts) != len(ready):
        raise CheckFailedError(f"{path}: {len(counts)} of {len(ready)} windows are in the emulator's log; run it again")
    return Instructions(processor, tuple(round(count / told["batch"]) for count in counts))


def read_log(log: Path, code: Sequence[tuple[int, int, str]]) -> list[int]:
    """The instructions between each BEGIN and END of a log, less those between EMPTY and BEGIN: the marks' own.

    What lies in the Python interpreter, by the guest's `code` ranges, is left out. Raises CheckFailedError.
    """
    with log.open("rb") as opened:
        if not opened.seek(0, 2):
            raise CheckFailedError("the emulator logged nothing: its -d options do not work on this machine")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text.find(WARM) < 0:
                raise CheckFailedError("the emulator's log lacks its marks; run it again")
            lengths = _lengths(text)
            marks = [(match.group() + b"\n", match.start()) for match in _MARKS.finditer(text)]
            if [mark for mark, _ in marks] != [EMPTY, BEGIN, END] * (len(marks) // 3):
                raise CheckFailedError("the emulator's log was cut off: is the disk full?")
            places = [place for _, place in marks]
            python = [(begin, end) for begin, end, name in code if _INTERPRETER.match(name)]
            counts = []
            for empty, begin, end in zip(places[0::3], places[1::3], places[2::3], strict=True):
                own = _sum(text[empty:begin], lengths, python)
                counts.append(_sum(text[begin:end], lengths, python) - own)
    return counts


def _lengths(text: mmap.mmap) -> dict[int, int]:
    """How many instructions each block has, by its address."""
    lengths: dict[int, int] = {}
    for match in _BLOCK.finditer(text):
        lines = match[1].splitlines()
        start = int(lines[0].split(b":", 1)[0], 16)
        if lengths.setdefault(start, len(lines)) != len(lines):
            raise CheckFailedError(f"the emulator's log has the block at {start:#x} in two lengths; run it again")
    return lengths


def _sum(part: bytes, lengths: dict[int, int], python: Sequence[tuple[int, int]]) -> int:
    total = 0
    for address, times in Counter(_EXECUTED.findall(part)).items():
        start = int(address, 16)
        if any(begin <= start < end for begin, end in python):
            continue
        if start not in lengths:
            raise CheckFailedError(f"the emulator's log has no length for the block at {start:#x}; run it again")
        total += times * lengths[start]
    return total
