"""Training loop: windows and a recipe in, a network and its log out.

Random numbers depend on (seed, position) only and are drawn by generators of the CPU on every device. A run is
therefore reproducible bit for bit on one machine, and a resumed run ends exactly as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from harexport.data.dataset import Windows
from harexport.errors import CheckFailedError, InputError
from harexport.model.network import Network
from harexport.model.recipe import OptimizerConfig, Recipe
from harexport.training import coarse_labels, schedule
from harexport.training.augmentation import Augmenter
from harexport.training.history import EvalSet, LogEntry, TrainerState
from harexport.training.modules import HarNet
from harexport.training.schedule import BatchSchedule
from harexport.training.tf1 import TF1GRU, TF1RMSprop
from harexport.training.validation import check_windows_and_recipe

# Steps per micro-batch on a CPU. The gradients of the micro-batches add up to that of the batch. 1500 windows of 128
# steps exceed the cache: in micro-batches of 64 windows the LSTM takes half the time. The GRU launches many small
# operators, whose overhead is lower with larger micro-batches.
_MICRO_BATCH_STEPS = {"lstm": 8192, "gru": 131072}

LossAndAccuracy = tuple[float, float]


def resolve_device(name: str) -> str:
    """Return the PyTorch device for a name; "auto" is a GPU if there is one.

    Raises:
        InputError: There is no such device on this machine.
    """
    gpu = torch.accelerator.current_accelerator(check_available=True)
    available = ["cpu"]
    if gpu is not None:
        available += [gpu.type, *(f"{gpu.type}:{k}" for k in range(torch.accelerator.device_count()))]
    if name == "auto":
        return available[1] if gpu is not None else "cpu"
    if name not in available:
        hint = "" if gpu is not None else "; PyTorch finds no GPU on this machine"
        raise InputError(f"no device {name!r} here; valid: auto, {', '.join(available)}{hint}")
    return name


def fit(
    train: Windows,
    evaluated: Windows | None,
    recipe: Recipe,
    num_labels: int,
    seed: int = 0,
    resume: TrainerState | None = None,
    on_report: Callable[[LogEntry, TrainerState, int], None] = lambda entry, state, steps: None,
    device: str = "cpu",
    eval_set: EvalSet | None = "held_out",
) -> tuple[Network, list[LogEntry]]:
    """Train a network.

    Args:
        train: Training windows.
        evaluated: Windows whose loss and accuracy are logged. Nothing is chosen by them.
        recipe: Hyperparameters.
        num_labels: Number of labels.
        seed: Seed of the random number generators.
        resume: State to continue from.
        on_report: Called with each log entry, the state after it (updated in place: copy it) and the total number of
            steps.
        device: A result of `resolve_device`. Random numbers are the same on every device, rounding is not.
        eval_set: Name of `evaluated` in the log.

    Returns:
        The network with averaged weights, and the log.

    Raises:
        CheckFailedError: The loss is no longer finite.
        InputError: The windows are empty, not finite or of one label only, or do not fit the recipe.
    """
    check_windows_and_recipe(train, evaluated, recipe, num_labels)
    # Networks of this size gain little from a second thread, and the order of summation, hence the last bit, would
    # depend on the number of cores.
    torch.set_num_threads(1)
    trainer = Trainer(train, recipe, num_labels, seed, device)
    history = trainer.restore(resume) if resume is not None else []
    while trainer.step < trainer.schedule.steps:
        stage, batches, rate = trainer.advance()
        seen = trainer.schedule.windows_seen(trainer.step)
        if not all(math.isfinite(loss) for loss, _ in batches.values()):
            raise CheckFailedError(
                f"the loss is not a number after {seen} windows; lower optimizer.learning_rate "
                f"(now {recipe.optimizer.learning_rate:g}) or set optimizer.clip_norm"
            )
        results: dict[str, LossAndAccuracy] = {}
        if evaluated is not None:
            with trainer.averaged_weights():
                results = evaluate(trainer.model, evaluated, recipe)
        name = eval_set if evaluated is not None else None
        history.append(_log_entry(seen, trainer.schedule.n, batches, name, results, rate, stage))
        on_report(history[-1], trainer.state(history), trainer.schedule.steps)
    with trainer.averaged_weights():
        return trainer.model.to_network(), history


def network_at(state: TrainerState, train: Windows, recipe: Recipe, num_labels: int) -> Network:
    """Return the network at a saved state, as `fit` would have returned it then.

    Args:
        state: State that `fit` reported.
        train: The training windows of `fit`.
        recipe: The recipe of `fit`.
        num_labels: The number of labels of `fit`.

    Raises:
        InputError: The state belongs to another recipe.
    """
    trainer = Trainer(train, recipe, num_labels, seed=0, device="cpu")
    trainer.restore(state)
    with trainer.averaged_weights():
        return trainer.model.to_network()


def _log_entry(
    seen: int,
    n: int,
    batches: dict[str, LossAndAccuracy],
    eval_set: EvalSet | None,
    results: dict[str, LossAndAccuracy],
    rate: float,
    stage: int,
) -> LogEntry:
    entry = LogEntry(seen, seen / n, *batches["head"], rate, eval_set, *results.get("head", (None, None)))
    if "coarse" not in batches:
        return entry
    coarse = dict(zip(("coarse_loss", "coarse_accuracy"), batches["coarse"], strict=True))
    if results:
        coarse |= dict(zip(("eval_coarse_loss", "eval_coarse_accuracy"), results["coarse"], strict=True))
    return LogEntry(**{**vars(entry), **coarse, "stage": stage})


class Trainer:
    """Everything that changes during training: weights, moving average, optimizer moments, step.

    Args:
        train: Training windows.
        recipe: Hyperparameters.
        num_labels: Number of labels.
        seed: Seed of the random number generators.
        device: PyTorch device.
    """

    def __init__(self, train: Windows, recipe: Recipe, num_labels: int, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.device = recipe, seed, torch.device(device)
        mean, std = _normalization(train, recipe)
        with torch.device("cpu"):  # initial values are drawn on the CPU
            self.model = HarNet(recipe, train.signals.shape[1], mean, std, num_labels)
        self.model.to(self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        # One optimizer per loss, each with its own moments, as in TensorFlow 1; the publication does not specify it.
        self.optimizers = {name: _create_optimizer(self.parameters, recipe) for name in self.model.heads()}
        self.average = [p.detach().clone() for p in self.parameters]
        std_of_channels = torch.from_numpy(train.signals.std(axis=(0, 1)))
        self.augmenter = Augmenter(train, recipe.augment, std_of_channels, self.device)
        self.targets = head_targets(train.labels, recipe.model.coarse, self.device)
        keys = recipe.schedule
        self.schedule = BatchSchedule(
            len(train), keys.batch, keys.order == "shuffled", keys.epochs, keys.report_windows, keys.coarse_epochs
        )
        self.step = 0

    def advance(self) -> tuple[int, dict[str, LossAndAccuracy], float]:
        """Train up to the next log entry.

        Returns:
            The stage, mean loss and accuracy of each head, and the last learning rate.
        """
        generator = schedule.generator(self.seed, 2, self.step)
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator, device="cpu")))  # for dropout
        self.model.train()
        stage = 1 if self.step < self.schedule.coarse_steps else 2
        # as published: a step on the coarse loss, then one on the main loss
        trained = ("coarse",) if stage == 1 else tuple(reversed(self.model.heads()))
        sums = dict.fromkeys(self.model.heads(), (0.0, 0.0))
        seen, rate = 0.0, 0.0
        for _ in range(self.step, self.schedule.next_report(self.step)):
            index = self.schedule.batch_indices(self.step, self.seed)
            rate = schedule.learning_rate(self.recipe, self.step, self.schedule.steps)
            windows = self.augmenter.batch(index, generator)
            targets = {name: labels[index.to(self.device)] for name, labels in self.targets.items()}
            for name in trained:
                measured = self._update(windows, targets, name, rate)
            for name, (loss, correct) in measured.items():
                sums[name] = (sums[name][0] + loss * len(index), sums[name][1] + correct)
            seen += len(index)
            self.step += 1
        return stage, {name: (loss / seen, correct / seen) for name, (loss, correct) in sums.items()}, rate

    def _update(
        self, windows: Tensor, targets: dict[str, Tensor], trained: str, rate: float
    ) -> dict[str, tuple[float, int]]:
        """Make one step on the loss of the head `trained`. Return loss and number of hits of every head."""
        keys, optimizer = self.recipe.optimizer, self.optimizers[trained]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        losses = {name: torch.zeros((), device=self.device) for name in targets}
        correct = dict.fromkeys(targets, 0)
        size = micro_batch_size(self.model, self.device)
        for start in range(0, len(windows), size):
            part = slice(start, start + size)
            state = self.model.features(windows[part])  # [n, features]
            for name, head in self.model.heads().items():
                with torch.set_grad_enabled(name == trained):
                    logits, target = head(state), targets[name][part]
                    loss = cross_entropy(logits, target, label_smoothing=keys.label_smoothing, reduction="sum")
                    loss = loss / len(windows)
                if name == trained:
                    loss.backward()  # type: ignore[no-untyped-call]
                losses[name], correct[name] = losses[name] + loss.detach(), correct[name] + num_correct(logits, target)
        if keys.l2:
            penalty = _l2_penalty(self.parameters, keys)
            penalty.backward()  # type: ignore[no-untyped-call]
            losses = {name: loss + penalty.detach() for name, loss in losses.items()}
        if keys.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, keys.clip_norm)
        optimizer.step()
        with torch.no_grad():
            # EMA warm-up: a small decay in the first steps, as in tf.train.ExponentialMovingAverage
            decay = min(keys.average, (1 + self.step) / (10 + self.step))
            for average, parameter in zip(self.average, self.parameters, strict=True):
                average.lerp_(parameter, 1 - decay)
        return {name: (float(loss), correct[name]) for name, loss in losses.items()}

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Use the averaged weights inside the block. With optimizer.average = 0 they are the current ones."""
        current = [p.detach().clone() for p in self.parameters]
        self._set_weights(self.average)
        yield
        self._set_weights(current)

    def _set_weights(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def state(self, history: list[LogEntry]) -> TrainerState:
        """Return the state on the CPU. Its tensors may share memory with the trainer."""
        moments = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        values = _to_cpu({"model": dict(self.model.state_dict()), "optimizer": moments, "average": self.average})
        return TrainerState(self.step, history=history, **values)

    def restore(self, state: TrainerState) -> list[LogEntry]:
        """Continue from a state. Return its log.

        Raises:
            InputError: The state belongs to another recipe.
        """
        state = copy.deepcopy(state)  # load_state_dict may keep references to the caller's tensors
        try:
            self._check_state(state)
            self.model.load_state_dict(state.model)
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state.optimizer[name])
        except Exception as error:  # torch raises many kinds for wrong names, shapes and types
            reason = str(error) if isinstance(error, ValueError) else type(error).__name__
            raise InputError(f"the saved state does not fit this recipe ({reason}); start without --resume") from error
        self.step, self.average = state.step, [average.to(self.device) for average in state.average]
        return list(state.history)

    def _check_state(self, state: TrainerState) -> None:
        """Raise an error if a value of the state could not come from this run."""
        if type(state.step) is not int or not 0 < state.step <= self.schedule.steps:
            raise ValueError("its step is out of range")
        if not state.history or state.history[-1].windows != self.schedule.windows_seen(state.step):
            raise ValueError("its log does not end at its step")
        _check_tensors(state.average, self.average)
        model = self.model.state_dict()
        _check_tensors([state.model[name] for name in model], list(model.values()))
        for name, optimizer in self.optimizers.items():
            saved, own = state.optimizer[name], _to_cpu(optimizer.state_dict())  # tuples become lists in both
            settings = [{**group, "lr": 0.0} for group in saved["param_groups"]]
            if settings != [{**group, "lr": 0.0} for group in own["param_groups"]]:
                raise ValueError("its optimizer has other settings")
            keys = {frozenset(moments) for moments in saved["state"].values()}
            if len(keys) > 1 or frozenset() in keys:
                raise ValueError("its optimizer lacks moments of some parameters")
            for index, moments in saved["state"].items():
                for key, value in moments.items():
                    _check_tensors([value], [value.new_zeros(()) if key == "step" else self.parameters[index]])
                    if key != "exp_avg" and bool((value < 0).any()):  # a count or a mean of squares
                        raise ValueError("its optimizer has moments that cannot be negative")


def evaluate(model: HarNet, windows: Windows, recipe: Recipe) -> dict[str, LossAndAccuracy]:
    """Return loss (the training objective, without dropout) and accuracy of each head."""
    model.eval()
    device = model.mean.device
    targets = head_targets(windows.labels, recipe.model.coarse, device)
    sums = dict.fromkeys(targets, (0.0, 0.0))
    smoothing = recipe.optimizer.label_smoothing
    with torch.no_grad():
        size = micro_batch_size(model, device)
        for start in range(0, len(windows), size):
            part = slice(start, start + size)
            state = model.features(torch.from_numpy(windows.signals[part].copy()).to(device))
            for name, head in model.heads().items():
                logits, target = head(state), targets[name][part]
                loss = float(cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum"))
                sums[name] = (sums[name][0] + loss, sums[name][1] + num_correct(logits, target))
        parameters = [p for p in model.parameters() if p.requires_grad]
        penalty = float(_l2_penalty(parameters, recipe.optimizer)) if recipe.optimizer.l2 else 0.0
    n = len(windows)
    return {name: (loss / n + penalty, correct / n) for name, (loss, correct) in sums.items()}


def head_targets(labels: NDArray[np.int64], coarse: tuple[int, ...], device: torch.device) -> dict[str, Tensor]:
    """Return the target labels [n] of each head by its name."""
    targets = {"head": labels.copy()} | ({"coarse": coarse_labels.to_coarse(coarse, labels)} if coarse else {})
    return {name: torch.from_numpy(values).to(device) for name, values in targets.items()}


def num_correct(logits: Tensor, targets: Tensor) -> int:
    """Count correct predictions; logits [n, labels], targets [n]."""
    return int((logits.argmax(1) == targets).sum())


def micro_batch_size(model: HarNet, device: torch.device) -> int:
    """Return the number of windows per forward pass: all of the batch on a GPU."""
    if device.type != "cpu":
        return 2**31
    cell = "gru" if any(isinstance(module, TF1GRU) for module in model.modules()) else "lstm"
    return max(1, _MICRO_BATCH_STEPS[cell] // model.num_steps)


def _l2_penalty(parameters: list[torch.nn.Parameter], keys: OptimizerConfig) -> Tensor:
    parts = [p.square().sum() / 2 for p in parameters if keys.l2_biases or p.ndim > 1]
    return keys.l2 * torch.stack(parts).sum()


def _check_tensors(values: list[Tensor], expected: list[Tensor]) -> None:
    """Raise ValueError unless the tensors are finite and have the expected shapes and types."""
    for value, like in zip(values, expected, strict=True):
        if value.shape != like.shape or value.dtype != like.dtype or not bool(torch.isfinite(value).all()):
            raise ValueError("an array has another shape or type, or is not finite")


def _to_cpu(value: Any) -> Any:
    """Move the tensors in dicts and lists to the CPU, without copying those that are there already."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _to_cpu(item) for key, item in value.items()}
    return [_to_cpu(item) for item in value] if isinstance(value, list | tuple) else value


def _normalization(train: Windows, recipe: Recipe) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation [channels] of the input."""
    channels = train.signals.shape[2]
    if not recipe.model.normalize:
        return np.zeros(channels), np.ones(channels)
    flat = train.signals.reshape(-1, channels).astype(np.float64)
    std = flat.std(axis=0)
    if (std <= 0).any():
        raise InputError(
            f"channel {int(np.argmin(std))} of the training windows is constant; remove it or record it again"
        )
    return flat.mean(axis=0), std


def _create_optimizer(parameters: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    keys = recipe.optimizer
    if keys.name == "adam":
        return torch.optim.Adam(parameters, lr=keys.learning_rate)
    if keys.name == "rmsprop":
        return TF1RMSprop(parameters, keys.learning_rate)
    return torch.optim.AdamW(parameters, lr=keys.learning_rate, weight_decay=keys.weight_decay)
