"""`harexport targets check arm64`: do files answer on 64-bit Arm as they do on this machine?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from harexport import runtimes
from harexport.data.dataset import Windows
from harexport.errors import HarExportError, InputError
from harexport.evaluation.comparison import compare_logits
from harexport.formats import structure
from harexport.runtimes import model
from harexport.targets.arm64 import emulator
from harexport.targets.arm64.instructions import instructions as count
from harexport.utils.console import progress

COUNTED = 3  # windows


@dataclass(frozen=True)
class Checked:
    """One file's answers on Arm beside its answers here, by the promise of its scheme; or why there are none."""

    name: str
    scheme: str = ""
    windows: int = 0
    largest: float | None = None
    agreement: float | None = None
    instructions: dict[str, Any] | None = None
    failures: tuple[str, ...] = ()
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.failures and not self.error

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def check_arm64(paths: Sequence[Path], test: Windows, sample: int | None = 64, counted: bool = False) -> list[Checked]:
    """Compare each file on `sample` windows spread over `test` (None: all); a file that fails stops no other.

    Raises InputError where the target is not set up or a path leads to no file.
    """
    target = emulator.load()
    files = gather(paths)
    chosen = spread(len(test), sample)
    results = []
    with progress(f"on 64-bit Arm, {len(chosen)} windows each", len(files), "files") as advance:
        for done, path in enumerate(files, 1):
            try:
                results.append(_checked(path, test.signals[chosen], test.labels[chosen], target, counted))
            except HarExportError as error:
                results.append(Checked(path.name, error=str(error)))
            advance(done)
    return results


def gather(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths` and in folders there; none given: the shipped model. Raises InputError."""
    if not paths:
        return [Path(str(resources.files("harexport.pretrained") / model.SHIPPED))]
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted([*path.iterdir(), *path.glob("*/*")])
            files += [p for p in inside if p.suffix.lower() in runtimes.SUFFIXES and not p.name.startswith(".")]
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"not found: {path}. Give .onnx or .tflite files, or a folder of them")
    if not files:
        raise InputError(f"no .onnx or .tflite file in {', '.join(map(str, paths))}; `harexport export` writes them")
    return files


def spread(total: int, sample: int | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers of `sample` windows spread evenly over `total`; None: of all."""
    amount = total if sample is None else min(sample, total)
    return np.linspace(0, total - 1, amount).round().astype(np.int64)


def text(results: Sequence[Checked]) -> str:
    """A line a file."""
    lines = []
    for result in results:
        if result.error:
            lines.append(f"{result.name}: {result.error}")
            continue
        verdict = "; ".join(result.failures) or "passed"
        counted = f", {result.instructions['median']:,} instructions a window" if result.instructions else ""
        largest = "no number" if result.largest is None else f"{result.largest:.1e}"
        lines.append(
            f"{result.name}: {verdict} ({result.windows} windows, logits within {largest} of this machine's{counted})"
        )
    return "\n".join(lines)


def _checked(path: Path, windows: Any, labels: Any, target: emulator.Target, counted: bool) -> Checked:
    here = runtimes.load(path).logits(windows)
    scheme = structure.of(path.read_bytes(), path.suffix[1:].lower(), str(path)).scheme
    (there,) = emulator.run([path], windows, target)
    parity = compare_logits(here.astype(np.float64), there, labels, scheme)
    executed = count(path, windows[:COUNTED], target).to_dict() if counted else None
    return Checked(
        path.name, scheme, len(windows), parity.max_logit_difference, parity.agreement, executed, parity.failures
    )
