"""Saves interrupted runs and resumes them, bit for bit."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta, convert
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.training.history import LogEntry, TrainerState
from harexport.utils import files
from harexport.utils.console import info

if TYPE_CHECKING:
    Report = Callable[[LogEntry, TrainerState, int], None]

_SAVE_INTERVAL_S = 10.0
Seconds = Annotated[float, Meta(ge=0, le=1e9)]


class ResumeError(InputError):
    """There is no interrupted run that this one could resume."""


def check_state_file(path: Path) -> None:
    """Raise ResumeError if there is no state file of an interrupted run."""
    if not path.exists():
        checkpoint = path.with_name(path.name.removesuffix(".resume.pt") + ".safetensors")
        if checkpoint.exists():
            raise ResumeError(f"nothing to resume: {checkpoint} is of a finished run; train again without --resume")
        others = sorted(other.name for other in path.parent.glob("*.resume.pt"))
        hint = f"Interrupted runs in {path.parent}: {', '.join(others)}. " if others else ""
        raise ResumeError(f"nothing to resume: {path} does not exist. {hint}Start without --resume")


@contextlib.contextmanager
def lock_run(path: Path) -> Iterator[None]:
    """Prevent two processes from training the same recipe in the same folder at the same time.

    The operating system releases the lock of a process that dies.

    Args:
        path: Lock file.

    Raises:
        InputError: Another process holds the lock, or the file cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another process is training this recipe in {path.parent}; wait until it ends, or choose another folder "
            "with --out"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows deletes it on release
            path.unlink()
        lock.release()


@dataclass(frozen=True)
class FinishedPass:
    """A finished pass: its log, and the logits [n, labels] of the held-out windows, if there are any."""

    history: list[LogEntry]
    held_out_logits: NDArray[np.float64] | None


class ResumableRun:
    """Progress of a run, and the state file from which it can be resumed.

    Args:
        path: State file.
        fingerprint: Plain JSON values that must be equal for a resumed run to end with the same bytes.
        resume: Load the state file.

    Attributes:
        finished: Finished passes by name.
        seconds: Computing time of each pass.
        elapsed: Wall-clock time of all sessions of the run.

    Raises:
        ResumeError: There is no state file, it is damaged or was changed, or it has another fingerprint.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any], resume: bool) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.finished: dict[str, FinishedPass] = {}
        self.seconds: dict[str, float] = {}
        self._states: dict[str, TrainerState] = {}
        self._elapsed_before = 0.0
        self._started = time.monotonic()
        self._last_save: float | None = None
        self._save_failed = False
        if resume:
            self._load()
        elif path.exists():
            info(f"Starting a new run; it replaces the interrupted run in {path}. --resume would have continued that")

    @property
    def elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def state(self, name: str) -> TrainerState | None:
        """Return the state from which a pass continues, None for its beginning."""
        return self._states.get(name)

    def finish(self, name: str, history: list[LogEntry], held_out_logits: NDArray[np.float64] | None) -> None:
        """Record that a pass is finished."""
        self.finished[name] = FinishedPass(history, held_out_logits)

    def reporter(self, name: str) -> Report:
        """Return a callback for `fit` that logs each entry of a pass and saves the state now and then."""
        start, state, before = time.monotonic(), self.state(name), self.seconds.get(name, 0.0)
        first_step = state.step if state else 0

        def report(entry: LogEntry, state: TrainerState, steps: int) -> None:
            passed = time.monotonic() - start
            self.seconds[name] = before + passed
            self._states[name] = copy.deepcopy(state)  # the trainer changes its state in place
            left = passed / (state.step - first_step) * (steps - state.step)
            info(f"{entry.format()}  {name}, {left:.0f} s left")
            # the first entry is saved at once, so that a full disk is reported early
            if self._last_save is None or time.monotonic() - self._last_save >= _SAVE_INTERVAL_S:
                self._try_save()

        return report

    def _try_save(self) -> None:
        """Save the state. Training continues if that fails, and saving is tried again later."""
        try:
            self.save()
        except InputError as error:
            self._last_save = time.monotonic()
            if not self._save_failed:
                info(f"{error}. Training continues, and saving is tried again every {_SAVE_INTERVAL_S:.0f} s")
            self._save_failed = True

    def save(self) -> bool:
        """Write the last reported states atomically.

        Returns:
            Whether there was anything to save.

        Raises:
            InputError: The file cannot be written. An existing one is unchanged.
        """
        import torch

        if not self._states:
            return False
        content = {
            "fingerprint": self.fingerprint,
            "states": {
                name: dict(vars(state), history=_to_plain(state.history)) for name, state in self._states.items()
            },
            "finished": {
                name: {
                    "history": _to_plain(done.history),
                    "held_out_logits": None if done.held_out_logits is None else torch.from_numpy(done.held_out_logits),
                }
                for name, done in self.finished.items()
            },
            "seconds": self.seconds,
            "elapsed": self.elapsed,
        }
        content["sha256"] = compute_digest(content)
        buffer = io.BytesIO()  # torch.save reports a full disk as an error of its archive
        torch.save(content, buffer)
        files.write_bytes(self.path, buffer.getvalue())
        self._last_save, self._save_failed = time.monotonic(), False
        return True

    def save_and_describe(self, resume_command: str) -> str:
        """Save a last time. Return a sentence with the path of the saved run and the command that resumes it."""
        try:
            if self.save():
                return f"The run is saved in {self.path}. Resume it with: {resume_command}"
        except InputError as error:
            if self._last_save is not None and self.path.exists():
                return f"{error}. An earlier state is saved in {self.path}. Free some space, then: {resume_command}"
            return f"{error}. This run cannot be resumed"
        return "There is nothing to save before the first line of the log"

    def delete(self) -> None:
        """Delete the state file, after all results are written."""
        self.path.unlink(missing_ok=True)

    def _load(self) -> None:
        import torch

        check_state_file(self.path)
        try:
            # weights_only: tensors, numbers and strings, no code
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if saved.pop("sha256", None) != compute_digest(saved):
                raise ValueError("its content was changed or is damaged")
            differences = list(_differences(saved["fingerprint"], self.fingerprint))
            states = {
                str(name): TrainerState(**{**state, "history": convert(state["history"], list[LogEntry])})
                for name, state in saved["states"].items()
            }
            finished = {
                str(name): FinishedPass(convert(done["history"], list[LogEntry]), _to_logits(done["held_out_logits"]))
                for name, done in saved["finished"].items()
            }
            seconds = convert(saved["seconds"], dict[str, Seconds])
            elapsed = convert(saved["elapsed"], Seconds)
            if missing := (states.keys() | finished.keys()) - seconds.keys():
                raise ValueError(f"no time of {', '.join(missing)}")
        except Exception as error:  # torch reports a damaged file in many ways
            reason = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
            raise ResumeError(
                f"{self.path} cannot be resumed ({reason}); start without --resume, which replaces it"
            ) from None
        if differences:
            raise ResumeError(
                f"{self.path} belongs to another run: {'; '.join(differences)}. Resume it with the same settings, or "
                "start without --resume, which replaces it"
            )
        self._states, self.finished, self.seconds, self._elapsed_before = states, finished, seconds, elapsed


def compute_digest(content: Any) -> str:
    """Return the SHA-256 of nested dicts, sequences, tensors and plain values, in hexadecimal."""
    from torch import Tensor

    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().numpy().tobytes())
        elif isinstance(value, dict):
            digest.update(f"dict {len(value)} ".encode())
            for key, item in value.items():
                add(key)
                add(item)
        elif isinstance(value, list | tuple):
            digest.update(f"list {len(value)} ".encode())
            for item in value:
                add(item)
        else:
            text = repr(value)
            digest.update(f"{len(text)} {text}".encode())

    add(content)
    return digest.hexdigest()


def _to_logits(tensor: Any) -> NDArray[np.float64] | None:
    if tensor is None:
        return None
    logits: NDArray[np.float64] = tensor.numpy()
    if logits.dtype != np.float64 or logits.ndim != 2 or not np.isfinite(logits).all():
        raise ValueError("the held-out logits are not finite float64 values [n, labels]")
    return logits


def _to_plain(history: list[LogEntry]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(entry) for entry in history]


def _differences(saved: dict[str, Any], current: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield "seed 1, not 0" for every key whose value differs."""
    for key in dict.fromkeys([*saved, *current]):
        old, new = saved.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} {_shorten(old)}, not {_shorten(new)}"


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."
