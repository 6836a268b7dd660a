"""CPU and software versions of a measurement, pinning to cores, and noise."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert", "torch")
_IDLE_SAMPLE_S = 0.2  # to find the idlest cores
# Limits of a quiet machine; its times spread by 1 to 3 % between rounds.
_MAX_SPREAD, _MAX_DRIFT, _MAX_LOAD = 0.10, 0.05, 0.7


def describe() -> dict[str, Any]:
    """Return the processor, the system and the versions of the packages; no host name and no path."""
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
    try:  # platform.processor() has no name on Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


@contextlib.contextmanager
def pin_to_idle_cores(threads: int = 1) -> Iterator[tuple[int, ...]]:
    """Pin this thread, and the threads it starts, to the currently idlest cores.

    Yields:
        The numbers of the cores; an empty tuple where the system does not support pinning (macOS, Windows, some
        containers).
    """
    try:
        allowed = os.sched_getaffinity(0)
        cores = tuple(sorted(_sort_by_idle_time(sorted(allowed))[: max(1, threads)]))
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError):
        yield ()
        return
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, allowed)


def _sort_by_idle_time(cores: list[int]) -> list[int]:
    """Sort cores by their idle time in a short sample, then by number, the last first: systems prefer the first."""
    before = _idle_ticks()
    time.sleep(_IDLE_SAMPLE_S)
    after = _idle_ticks()
    return sorted(cores, key=lambda core: (before.get(core, 0) - after.get(core, 0), -core))


def _idle_ticks() -> dict[int, int]:
    """Return the idle ticks of each core since boot; empty without /proc."""
    ticks_of = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu":
                ticks_of[int(name[3:])] = int(ticks[3])
    return ticks_of


@dataclass(frozen=True)
class Conditions:
    """State of the machine during a measurement. Unknown values are None.

    Attributes:
        cores: Cores to which the thread was pinned; empty if it was not.
        governor: Frequency governor of the first core.
        load: 1-minute load average per core before the measurement.
        spread: (90 % quantile - 10 % quantile) / median of the round medians; median over all models.
        drift: Median time in the second half of the run relative to the first, minus 1; median over all models.
        preempted: Involuntary context switches per second.
        noise: A warning for each limit of a quiet machine that is exceeded.
    """

    cores: tuple[int, ...]
    governor: str | None
    load: float | None
    spread: float | None
    drift: float | None
    preempted: float | None
    noise: tuple[str, ...]


class NoiseMonitor:
    """Records the state of the machine from its construction to `conditions`.

    Args:
        cores: Cores to which the thread is pinned.
        more_switches: Returns the involuntary context switches of another process that runs models.
    """

    def __init__(self, cores: tuple[int, ...], more_switches: Callable[[], int | None] = lambda: 0) -> None:
        self._cores = cores
        self._more_switches = more_switches
        self._load = _load_per_core()
        self._start = time.perf_counter()
        self._switches = self._count_switches()

    def conditions(self, round_medians: Collection[NDArray[np.float64]]) -> Conditions:
        """Return the conditions of the measurement.

        Args:
            round_medians: Medians of each model's rounds, in the order of the rounds.
        """
        seconds = max(1e-9, time.perf_counter() - self._start)
        switches = self._count_switches()
        preempted = None
        if switches is not None and self._switches is not None:
            preempted = (switches - self._switches) / seconds
        spread = float(np.median([_spread(medians) for medians in round_medians])) if round_medians else None
        drift = float(np.median([_drift(medians) for medians in round_medians])) if round_medians else None
        governor = _governor(self._cores[0]) if self._cores else None
        noise = tuple(_warnings(self._cores, governor, self._load, spread, drift))
        return Conditions(self._cores, governor, self._load, spread, drift, preempted, noise)

    def _count_switches(self) -> int | None:
        own, others = _context_switches(), self._more_switches()
        return None if own is None or others is None else own + others


def _warnings(
    cores: tuple[int, ...], governor: str | None, load: float | None, spread: float | None, drift: float | None
) -> Iterator[str]:
    if load is not None and load > _MAX_LOAD:
        yield f"the load before the measurement was {load:.1f} per core; stop other processes"
    if spread is not None and spread > _MAX_SPREAD:
        yield f"times spread by {spread:.0%} between rounds (on a quiet machine by 1 to 3 %)"
    if drift is not None and abs(drift) > _MAX_DRIFT:
        yield f"all models were {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} in the second half of the run"
    if not cores:
        yield "the thread was not pinned to a core"
    if governor not in (None, "performance"):
        yield f"the frequency governor of the core is {governor}: its clock follows the load"


def _spread(rounds: NDArray[np.float64]) -> float:
    low, median, high = np.quantile(rounds, [0.1, 0.5, 0.9])
    return float((high - low) / median)


def _drift(rounds: NDArray[np.float64]) -> float:
    if len(rounds) < 2:
        return 0.0
    first, second = np.array_split(rounds, 2)
    return float(np.median(second) / np.median(first) - 1)


def _governor(core: int) -> str | None:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None  # a virtual machine, or another system


def _load_per_core() -> float | None:
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def _context_switches() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
