"""Count executed instructions per window on emulated 64-bit Arm.

QEMU logs each executed block of code (`-d exec,nochain`) and, when it first translates a block, its instructions (`-d
in_asm`). The sum of the block lengths between the guest's marks is the number of instructions, exactly as with one
block per instruction (`-one-insn-per-tb`). Only the inference is logged (guest.py).
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
    """Instructions of one file on one processor.

    Attributes:
        processor: QEMU's name of the processor.
        counts: By window. Hybrid kernels vary slightly with the data, others do not.
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
    """Count the instructions of the inference alone (`invoke` or `run`, with the input set before).

    Args:
        path: .tflite or .onnx file.
        windows: A few windows [n, window, channels]. For a file with a fixed batch size the count is divided by it.
        target: Loaded if None.
        processor: QEMU's name of the processor.
        timeout_s: None for a default by the number of windows.

    Raises:
        InputError: The file or the emulator failed.
        CheckFailedError: The log is inconsistent.
    """
    target = target or emulator.load()
    ready = np.ascontiguousarray(windows, dtype="<f4")
    with tempfile.TemporaryDirectory(prefix="harexport-arm64-") as work:
        log = Path(work) / "log"
        # the Python interpreter is below this address and is not counted
        options = ["-d", "exec,nochain,in_asm", "-dfilter", "0x1000000..0x7fffffffffff", "-D", "/dev/null"]
        response = target.run_job(path, ready, Path(work), {"log": str(log)}, options, processor, timeout_s)
        counts = read_log(log, [(int(begin), int(end), str(name)) for begin, end, name in response["code"]])
    if len(counts) != len(ready):
        raise CheckFailedError(
            f"{path}: {len(counts)} of {len(ready)} windows are in the emulator's log; run the command again"
        )
    return Instructions(processor, tuple(round(count / response["batch"]) for count in counts))


def read_log(log: Path, code: Sequence[tuple[int, int, str]]) -> list[int]:
    """Return the instructions between BEGIN and END per window, minus those of the marks (EMPTY to BEGIN).

    Args:
        log: QEMU's log.
        code: Executable ranges of the guest (begin, end, file name); the Python interpreter is left out.

    Raises:
        CheckFailedError: The log is incomplete or inconsistent.
    """
    with log.open("rb") as opened:
        if not opened.seek(0, 2):
            raise CheckFailedError("the emulator's log is empty: its -d options do not work on this machine")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text.find(WARM) < 0:
                raise CheckFailedError("the emulator's log has no marks; run the command again")
            lengths = _lengths(text)
            marks = [(match.group() + b"\n", match.start()) for match in _MARKS.finditer(text)]
            if [mark for mark, _ in marks] != [EMPTY, BEGIN, END] * (len(marks) // 3):
                raise CheckFailedError("the emulator's log is truncated; check the free disk space")
            places = [place for _, place in marks]
            python = [(begin, end) for begin, end, name in code if _INTERPRETER.match(name)]
            counts = []
            for empty, begin, end in zip(places[0::3], places[1::3], places[2::3], strict=True):
                own = _sum(text[empty:begin], lengths, python)
                counts.append(_sum(text[begin:end], lengths, python) - own)
    return counts


def _lengths(text: mmap.mmap) -> dict[int, int]:
    """Return the number of instructions of each block by its address."""
    lengths: dict[int, int] = {}
    for match in _BLOCK.finditer(text):
        lines = match[1].splitlines()
        start = int(lines[0].split(b":", 1)[0], 16)
        if lengths.setdefault(start, len(lines)) != len(lines):
            raise CheckFailedError(
                f"the emulator's log has two lengths for the block at {start:#x}; run the command again"
            )
    return lengths


def _sum(part: bytes, lengths: dict[int, int], python: Sequence[tuple[int, int]]) -> int:
    total = 0
    for address, times in Counter(_EXECUTED.findall(part)).items():
        start = int(address, 16)
        if any(begin <= start < end for begin, end in python):
            continue
        if start not in lengths:
            raise CheckFailedError(
                f"the emulator's log has no length for the block at {start:#x}; run the command again"
            )
        total += times * lengths[start]
    return total
