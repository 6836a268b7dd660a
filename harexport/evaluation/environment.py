"""The machine that figures were taken on: what it is, which core was used, and whether it was quiet enough."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert", "torch")
_LOOK_SECONDS = 0.2  # at the cores, to choose the idlest ones
# From here on a machine is called noisy. Times of a quiet one spread by 1 to 3 % between rounds.
_SPREAD, _DRIFT, _LOAD = 0.10, 0.05, 0.7


def describe() -> dict[str, Any]:
    """The processor, the system and the versions that the figures were taken with; no host name, no path."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = installed.version(package)
        except installed.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": 1,
        "versions": versions,
    }


def _processor() -> str:
    try:  # Linux tells its name nowhere else; other systems answer platform.processor()
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


@contextlib.contextmanager
def pin_to_idle_cores(threads: int = 1) -> Iterator[tuple[int, ...]]:
    """Keep this thread, and what it starts, on the `threads` cores that are idlest now; yields their numbers.

    Yields nothing, and pins nothing, where the system does not allow it (macOS, Windows, some containers).
    """
    try:
        allowed = os.sched_getaffinity(0)
        cores = tuple(sorted(_idlest(sorted(allowed))[: max(1, threads)]))
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError):
        yield ()
        return
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, allowed)


def _idlest(cores: list[int]) -> list[int]:
    """The cores, the one that idled most in the last moment first; ties by number, the last first, because a
    system's own work prefers the first."""
    before = _idle()
    time.sleep(_LOOK_SECONDS)
    after = _idle()
    return sorted(cores, key=lambda core: (before.get(core, 0) - after.get(core, 0), -core))


def _idle() -> dict[int, int]:
    """Ticks that each core has idled since the start; nothing where /proc is not there."""
    found = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu":
                found[int(name[3:])] = int(ticks[3])
    return found


@dataclass(frozen=True)
class Conditions:
    """How the machine was while it measured.

    cores: those that the measuring thread was kept on, empty where it could not be. governor: the frequency governor of
    the first of them. load: processes that were running or waiting, a core, before the measuring began (1 minute's
    mean). spread: of a model's round medians, (90 % quantile - 10 % quantile) / median; drift: its median in the second
    half of the run in that of the first, minus 1; of both, the median over all models, the floors among them.
    preempted: how often a second the system took the core away. noise: what is wrong with that, in sentences; empty on
    a quiet machine. Unknown figures are None.
    """

    cores: tuple[int, ...]
    governor: str | None
    load: float | None
    spread: float | None
    drift: float | None
    preempted: float | None
    noise: tuple[str, ...]


class NoiseMonitor:
    """Looks at the machine before a run, and judges it afterwards."""

    def __init__(self, cores: tuple[int, ...]) -> None:
        self._cores = cores
        self._load = _load()
        self._began = time.perf_counter()
        self._switches = _preemptions()

    def judge(self, rounds: Collection[NDArray[np.float64]]) -> Conditions:
        """`rounds`: the round medians of each model, in the order they were run."""
        seconds = max(1e-9, time.perf_counter() - self._began)
        switches = _preemptions()
        preempted = None
        if switches is not None and self._switches is not None:
            preempted = (switches - self._switches) / seconds
        spread = float(np.median([_spread(medians) for medians in rounds])) if rounds else None
        drift = float(np.median([_drift(medians) for medians in rounds])) if rounds else None
        governor = _governor(self._cores[0]) if self._cores else None
        noise = tuple(_complaints(self._cores, governor, self._load, spread, drift))
        return Conditions(self._cores, governor, self._load, spread, drift, preempted, noise)


def _complaints(
    cores: tuple[int, ...], governor: str | None, load: float | None, spread: float | None, drift: float | None
) -> Iterator[str]:
    if load is not None and load > _LOAD:
        yield f"{load:.1f} processes a core were running or waiting before it began: close what you can"
    if spread is not None and spread > _SPREAD:
        yield f"times spread by {spread:.0%} between rounds (on a quiet machine by 1 to 3 %)"
    if drift is not None and abs(drift) > _DRIFT:
        yield f"all models were {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} in the second half of the run"
    if not cores:
        yield "the thread could not be kept on one core"
    if governor not in (None, "performance"):
        yield f"the core's frequency governor is {governor}: its clock follows the load"


def _spread(rounds: NDArray[np.float64]) -> float:
    low, middle, high = np.quantile(rounds, [0.1, 0.5, 0.9])
    return float((high - low) / middle)


def _drift(rounds: NDArray[np.float64]) -> float:
    if len(rounds) < 2:
        return 0.0
    first, second = np.array_split(rounds, 2)
    return float(np.median(second) / np.median(first) - 1)


def _governor(core: int) -> str | None:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None  # a virtual machine, or not Linux


def _load() -> float | None:
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def _preemptions() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
