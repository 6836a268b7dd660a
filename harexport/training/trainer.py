"""The training loop: windows and a recipe in, a network and its history out.

All randomness is drawn from (seed, position) by generators of the CPU, whatever device the rest is on, and never
carried along, so a run is repeatable bit for bit on one machine and a resumed run ends exactly where the
uninterrupted one would have.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harexport.data.dataset import Windows
from harexport.errors import CheckFailedError, InputError
from harexport.model.network import Network
from harexport.model.recipe import Recipe
from harexport.training import coarse_labels as coarse
from harexport.training import schedule
from harexport.training.augmentation import Augmenter
from harexport.training.history import Row, State
from harexport.training.modules import HarNet
from harexport.training.schedule import Plan
from harexport.training.tf1 import RmsProp
from harexport.training.validation import check_fit


def pick_device(name: str) -> str:
    """The device that `name` stands for: "auto" is a GPU where there is one. Raises InputError for what is not here."""
    gpu = torch.accelerator.current_accelerator(check_available=True)
    here = ["cpu"]
    if gpu is not None:
        here += [gpu.type, *(f"{gpu.type}:{k}" for k in range(torch.accelerator.device_count()))]
    if name == "auto":
        return here[1] if gpu is not None else "cpu"
    if name not in here:
        hint = "" if gpu is not None else "; PyTorch finds no GPU on this machine"
        raise InputError(f"no device {name!r} here; valid: auto, {', '.join(here)}{hint}")
    return name


def fit(
    train: Windows,
    held_out: Windows | None,
    recipe: Recipe,
    labels: int,
    seed: int = 0,
    resume: State | None = None,
    on_report: Callable[[Row, State, int], None] = lambda row, state, steps: None,
    device: str = "cpu",
) -> tuple[Network, list[Row]]:
    """Train on `train`, looking at `held_out` at every report; returns the network and the history.

    The held-out subjects are only looked at: no epoch, threshold or weight is chosen by them here.
    `on_report` gets each row as it is made, a state to resume from (live: copy it), and the steps in all.
    `device` is one that `pick_device` answers: network, windows and augmentation are there; what is drawn at random
    is the same on every device, the last bits of what is computed are not.
    Raises CheckFailedError when the loss stops being a number, InputError for windows that cannot teach (none, of
    one label only, not finite) and for a recipe that does not fit the windows.
    """
    check_fit(train, held_out, recipe, labels)
    # One thread: models of this size gain little from a second, lose much where something else is running, and
    # the order of sums, so the last bit, would depend on the number of cores.
    torch.set_num_threads(1)
    run = _Run(train, recipe, labels, seed, device)
    history = run.restore(resume) if resume is not None else []
    while run.step < run.plan.steps:
        stage, batches, rate = run.advance()
        seen = run.plan.windows_seen(run.step)
        if not all(math.isfinite(loss) for loss, _ in batches.values()):
            raise CheckFailedError(
                f"the loss is not a number after {seen} windows; lower optimizer.learning_rate "
                f"(now {recipe.optimizer.learning_rate:g}) or set optimizer.clip_norm"
            )
        held: dict[str, tuple[float, float]] = {}
        if held_out is not None:
            with run.averaged():
                held = evaluate(run.model, held_out, recipe.model.coarse)
        history.append(_row(seen, run.plan.n, batches, held, rate, stage))
        on_report(history[-1], run.state(history), run.plan.steps)
    with run.averaged():
        return run.model.to_network(), history


def network_at(state: State, train: Windows, recipe: Recipe, labels: int) -> Network:
    """The network that the run had at `state`, as `fit` would have answered it had it ended there.

    The arguments are those that `fit` had. Raises InputError for the state of another recipe.
    """
    run = _Run(train, recipe, labels, seed=0, device="cpu")
    run.restore(state)
    with run.averaged():
        return run.model.to_network()


def _row(
    seen: int,
    n: int,
    batches: dict[str, tuple[float, float]],
    held: dict[str, tuple[float, float]],
    rate: float,
    stage: int,
) -> Row:
    (loss, accuracy), (held_loss, held_accuracy) = batches["head"], held.get("head", (None, None))
    row = Row(seen, seen / n, loss, accuracy, held_loss, held_accuracy, rate)
    if "coarse" not in batches:
        return row
    (loss, accuracy), (held_loss, held_accuracy) = batches["coarse"], held.get("coarse", (None, None))
    return replace(
        row,
        stage=stage,
        coarse_loss=loss,
        coarse_accuracy=accuracy,
        held_out_coarse_loss=held_loss,
        held_out_coarse_accuracy=held_accuracy,
    )


class _Run:
    """What changes while training: weights, their running average, the optimizers' moments, the step."""

    def __init__(self, train: Windows, recipe: Recipe, labels: int, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.device = recipe, seed, torch.device(device)
        mean, std = _normalisation(train, recipe)
        with torch.device("cpu"):  # the initial values are drawn there
            self.model = HarNet(recipe, train.signals.shape[1], mean, std, labels)
        self.model.to(self.device)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        # moments of its own for each loss: the publication does not say, TensorFlow 1 keeps them with the optimizer
        self.optimizers = {name: _optimizer(self.trained, recipe) for name in self.model.heads()}
        self.average = [p.detach().clone() for p in self.trained]
        spread = torch.from_numpy(train.signals.std(axis=(0, 1)))
        self.augment = Augmenter(train, recipe.augment, spread, self.device)
        self.truth = truth(train.labels, recipe.model.coarse, self.device)
        keys = recipe.schedule
        self.plan = Plan(
            len(train), keys.batch, keys.order == "shuffled", keys.epochs, keys.report_windows, keys.coarse_epochs
        )
        self.step = 0

    def advance(self) -> tuple[int, dict[str, tuple[float, float]], float]:
        """Train up to the next report; returns the stage, each head's mean loss and accuracy, and the learning rate."""
        generator = schedule.generator(self.seed, 2, self.step)
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator, device="cpu")))  # dropout's draws
        self.model.train()
        stage = 1 if self.step < self.plan.coarse_steps else 2
        # the published order: first the coarse loss, then the other
        trained = ("coarse",) if stage == 1 else tuple(reversed(self.model.heads()))
        sums = dict.fromkeys(self.model.heads(), (0.0, 0.0))
        seen, rate = 0.0, 0.0
        for _ in range(self.step, self.plan.next_report(self.step)):
            index = self.plan.index(self.step, self.seed)
            rate = schedule.learning_rate(self.recipe, self.step, self.plan.steps)
            windows = self.augment.batch(index, generator)
            truth = {name: labels[index.to(self.device)] for name, labels in self.truth.items()}
            for name in trained:
                measured = self._update(windows, truth, name, rate)
            for name, (loss, hits) in measured.items():
                sums[name] = (sums[name][0] + loss * len(index), sums[name][1] + hits)
            seen += len(index)
            self.step += 1
        return stage, {name: (loss / seen, right / seen) for name, (loss, right) in sums.items()}, rate

    def _update(
        self, windows: Tensor, truth: dict[str, Tensor], trained: str, rate: float
    ) -> dict[str, tuple[float, int]]:
        """One update on the loss of the head `trained`; returns every head's loss, and how many it got right."""
        keys, optimizer = self.recipe.optimizer, self.optimizers[trained]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        total = {name: torch.zeros((), device=self.device) for name in truth}
        hits = dict.fromkeys(truth, 0)
        size = micro_batch_size(self.model, self.device)
        for start in range(0, len(windows), size):
            piece = slice(start, start + size)
            state = self.model.last_state(windows[piece])
            for name, head in self.model.heads().items():
                with torch.set_grad_enabled(name == trained):
                    logits, answer = head(state), truth[name][piece]
                    loss = cross_entropy(logits, answer, label_smoothing=keys.label_smoothing, reduction="sum")
                    loss = loss / len(windows)
                if name == trained:
                    loss.backward()  # type: ignore[no-untyped-call]
                total[name], hits[name] = total[name] + loss.detach(), hits[name] + num_correct(logits, answer)
        if keys.l2:
            penalty = keys.l2 * torch.stack([p.square().sum() / 2 for p in self.trained]).sum()
            penalty.backward()  # type: ignore[no-untyped-call]
            total = {name: loss + penalty.detach() for name, loss in total.items()}
        if keys.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.trained, keys.clip_norm)
        optimizer.step()
        with torch.no_grad():
            # a young average forgets faster, or it would remember the initial weights
            decay = min(keys.average, (1 + self.step) / (10 + self.step))
            for kept, parameter in zip(self.average, self.trained, strict=True):
                kept.lerp_(parameter, 1 - decay)
        return {name: (float(loss), hits[name]) for name, loss in total.items()}

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
        moments = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        values = _on_cpu({"model": dict(self.model.state_dict()), "optimizer": moments, "average": self.average})
        return State(self.step, history=history, **values)

    def restore(self, state: State) -> list[Row]:
        state = copy.deepcopy(state)  # torch keeps tensors that are where it wants them, and would change the caller's
        try:
            self.model.load_state_dict(state.model)
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state.optimizer[name])
        except Exception as error:  # shapes, names, kinds: torch has an error for each
            raise InputError(
                f"the saved state is not one of this recipe ({type(error).__name__}); start without --resume"
            ) from error
        self.step, self.average = state.step, [kept.to(self.device) for kept in state.average]
        return list(state.history)


def _on_cpu(value: Any) -> Any:
    """The tensors in dicts and lists, on the CPU; those that are there already are not copied."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(one) for key, one in value.items()}
    return [_on_cpu(one) for one in value] if isinstance(value, list | tuple) else value


def _normalisation(train: Windows, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    channels = train.signals.shape[2]
    if not recipe.model.normalize:
        return np.zeros(channels), np.ones(channels)
    flat = train.signals.reshape(-1, channels).astype(np.float64)
    std = flat.std(axis=0)
    if (std <= 0).any():
        raise InputError(
            f"channel {int(np.argmin(std))} of the training windows is constant; drop it or record it again"
        )
    return flat.mean(axis=0), std


def _optimizer(trained: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    keys = recipe.optimizer
    if keys.name == "adam":
        return torch.optim.Adam(trained, lr=keys.learning_rate)
    if keys.name == "rmsprop":
        return RmsProp(trained, keys.learning_rate)
    return torch.optim.AdamW(trained, lr=keys.learning_rate, weight_decay=keys.weight_decay)


# Steps that go through the network together on a CPU. A batch is cut into pieces of about this many whose gradients
# add up to the batch's: 1500 windows of 128 steps outgrow the cache, in pieces of 64 windows the LSTM takes half the
# time. The GRU's operators are called one by one, which pays with longer pieces.
_PIECE_STEPS = {"lstm": 8192, "gru": 131072}


def evaluate(model: HarNet, windows: Windows, coarse_labels: tuple[int, ...] = ()) -> dict[str, tuple[float, float]]:
    """Each head's mean cross-entropy and accuracy on `windows`, without dropout."""
    model.eval()
    device = model.mean.device
    wanted = truth(windows.labels, coarse_labels, device)
    sums = dict.fromkeys(wanted, (0.0, 0.0))
    with torch.no_grad():
        size = micro_batch_size(model, device)
        for start in range(0, len(windows), size):
            part = slice(start, start + size)
            state = model.last_state(torch.from_numpy(windows.signals[part].copy()).to(device))
            for name, head in model.heads().items():
                logits, answer = head(state), wanted[name][part]
                loss, right = float(cross_entropy(logits, answer, reduction="sum")), num_correct(logits, answer)
                sums[name] = (sums[name][0] + loss, sums[name][1] + right)
    return {name: (loss / len(windows), right / len(windows)) for name, (loss, right) in sums.items()}


def truth(labels: np.ndarray, coarse_labels: tuple[int, ...], device: torch.device) -> dict[str, Tensor]:
    """What each head should answer [n], under the heads' names."""
    named = {"head": labels.copy()} | ({"coarse": coarse.truth(coarse_labels, labels)} if coarse_labels else {})
    return {name: torch.from_numpy(values).to(device) for name, values in named.items()}


def num_correct(logits: Tensor, answers: Tensor) -> int:
    """How many windows [n, labels] are answered as they should be [n]."""
    return int((logits.argmax(1) == answers).sum())


def micro_batch_size(model: HarNet, device: torch.device) -> int:
    """Windows that go through the network together; a GPU takes a batch as it is."""
    if device.type != "cpu":
        return 2**31
    return max(1, _PIECE_STEPS[model.cell] // model.steps)
