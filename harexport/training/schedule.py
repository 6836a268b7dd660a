"""The order of a run: which windows at which step, at what rate, and where its random numbers come from."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harexport.model.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """The steps of a run, one a batch, derived from the recipe and the number of training windows n.

    Stage 1 are the `coarse_steps` that train the coarse head only, stage 2 the rest.
    """

    n: int
    batch: int
    shuffled: bool
    epochs: int
    report_windows: int
    coarse_epochs: int = 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n // self.batch)

    @property
    def coarse_steps(self) -> int:
        return self._steps(self.coarse_epochs) if self.coarse_epochs else 0

    @property
    def steps(self) -> int:
        return self.coarse_steps + self._steps(self.epochs)

    def _steps(self, epochs: int) -> int:
        """In file order batches wrap round, epochs x n windows in all (SEEDS: 300 x 7352 / 1500 = 1470 steps)."""
        return epochs * self.steps_per_epoch if self.shuffled else max(1, epochs * self.n // self.batch)

    def next_report(self, step: int) -> int:
        """The step after which the log gets its next line: the end of a stage always does."""
        return min(step + self.report_steps, self.coarse_steps if step < self.coarse_steps else self.steps)

    @property
    def report_steps(self) -> int:
        return max(1, self.report_windows // self.batch) if self.report_windows else self.steps_per_epoch

    def index(self, step: int, seed: int) -> Tensor:
        """The windows of a step (from 0)."""
        if not self.shuffled:
            return torch.arange(step * self.batch, (step + 1) * self.batch, device="cpu") % self.n
        epoch, place = divmod(step, self.steps_per_epoch)
        return _order(self.n, seed, epoch)[place * self.batch : (place + 1) * self.batch]

    def windows_seen(self, step: int) -> int:
        if not self.shuffled:
            return step * self.batch
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.n + rest * self.batch


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Constant, or one cycle (Smith & Topin 2018): 30 % of the steps up from 1/25, then a cosine down to 0."""
    peak = recipe.optimizer.learning_rate
    if recipe.schedule.rate == "constant":
        return peak
    up = 0.3 * steps
    if step < up:
        return peak * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / up)) / 2)
    return peak * (1 + math.cos(math.pi * (step - up) / max(1.0, steps - up))) / 2


@functools.lru_cache(maxsize=1)  # the steps of an epoch ask one after the other
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=generator(seed, 1, epoch), device="cpu")


def generator(seed: int, purpose: int, position: int) -> torch.Generator:
    """A fresh CPU generator for one purpose at one position of one run."""
    mixed = np.random.SeedSequence([seed, purpose, position]).generate_state(2, np.uint32)
    return torch.Generator("cpu").manual_seed(int(mixed[0]) << 31 ^ int(mixed[1]))
