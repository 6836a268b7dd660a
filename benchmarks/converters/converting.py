"""Runs a conversion in a subprocess and measures its duration and memory."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.converters import environments
from benchmarks.converters.pipelines import Pipeline
from harexport.errors import InputError
from harexport.utils.files import read_json, write_json

_SECONDS = 300  # timeout of a conversion
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class ProcessResult:
    """Result of a process: wall and processor seconds, peak resident memory of the process, and its error message."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    failure: str | None


def run(command: list[str], seconds: int = _SECONDS) -> ProcessResult:
    """Run a command in an empty folder, with the programs of its environment first in PATH.

    Memory is VmHWM, read while the process runs: the maximum of getrusage includes that of the parent.
    """
    own = str(Path(command[0]).parent)
    surroundings = {
        **os.environ,
        "PATH": os.pathsep.join([own, os.environ.get("PATH", "")]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    peak, stopped, began = 0, False, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=surroundings, start_new_session=True
        )
        while True:
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            elapsed = time.perf_counter() - began
            if done:
                break
            peak = max(peak, _high_water(child.pid))
            if elapsed > seconds and not stopped:
                stopped = True
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(0.004 if elapsed < 2 else 0.05)
        code = child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        output = log.read().decode(errors="replace")
    failure = None
    if stopped:
        failure = f"no end after {seconds} s"
    elif code < 0:
        failure = f"the process died: {signal.strsignal(-code) or -code}"
    elif code > 0:
        failure = _reason(output) or f"exit code {code}"
    return ProcessResult(elapsed, usage.ru_utime + usage.ru_stime, peak / 1024, failure)


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):  # it has just ended
        return 0


def _reason(output: str) -> str:
    """Return the most informative line: the last error, else the last line."""
    lines = [_ESCAPES.sub("", line).strip() for line in output.splitlines()]
    errors = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception|error)\b.*:", line)]
    chosen = (errors or [line for line in lines if line] or [""])[-1]
    return environments.without_paths(chosen)[:300]


def convert(way: Pipeline, checkpoint: Path, folder: Path, environment_folder: Path, reuse: bool) -> dict[str, Any]:
    """Run a conversion and return its record as JSON values; the file is written to `folder`.

    With `reuse`, record and file of an earlier run of the same scripts on the same network are kept.
    """
    out, record = folder / f"{way.key}{way.suffix}", folder / f"{way.key}.json"
    sign = _sign(way, checkpoint)
    kept = read_json(record, "record") if reuse and record.exists() else {}
    if kept.get("sign") == sign and (kept["failure"] or out.exists()):
        return dict(kept)
    out.unlink(missing_ok=True)
    source = None
    if way.source:
        source = next((path for path in folder.glob(f"{way.source}.*") if path.suffix != ".json"), None)
    if way.source and source is None:
        made = {"failure": f"{way.source} gave no file to convert"}
    else:
        try:
            made = _ours(way, checkpoint, out) if way.ours else _theirs(way, folder, out, source, environment_folder)
        except InputError as error:
            made = {"failure": str(error)}
    made["sign"] = sign
    write_json(record, made)
    return made


def _theirs(way: Pipeline, folder: Path, out: Path, source: Path | None, environment_folder: Path) -> dict[str, Any]:
    interpreter = environments.python(way.environment, environment_folder)
    script, *arguments = way.command
    with tempfile.TemporaryDirectory() as place:
        copy = None
        if source:  # onnx2tf modifies its input file
            copy = Path(shutil.copy(source, Path(place) / source.name))
            arguments.append(str(copy))
        ran = run(
            [str(interpreter), str(environments.FOLDER / script), *arguments, str(folder / "given.npz"), str(out)]
        )
        made: dict[str, Any] = vars(ran).copy()
        if source and copy:
            made["rewrote_its_input"] = copy.read_bytes() != source.read_bytes()
    if not ran.failure and not out.exists():
        made["failure"] = "it exited with code 0 and wrote no file"
    return made


def _ours(way: Pipeline, checkpoint: Path, out: Path) -> dict[str, Any]:
    """Run `harexport export` with its checks, and a process that only converts, for comparison."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-P", "-m", "harexport", "export", str(checkpoint), "--out", place, *way.command]
        ran = run(command)
        made: dict[str, Any] = vars(ran).copy()
        if ran.failure:
            return made
        (written,) = Path(place).glob(f"*{way.suffix}")
        shutil.copy(written, out)
        script = environments.FOLDER / "convert_harexport.py"
        fmt, lowering = way.suffix[1:], next((word for word in way.command if word in ("fused", "unrolled")), "auto")
    made["with_checks"] = {key: made[key] for key in ("seconds", "cpu_seconds", "megabytes")}
    if way.scheme == "int8":  # only the whole command calibrates
        return made
    alone = [run([sys.executable, str(script), str(checkpoint), fmt, lowering, way.scheme]) for _ in range(3)]
    middle = sorted(alone, key=lambda one: one.seconds)[1]
    if middle.failure:
        return {**made, "failure": f"the conversion without checks failed: {middle.failure}"}
    return {**made, **vars(middle), "alone": True}


def _sign(way: Pipeline, checkpoint: Path) -> str:
    """Return a hash of the conversion, its script and environment, the checkpoint and, for harexport, its code."""
    sha = hashlib.sha256(
        repr(way).encode() + checkpoint.read_bytes() + environments.requirements(way.environment).encode()
    )
    if way.ours:
        scripts = [environments.FOLDER / "convert_harexport.py"]
        scripts += sorted((environments.FOLDER.parents[1] / "harexport").rglob("*.py"))
    else:
        scripts = [environments.FOLDER / name for name in ("inputs.py", way.command[0])]
    for script in scripts:
        sha.update(script.read_bytes())
    sha.update(repr(environments.versions(way.environment)).encode())
    return sha.hexdigest()
