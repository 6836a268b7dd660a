"""Pinning, noise warnings, and a description of the machine without private data."""

from __future__ import annotations

import getpass
import json
import os
import platform
from pathlib import Path

import numpy as np
import pytest

from harexport import runtimes
from harexport.bench import timing
from harexport.evaluation import environment
from harexport.runtimes.runner import RUNTIMES

_QUIET = np.full(40, 10.0) + np.linspace(0, 0.1, 40) % 0.03


def test_a_pinned_thread_is_on_one_core_and_free_afterwards() -> None:
    before = os.sched_getaffinity(0)
    with environment.pin_to_idle_cores() as cores:
        assert len(cores) == 1
        assert os.sched_getaffinity(0) == set(cores) <= before
    assert os.sched_getaffinity(0) == before
    with environment.pin_to_idle_cores(64) as cores:
        assert set(cores) == before


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    with environment.pin_to_idle_cores() as cores:
        assert cores == ()
    assert "not pinned to a core" in " ".join(environment.NoiseMonitor(()).conditions([_QUIET]).noise)


def test_a_quiet_machine_has_no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_load_per_core", lambda: 0.1)
    monkeypatch.setattr(environment, "_governor", lambda core: None)
    conditions = environment.NoiseMonitor((0,)).conditions([_QUIET, 3 * _QUIET])
    assert conditions.noise == ()
    assert conditions.spread is not None
    assert conditions.spread < 0.01


@pytest.mark.parametrize(
    ("rounds", "load", "governor", "words"),
    [
        (np.where(np.arange(40) % 2, 10.0, 12.0), 0.1, None, "spread by 18% between rounds"),
        (np.linspace(10, 12, 40), 0.1, None, "were 10% slower in the second half"),
        (np.linspace(12, 10, 40), 0.1, None, "% faster in the second half"),
        (_QUIET, 3.0, None, "was 3.0 per core"),
        (_QUIET, 0.1, "powersave", "governor of the core is powersave"),
    ],
)
def test_noise_is_reported(
    rounds: np.ndarray, load: float, governor: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_load_per_core", lambda: load)
    monkeypatch.setattr(environment, "_governor", lambda core: governor)
    assert words in " | ".join(environment.NoiseMonitor((0,)).conditions([rounds]).noise)


def test_the_description_has_no_host_name_and_no_path() -> None:
    text = json.dumps(environment.describe())
    for private in (platform.node(), str(Path.home()), str(Path.cwd()), getpass.getuser() + "@"):
        assert private not in text


@pytest.mark.parametrize("runtime", timing.OVERHEAD_MODELS)
def test_the_overhead_model_returns_values_of_its_window(runtime: str) -> None:
    fmt = next(fmt for fmt, name in RUNTIMES.items() if name == runtime)
    runner = runtimes.load_bytes(timing.OVERHEAD_MODELS[runtime](128, 9), f".{fmt}", "overhead", output=0)
    window = np.arange(128 * 9, dtype=np.float32).reshape(1, 128, 9)
    assert runner.runtime == runtime
    assert runner.run_batch(window).ravel().tolist() == [0, 1, 2, 3, 4, 5]
