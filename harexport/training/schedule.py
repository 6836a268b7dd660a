"""Order of the batches, learning rate, and seeds of the random number generators."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harexport.model.recipe import Recipe


@dataclass(frozen=True)
class BatchSchedule:
    """Batches of a run, one per step.

    Attributes:
        n: Number of training windows.
        batch: Batch size.
        shuffled: Shuffle every epoch; else in file order, wrapping around.
        epochs: Epochs of stage 2, which trains all heads.
        report_windows: Windows between two log entries; 0: one epoch.
        coarse_epochs: Epochs of stage 1, which trains the coarse head only.
    """

    n: int
    batch: int
    shuffled: bool
    epochs: int
    report_windows: int
    coarse_epochs: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        return -(-self.n // self.batch)

    @property
    def coarse_steps(self) -> int:
        """Steps of stage 1."""
        return self._steps(self.coarse_epochs) if self.coarse_epochs else 0

    @property
    def steps(self) -> int:
        """Steps of both stages."""
        return self.coarse_steps + self._steps(self.epochs)

    def _steps(self, epochs: int) -> int:
        """Return the steps of a stage: in file order epochs * n / batch, as published (300 * 7352 / 1500 = 1470)."""
        return epochs * self.steps_per_epoch if self.shuffled else max(1, epochs * self.n // self.batch)

    def next_report(self, step: int) -> int:
        """Return the step after which the next log entry is due. There is always one at the end of a stage."""
        return min(step + self.report_steps, self.coarse_steps if step < self.coarse_steps else self.steps)

    @property
    def report_steps(self) -> int:
        """Steps between two log entries."""
        return max(1, self.report_windows // self.batch) if self.report_windows else self.steps_per_epoch

    def batch_indices(self, step: int, seed: int) -> Tensor:
        """Return the indices of the windows of a step, counted from 0."""
        if not self.shuffled:
            return torch.arange(step * self.batch, (step + 1) * self.batch, device="cpu") % self.n
        epoch, place = divmod(step, self.steps_per_epoch)
        return _permutation(self.n, seed, epoch)[place * self.batch : (place + 1) * self.batch]

    def windows_seen(self, step: int) -> int:
        """Return the number of windows in the first `step` batches."""
        if not self.shuffled:
            return step * self.batch
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.n + rest * self.batch


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step: constant, or one cycle (Smith & Topin 2018).

    The cycle rises from 1/25 of the peak for 30 % of the steps and falls to 0, both as half a cosine.
    """
    peak = recipe.optimizer.learning_rate
    if recipe.schedule.rate == "constant":
        return peak
    up = 0.3 * steps
    if step < up:
        return peak * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / up)) / 2)
    return peak * (1 + math.cos(math.pi * (step - up) / max(1.0, steps - up))) / 2


@functools.lru_cache(maxsize=1)  # consecutive steps use the same epoch
def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=generator(seed, 1, epoch), device="cpu")


def generator(seed: int, purpose: int, position: int) -> torch.Generator:
    """Return a new CPU generator for one purpose at one position of a run."""
    mixed = np.random.SeedSequence([seed, purpose, position]).generate_state(2, np.uint32)
    return torch.Generator("cpu").manual_seed(int(mixed[0]) << 31 ^ int(mixed[1]))
