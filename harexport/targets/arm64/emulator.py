"""Runs files in the arm64 builds of LiteRT and ONNX Runtime, under qemu-user.

setup.py installs the target (`harexport targets setup arm64`). Predictions are those of a real processor. Times have no
meaning, because floating point is emulated in software; instructions.py counts instructions instead.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harexport.data.uci_har.download import cache_folder
from harexport.errors import InputError
from harexport.model.contract import LOGITS_NAME
from harexport.model.layers import Array
from harexport.runtimes.runner import SUFFIXES, Floats
from harexport.utils import files

EMULATOR, FACTS = "qemu-aarch64", "target.json"
# A typical phone core: Armv8.2 with half precision and dot products, without SVE. QEMU's default, "max", has extensions
# of no real processor; XNNPACK then selects other kernels and executes up to 43 % fewer instructions.
PROCESSOR = "cortex-a76"
SETUP = "`harexport targets setup arm64` downloads and installs it"
_GUEST = Path(__file__).with_name("guest.py")
_RUNTIMES = {".tflite": "litert", ".onnx": "onnx"}
_NAMES = {"litert": "LiteRT", "onnx": "ONNX Runtime"}


def folder() -> Path:
    """Return the folder of the target, which may not exist."""
    return cache_folder() / "targets" / "arm64"


def facts() -> dict[str, Any]:
    """Return the versions and the size of the target. Raises InputError if it is not set up, or damaged."""
    path = folder() / FACTS
    try:
        content = files.read_json(path, "the target's description")
        if content["schema"] == "harexport-target-1" and content["versions"] and content["python"]:
            return dict(content)
    except (InputError, KeyError, TypeError):
        if not path.exists():
            raise InputError(f"the arm64 target is not set up on this machine; {SETUP}") from None
    raise InputError(f"{path} is damaged: run `harexport targets setup arm64 --again`")


def load() -> Target:
    """Load the installed target. Raises InputError."""
    return Target(folder(), str(facts()["python"]))


@dataclass(frozen=True)
class Target:
    """An installed target: the emulator, arm64 files in root/, runtimes in site/.

    Attributes:
        place: Its folder.
        python: Name of the interpreter.
    """

    place: Path
    python: str

    def run(self, path: Path, windows: Array, processor: str = PROCESSOR, timeout_s: float | None = None) -> Floats:
        """Return the logits [n, labels] of one file. Raises InputError."""
        ready = np.ascontiguousarray(windows, dtype="<f4")
        with tempfile.TemporaryDirectory(prefix="harexport-arm64-") as work:
            output = Path(work) / "logits"
            response = self.run_job(path, ready, Path(work), {"logits": str(output)}, [], processor, timeout_s)
            raw = np.fromfile(output, dtype="<f4").reshape(len(ready), response["labels"])
        logits: Floats = raw.astype(np.float32)
        return logits

    def run_job(
        self,
        path: Path,
        windows: Floats,
        work: Path,
        more: dict[str, str],
        options: Sequence[str],
        processor: str,
        timeout_s: float | None,
    ) -> dict[str, Any]:
        """Run one file in the guest.

        Args:
            path: The file.
            windows: [n, window, channels].
            work: Folder for temporary files.
            more: Additional entries of the job.
            options: Options of QEMU.
            processor: QEMU's name of the processor.
            timeout_s: None for a default by the number of windows.

        Returns:
            Response of the guest.

        Raises:
            InputError: The file or the emulator failed.
        """
        runtime = _RUNTIMES.get(path.suffix.lower())
        if runtime is None:
            raise InputError(
                f"{path}: the arm64 target has no runtime for this format; choose one of {', '.join(SUFFIXES)}"
            )
        if windows.ndim != 3 or not len(windows) or not np.isfinite(windows).all():
            raise InputError(
                f"windows of shape {windows.shape}: give at least one finite window, as [n, window, channels]"
            )
        model, raw = work / f"model{path.suffix.lower()}", work / "windows"
        try:
            model.write_bytes(path.read_bytes())
        except FileNotFoundError:
            raise InputError(f"model not found: {path}") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        windows.tofile(raw)
        job = {"runtime": runtime, "model": str(model), "windows": str(raw), "shape": windows.shape, **more}
        limit = timeout_s or 300 + len(windows)
        try:
            response = self.guest({**job, "output": LOGITS_NAME}, limit, options, processor)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if "error" in response:
            raise InputError(
                f"{path}: {_NAMES[runtime]} on 64-bit Arm cannot load or run it ({response['error']}); export it again"
            )
        return response

    def guest(
        self,
        job: dict[str, Any],
        timeout_s: float,
        options: Sequence[str] = (),
        processor: str = PROCESSOR,
    ) -> dict[str, Any]:
        """Run guest.py on a job and return its response. Raises InputError."""
        root = self.place / "root"
        with tempfile.TemporaryDirectory(prefix="harexport-arm64-job-") as home:
            written = Path(home) / "job.json"
            written.write_text(json.dumps(job), "utf-8")
            command = [str(self.place / EMULATOR), "-cpu", processor, "-L", str(root), *options]
            command += [str(root / "usr/bin" / self.python), "-S", "-s", str(_GUEST), str(written)]
            try:
                done = subprocess.run(
                    command,
                    env=self._environment(home),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise InputError(
                    f"no response from the emulated machine within {timeout_s:.0f} s; increase the timeout"
                ) from None
            except OSError as error:
                raise InputError(
                    f"the emulator cannot be started ({error.strerror or error}): run "
                    "`harexport targets setup arm64 --again`"
                ) from error
        if done.returncode != 0:
            raise InputError(_describe_exit(done.returncode, done.stderr))
        try:
            return dict(json.loads(done.stdout.strip().splitlines()[-1]))
        except (ValueError, IndexError, TypeError):
            raise InputError("the emulated machine ended without a response; run the command again") from None

    def _environment(self, home: str) -> dict[str, str]:
        """Return the environment of the guest, independent of this process: one thread, no telemetry, no randomness."""
        return {
            "HOME": home,
            "TMPDIR": home,
            "LC_ALL": "C",  # another locale maps shared memory, and QEMU would not translate again (guest.py)
            "PYTHONUTF8": "1",
            "LD_LIBRARY_PATH": "/usr/lib/aarch64-linux-gnu",
            "PYTHONPATH": str(self.place / "site"),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",  # on by default since 1.29, from threads that would be counted too
        }


def _describe_exit(code: int, stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("INFO:")]
    last = f": {lines[-1].strip()}" if lines else ""
    number = -code if code < 0 else code - 128
    if number in {known.value for known in signal.Signals}:
        name = signal.Signals(number).name
        return f"the emulated process died ({name}){last}; the file is damaged, or too new for this runtime"
    if os.path.sep in last and "No such file" in last:
        return f"the arm64 target is damaged{last}; run `harexport targets setup arm64 --again`"
    return f"the emulated process failed (exit code {code}){last}"
