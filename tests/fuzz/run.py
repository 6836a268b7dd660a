"""The long fuzzing run: python -m tests.fuzz.run [--seconds N] [--inputs N] [--again TARGET ...]

Mutates valid inputs of every target of `targets.py` and writes tests/fuzz/record.json: inputs by target, exceptions
that are not ours, hangs, deaths of the process, peak memory. Each part of a target runs in a child process, so that a
death is recorded. A second run continues: part K of a target always has the same inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from harexport.errors import HarExportError
from harexport.utils.files import write_json
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, clean_up

RECORD = Path(__file__).with_name("record.json")
_PART = 1000  # inputs of a child process, times the share of the target
_LARGEST_PART = 5000
_HANG_SECONDS = 10  # of processor time
_MEMORY = 6 << 30  # bytes of address space
_MOST_FINDINGS = 20  # recorded for a target


class _HangError(BaseException):
    pass


def _on_hang(number: int, frame: FrameType | None) -> None:
    raise _HangError


@cache
def _prepare(name: str) -> tuple[bytes, ...]:
    """Build the valid inputs of a target and read one, so that the child processes share what this imports."""
    seeds = TARGETS[name].seeds()
    with contextlib.suppress(HarExportError):
        TARGETS[name].run(seeds[0])
    return seeds


def run_part(name: str, part: int, count: int, current: Path) -> dict[str, Any]:
    """Run the inputs of a part in this process."""
    target, seeds = TARGETS[name], _prepare(name)
    rng = random.Random(f"{name} {part}")
    result: dict[str, Any] = {"accepted": 0, "refused": 0, "hangs": 0, "findings": [], "slowest_s": 0.0}
    signal.signal(signal.SIGPROF, _on_hang)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for _ in range(count):
        data = mutate(seeds, rng)
        current.write_bytes(data)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _HANG_SECONDS)
        try:
            target.run(data)
            result["accepted"] += 1
        except HarExportError:
            result["refused"] += 1
        except _HangError:
            result["hangs"] += 1
            result["findings"].append(f"hang: {_save(name, data)}")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.name}"
            result["findings"].append(f"{type(error).__name__} in {place}: {_save(name, data)}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        result["slowest_s"] = max(result["slowest_s"], time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result["peak_memory_mb"] = round(peak / 1e6)
    return result


def _save(name: str, data: bytes) -> str:
    """Write an input that has to be fixed to the temporary folder; return its name."""
    folder = Path(tempfile.gettempdir()) / "harexport-fuzz"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{abs(hash(data)):x}"
    path.write_bytes(data)
    return path.name


def _run_child(name: str, part: int, count: int) -> dict[str, Any]:
    """Run a part in a forked process, so that its death is a finding."""
    _prepare(name)
    with tempfile.TemporaryDirectory() as folder:
        current, output = Path(folder) / "input", Path(folder) / "result.json"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                output.write_text(json.dumps(run_part(name, part, count, current)))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            return dict(json.loads(output.read_text()))
        saved = _save(name, current.read_bytes() if current.exists() else b"")
        return {"deaths": 1, "findings": [f"death (status {os.waitstatus_to_exitcode(status)}): {saved}"]}


def _add(total: dict[str, Any], part: dict[str, Any], count: int) -> None:
    total["parts"] += 1
    total["inputs"] += count
    for key in ("accepted", "refused", "hangs", "deaths"):
        total[key] += part.get(key, 0)
    for key in ("slowest_s", "peak_memory_mb"):
        total[key] = max(total[key], round(part.get(key, 0), 2))
    total["exceptions"] += sum(1 for finding in part["findings"] if not finding.startswith(("hang", "death")))
    total["findings"] = [*total["findings"], *part["findings"]][:_MOST_FINDINGS]


def _empty() -> dict[str, Any]:
    counts = dict.fromkeys(("parts", "inputs", "accepted", "refused", "exceptions", "hangs", "deaths"), 0)
    return {**counts, "slowest_s": 0.0, "peak_memory_mb": 0, "findings": []}


def _write(by_target: dict[str, dict[str, Any]]) -> None:
    keys = ("inputs", "exceptions", "hangs", "deaths")
    write_json(
        RECORD,
        {
            "command": "make fuzz",
            "python": platform.python_version(),
            "hang_seconds": _HANG_SECONDS,
            "total": {key: sum(target[key] for target in by_target.values()) for key in keys},
            "targets": by_target,
        },
    )


def main(seconds: float, inputs: int, again: list[str]) -> int:
    """Run part after part of all targets until a limit is reached; return the exit code."""
    stored = json.loads(RECORD.read_text("utf-8"))["targets"] if RECORD.exists() else {}
    by_target = {name: _empty() if name in again else stored.get(name, _empty()) for name in TARGETS}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and sum(target["inputs"] for target in by_target.values()) < inputs:
        name = min(TARGETS, key=lambda target: by_target[target]["inputs"] / TARGETS[target].share)
        count = min(_LARGEST_PART, round(_PART * TARGETS[name].share))
        part = _run_child(name, by_target[name]["parts"], count)
        _add(by_target[name], part, count)
        _write(by_target)
        for finding in part["findings"][:3]:
            print(f"{name}: {finding}", flush=True)
    total = sum(target["inputs"] for target in by_target.values())
    findings = sum(len(target["findings"]) for target in by_target.values())
    clean_up()
    print(f"{total} inputs, {findings} findings: {RECORD.name}")
    return int(findings > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fuzz all parsers and readers; see the head of this file.")
    parser.add_argument("--seconds", type=float, default=7200, help="time limit (default: 2 hours)")
    parser.add_argument("--inputs", type=int, default=300_000, help="inputs of all runs together (default: 300,000)")
    parser.add_argument("--again", nargs="*", default=[], help="targets that start again, for instance after a fix")
    options = parser.parse_args()
    sys.exit(main(options.seconds, options.inputs, options.again))
