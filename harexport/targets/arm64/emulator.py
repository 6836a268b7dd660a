"""64-bit Arm without a phone: the same files in Arm builds of LiteRT and ONNX Runtime, under qemu-user.

Prepared by `harexport targets setup arm64` (setup.py). What an emulated processor answers is what a real one answers;
how long it takes says nothing (floating point is emulated in software), so instructions.py counts instead.
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
from harexport.runtimes import SUFFIXES, Floats

EMULATOR, FACTS = "qemu-aarch64", "target.json"
# A phone's core: Armv8.2 with half precision and dot products, no SVE. QEMU's own default, "max", is no processor that
# exists: with all its extensions XNNPACK picks other kernels, and executes up to 43 % fewer instructions.
PROCESSOR = "cortex-a76"
SETUP = "`harexport targets setup arm64` prepares it: about 160 MB of downloads, 220 MB on disk, under a minute"
_GUEST = Path(__file__).with_name("guest.py")
_RUNTIMES = {".tflite": "litert", ".onnx": "onnx"}
_NAMES = {"litert": "LiteRT", "onnx": "ONNX Runtime"}


def folder() -> Path:
    """Where the target lies, or would."""
    return cache_folder() / "targets" / "arm64"


def facts() -> dict[str, Any]:
    """What the target is made of: versions, cost. Raises InputError where it is not set up, or damaged."""
    path = folder() / FACTS
    try:
        read = json.loads(path.read_text("utf-8"))
        if read["schema"] == "harexport-target-1" and read["versions"] and read["python"]:
            return dict(read)
    except FileNotFoundError:
        raise InputError(f"the arm64 target is not set up on this machine; {SETUP}") from None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is damaged: run `harexport targets setup arm64 --again`")


def load() -> Target:
    """The target that was set up. Raises InputError."""
    return Target(folder(), str(facts()["python"]))


def run(
    files: Sequence[Path],
    windows: Array,
    target: Target | None = None,
    processor: str = PROCESSOR,
    timeout_s: float | None = None,
) -> list[Floats]:
    """What .tflite and .onnx files answer to windows [n, window, channels] on 64-bit Arm: logits [n, labels] each.

    A process each, so that one that dies takes no other along. Raises InputError for the first that fails.
    """
    target = target or load()
    return [target.answer(path, windows, processor, timeout_s) for path in files]


@dataclass(frozen=True)
class Target:
    """A prepared root: the emulator, the arm64 files under root/, the runtimes under site/."""

    place: Path
    python: str

    def answer(self, path: Path, windows: Array, processor: str = PROCESSOR, timeout_s: float | None = None) -> Floats:
        """The logits [n, labels] of one file. Raises InputError."""
        ready = np.ascontiguousarray(windows, dtype="<f4")
        with tempfile.TemporaryDirectory(prefix="harexport-arm64-") as work:
            answers = Path(work) / "answers"
            told = self.ask(path, ready, Path(work), {"answers": str(answers)}, [], processor, timeout_s)
            found: Floats = np.fromfile(answers, dtype="<f4").reshape(len(ready), told["labels"]).astype(np.float32)
        return found

    def ask(
        self,
        path: Path,
        windows: Floats,
        work: Path,
        more: dict[str, str],
        options: Sequence[str],
        processor: str,
        timeout_s: float | None,
    ) -> dict[str, Any]:
        """Let the guest run one file on `windows`; `more` of a job, and `options` of QEMU. Raises InputError."""
        runtime = _RUNTIMES.get(path.suffix.lower())
        if runtime is None:
            raise InputError(f"{path}: no runtime on the arm64 target reads that; choose one of {', '.join(SUFFIXES)}")
        if windows.ndim != 3 or not len(windows) or not np.isfinite(windows).all():
            raise InputError(f"windows of shape {windows.shape}: give finite ones, [n, window, channels], at least one")
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
            told = self.guest({**job, "output": LOGITS_NAME}, limit, options, processor)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if "error" in told:
            raise InputError(
                f"{path}: {_NAMES[runtime]} on 64-bit Arm cannot load or run it ({told['error']}); export it again"
            )
        return told

    def guest(
        self,
        job: dict[str, Any],
        timeout_s: float,
        options: Sequence[str] = (),
        processor: str = PROCESSOR,
    ) -> dict[str, Any]:
        """Run guest.py on `job` and return what it says. Raises InputError."""
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
                    f"no answer from the emulated machine within {timeout_s:.0f} s; give it longer"
                ) from None
            except OSError as error:
                raise InputError(
                    f"the emulator cannot be started ({error.strerror or error}): run "
                    "`harexport targets setup arm64 --again`"
                ) from error
        if done.returncode != 0:
            raise InputError(_ended(done.returncode, done.stderr))
        try:
            return dict(json.loads(done.stdout.strip().splitlines()[-1]))
        except (ValueError, IndexError, TypeError):
            raise InputError("the emulated machine ended without an answer; run it again") from None

    def _environment(self, home: str) -> dict[str, str]:
        """The guest's, and nothing of this process's: no user's folder, one thread, no telemetry, no chance."""
        return {
            "HOME": home,
            "TMPDIR": home,
            "LC_ALL": "C",  # another locale maps shared memory: and QEMU would not translate anew (guest.py)
            "PYTHONUTF8": "1",
            "LD_LIBRARY_PATH": "/usr/lib/aarch64-linux-gnu",
            "PYTHONPATH": str(self.place / "site"),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",  # on by default since 1.29, from threads that would be counted too
        }


def _ended(code: int, said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("INFO:")]
    last = f": {lines[-1].strip()}" if lines else ""
    number = -code if code < 0 else code - 128
    if number in {known.value for known in signal.Signals}:
        name = signal.Signals(number).name
        return f"the emulated process died ({name}){last}; the file is damaged, or too new for this runtime"
    if os.path.sep in last and "No such file" in last:
        return f"the arm64 target is damaged{last}; run `harexport targets setup arm64 --again`"
    return f"the emulated process failed (exit code {code}){last}"
