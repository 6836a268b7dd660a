"""The training loop: windows and a recipe in, a network and its history out.

All randomness is drawn from (seed, position), never carried along, so a run is repeatable bit for bit on
one machine and a resumed run ends exactly where the uninterrupted one would have.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harexport.data.windows import Windows
from harexport.errors import CheckFailedError, InputError
from harexport.network import Network
from harexport.training.augment import Augmenter
from harexport.training.models import HarNet
from harexport.training.recipe import Recipe

# LSTM steps that go through the network together. A batch is cut into pieces of about this many whose gradients
# add up to the batch's: 1500 windows of 128 steps outgrow the cache, in pieces of 64 windows they take half the time.
_PIECE_STEPS = 8192


@dataclass(frozen=True)
class Row:
    """One line of the log: batch loss and accuracy since the last line, then the held-out subjects'."""

    windows: int
    epoch: float
    loss: float
    accuracy: float
    held_out_loss: float | None
    held_out_accuracy: float | None
    learning_rate: float


@dataclass
class State:
    """Where a run stands after `step` updates; torch can save it and `fit` can go on from it."""

    step: int
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    average: list[Tensor]
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """The steps of a run, derived from the recipe and the number of training windows n."""

    n: int
    batch: int
    shuffled: bool
    epochs: int
    report_windows: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n // self.batch)

    @property
    def steps(self) -> int:
        """In file order batches wrap round, epochs x n windows in all (SEEDS: 300 x 7352 / 1500 = 1470 steps)."""
        return self.epochs * self.steps_per_epoch if self.shuffled else max(1, self.epochs * self.n // self.batch)

    @property
    def report_steps(self) -> int:
        return max(1, self.report_windows // self.batch) if self.report_windows else self.steps_per_epoch

    def index(self, step: int, seed: int) -> Tensor:
        """The windows of a step (from 0)."""
        if not self.shuffled:
            return torch.arange(step * self.batch, (step + 1) * self.batch) % self.n
        epoch, place = divmod(step, self.steps_per_epoch)
        return _order(self.n, seed, epoch)[place * self.batch : (place + 1) * self.batch]

    def windows_seen(self, step: int) -> int:
        if not self.shuffled:
            return step * self.batch
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.n + rest * self.batch


def fit(
    train: Windows,
    held_out: Windows | None,
    recipe: Recipe,
    labels: int,
    seed: int = 0,
    resume: State | None = None,
    on_report: Callable[[Row, State, int], None] = lambda row, state, steps: None,
) -> tuple[Network, list[Row]]:
    """Train on `train`, looking at `held_out` at every report; returns the network and the history.

    The held-out subjects are only looked at: no epoch, threshold or weight is chosen by them here.
    `on_report` gets each row as it is made, a state to resume from (live: copy it), and the steps in all.
    Raises CheckFailedError when the loss stops being a number, InputError for windows of one label only and for
    a recipe whose steps do not fit into a window.
    """
    window = train.signals.shape[1]
    if recipe.model.frame > window:
        raise InputError(
            f"recipe {recipe.name}: model.frame {recipe.model.frame} is longer than a window of {window} samples"
        )
    if len(np.unique(train.labels)) < 2:
        raise InputError("the training windows carry one label only; there is nothing to tell apart")
    # One thread: models of this size gain little from a second, lose much where something else is running, and
    # the order of sums, so the last bit, would depend on the number of cores.
    torch.set_num_threads(1)
    run = _Run(train, recipe, labels, seed)
    history = run.restore(resume) if resume is not None else []
    while run.step < run.plan.steps:
        loss, accuracy, rate = run.advance()
        seen = run.plan.windows_seen(run.step)
        if not math.isfinite(loss):
            raise CheckFailedError(
                f"the loss is not a number after {seen} windows; lower optimiser.learning_rate "
                f"(now {recipe.optimiser.learning_rate:g}) or set optimiser.clip_norm"
            )
        held: tuple[float | None, float | None] = (None, None)
        if held_out is not None:
            with run.averaged():
                held = evaluate(run.model, held_out)
        history.append(Row(seen, seen / run.plan.n, loss, accuracy, *held, rate))
        on_report(history[-1], run.state(history), run.plan.steps)
    with run.averaged():
        return run.model.to_network(), history


class _Run:
    """What changes while training: weights, their running average, the optimiser's moments, the step."""

    def __init__(self, train: Windows, recipe: Recipe, labels: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed = recipe, seed
        mean, std = _normalisation(train, recipe)
        self.model = HarNet(recipe, train.signals.shape[1], mean, std, labels)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = _optimiser(self.trained, recipe)
        self.average = [p.detach().clone() for p in self.trained]
        self.augment = Augmenter(train, recipe.augment, torch.from_numpy(train.signals.std(axis=(0, 1))))
        self.truth = torch.from_numpy(train.labels.copy())
        keys = recipe.schedule
        self.plan = Plan(len(train), keys.batch, keys.order == "shuffled", keys.epochs, keys.report_windows)
        self.step = 0

    def advance(self) -> tuple[float, float, float]:
        """Train up to the next report; returns mean loss and accuracy on the way, and the learning rate."""
        generator = _generator(self.seed, 2, self.step)
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))  # dropout draws from the global one
        self.model.train()
        loss_sum = right = seen = 0.0
        rate = 0.0
        for _ in range(min(self.plan.report_steps, self.plan.steps - self.step)):
            index = self.plan.index(self.step, self.seed)
            rate = _learning_rate(self.recipe, self.step, self.plan.steps)
            loss, hits = self._update(self.augment.batch(index, generator), self.truth[index], rate)
            loss_sum, right, seen = loss_sum + loss * len(index), right + hits, seen + len(index)
            self.step += 1
        return loss_sum / seen, right / seen, rate

    def _update(self, windows: Tensor, truth: Tensor, rate: float) -> tuple[float, int]:
        keys = self.recipe.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        total, hits = torch.zeros(()), 0
        piece = _piece(self.model)
        for part, answer in zip(torch.split(windows, piece), torch.split(truth, piece), strict=True):
            logits = self.model(part)
            loss = cross_entropy(logits, answer, label_smoothing=keys.label_smoothing, reduction="sum") / len(truth)
            loss.backward()  # type: ignore[no-untyped-call]
            total, hits = total + loss.detach(), hits + int((logits.argmax(1) == answer).sum())
        if keys.l2:
            penalty = keys.l2 * torch.stack([p.square().sum() / 2 for p in self.trained]).sum()
            penalty.backward()  # type: ignore[no-untyped-call]
            total = total + penalty.detach()
        if keys.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.trained, keys.clip_norm)
        self.optimiser.step()
        with torch.no_grad():
            # a young average forgets faster, or it would remember the initial weights
            decay = min(keys.average, (1 + self.step) / (10 + self.step))
            for kept, parameter in zip(self.average, self.trained, strict=True):
                kept.lerp_(parameter, 1 - decay)
        return float(total), hits

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model carries the averaged weights (with average = 0, the weights as they are)."""
        own = [p.detach().clone() for p in self.trained]
        self._put(self.average)
        yield
        self._put(own)

    def _put(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.trained, values, strict=True):
                parameter.copy_(value)

    def state(self, history: list[Row]) -> State:
        return State(self.step, self.model.state_dict(), self.optimiser.state_dict(), self.average, history)

    def restore(self, state: State) -> list[Row]:
        try:
            self.model.load_state_dict(state.model)
            self.optimiser.load_state_dict(state.optimiser)
        except Exception as error:  # shapes, names, kinds: torch has an error for each
            raise InputError(
                f"the saved state is not one of this recipe ({type(error).__name__}); start without --resume"
            ) from error
        self.step, self.average = state.step, list(state.average)
        return list(state.history)


def evaluate(model: HarNet, windows: Windows) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on `windows`, without dropout."""
    model.eval()
    loss = right = 0.0
    with torch.no_grad():
        for start in range(0, len(windows), _piece(model)):
            part = slice(start, start + _piece(model))
            truth = torch.from_numpy(windows.labels[part].copy())
            logits = model(torch.from_numpy(windows.signals[part].copy()))
            loss += float(cross_entropy(logits, truth, reduction="sum"))
            right += float((logits.argmax(1) == truth).sum())
    return loss / len(windows), right / len(windows)


def _piece(model: HarNet) -> int:
    return max(1, _PIECE_STEPS // model.steps)


def _normalisation(train: Windows, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    channels = train.signals.shape[2]
    if not recipe.model.normalise:
        return np.zeros(channels), np.ones(channels)
    flat = train.signals.reshape(-1, channels).astype(np.float64)
    std = flat.std(axis=0)
    if (std <= 0).any():
        raise InputError(
            f"channel {int(np.argmin(std))} of the training windows is constant; drop it or record it again"
        )
    return flat.mean(axis=0), std


def _optimiser(trained: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    keys = recipe.optimiser
    if keys.name == "adam":
        return torch.optim.Adam(trained, lr=keys.learning_rate)
    return torch.optim.AdamW(trained, lr=keys.learning_rate, weight_decay=keys.weight_decay)


def _learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Constant, or one cycle (Smith & Topin 2018): 30 % of the steps up from 1/25, then a cosine down to 0."""
    peak = recipe.optimiser.learning_rate
    if recipe.schedule.rate == "constant":
        return peak
    up = 0.3 * steps
    if step < up:
        return peak * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / up)) / 2)
    return peak * (1 + math.cos(math.pi * (step - up) / max(1.0, steps - up))) / 2


@functools.lru_cache(maxsize=1)  # the steps of an epoch ask one after the other
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=_generator(seed, 1, epoch))


def _generator(seed: int, purpose: int, position: int) -> torch.Generator:
    """A fresh CPU generator for one purpose at one position of one run."""
    mixed = np.random.SeedSequence([seed, purpose, position]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 31 ^ int(mixed[1]))
