"""Training loop: batches, losses, stages, devices and reproducibility."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from harexport.data import Dataset, Windows
from harexport.errors import CheckFailedError, InputError
from harexport.model import recipe as recipes
from harexport.model.network import Network
from harexport.model.recipe import Recipe
from harexport.training import schedule, trainer
from harexport.training.history import LogEntry, TrainerState
from harexport.training.modules import HarNet
from harexport.training.schedule import BatchSchedule
from harexport.training.tf1 import TF1RMSprop
from harexport.training.trainer import fit, network_at, resolve_device

from .conftest import small_recipe

_AUGMENT = {"shift": 32, "speed": 0.1, "rotation_deg": 10.0, "noise": 0.05, "gain": 0.02}


def two_heads(**sections: dict[str, object]) -> Recipe:
    """baseline-gru on steps of 16 samples: two epochs of stage 1, three of stage 2."""
    table = recipes.load("baseline-gru").to_dict()
    table["model"].update(frame=16, hop=16)
    table["schedule"].update(coarse_epochs=2, epochs=3, batch=128, order="shuffled", report_windows=0)
    for section, keys in sections.items():
        table[section].update(keys)
    return recipes.parse(table, "two-heads")


def _same(a: Network, b: Network) -> bool:
    return all(np.array_equal(x, b.arrays()[name]) for name, x in a.arrays().items())


def test_batch_schedule_of_baseline_lstm() -> None:
    plan = BatchSchedule(7352, 1500, shuffled=False, epochs=300, report_windows=30000)
    assert plan.steps == 1470
    assert plan.report_steps == 20
    index = plan.batch_indices(4, seed=0)  # windows 6000 .. 7499: wraps around after 7351, in file order
    assert index[0] == 6000
    assert index[1352 - 1] == 7351
    assert index[1352] == 0
    assert plan.windows_seen(1470) == 2_205_000


def test_batch_schedule_of_baseline_gru() -> None:
    plan = BatchSchedule(7352, 2000, shuffled=False, epochs=600, report_windows=30000, coarse_epochs=300)
    assert (plan.coarse_steps, plan.steps) == (1102, 1102 + 2205)
    assert plan.next_report(0) == 15
    assert plan.next_report(1095) == 1102, "the end of stage 1 is reported"
    assert plan.next_report(1102) == 1117
    assert plan.next_report(3300) == plan.steps
    assert BatchSchedule(1000, 128, True, 3, 0, coarse_epochs=2).steps == 5 * 8


def test_shuffled_batches_contain_every_window_once() -> None:
    plan = BatchSchedule(1000, 128, shuffled=True, epochs=3, report_windows=0)
    assert plan.steps == 3 * 8
    epochs = [torch.cat([plan.batch_indices(8 * e + k, seed=5) for k in range(8)]) for e in range(2)]
    for order in epochs:
        assert torch.equal(order.sort().values, torch.arange(1000))
    assert not torch.equal(*epochs)
    assert plan.windows_seen(8) == 1000
    assert plan.windows_seen(9) == 1128


def test_training_is_reproducible_bit_for_bit(small: Dataset) -> None:
    recipe = small_recipe()
    first, history = fit(small.train, small.test, recipe, 6, seed=3)
    again, repeated = fit(small.train, small.test, recipe, 6, seed=3)
    assert _same(first, again)
    assert history == repeated
    other, _ = fit(small.train, small.test, recipe, 6, seed=4)
    assert not _same(first, other)


@pytest.mark.parametrize("keys", [{}, {"report_windows": 300}, {"order": "file", "report_windows": 200}])
def test_resumed_training_is_identical(small: Dataset, keys: dict[str, object]) -> None:
    recipe = small_recipe(schedule=keys)
    states: list[TrainerState] = []
    whole, history = fit(
        small.train, small.test, recipe, 6, on_report=lambda row, state, steps: states.append(copy.deepcopy(state))
    )
    assert len(states) >= 3
    resumed, rows = fit(small.train, small.test, recipe, 6, resume=states[1])
    assert _same(whole, resumed)
    assert rows == history


def test_log_contains_held_out_metrics(small: Dataset) -> None:
    rows: list[LogEntry] = []
    fit(small.train, small.test, small_recipe(), 6, on_report=lambda row, state, steps: rows.append(row))
    assert [row.windows for row in rows] == [len(small.train) * k for k in (1, 2, 3)]
    assert rows[-1].eval_loss is not None
    assert rows[-1].loss < rows[0].loss
    _, alone = fit(small.train, None, small_recipe(schedule={"epochs": 1}), 6)
    assert alone[0].eval_loss is None


@pytest.mark.parametrize("cut", range(5))
def test_two_stages_resume_from_every_entry(small: Dataset, cut: int) -> None:
    states: list[TrainerState] = []
    whole, history = fit(
        small.train, small.test, two_heads(), 6, on_report=lambda row, state, steps: states.append(copy.deepcopy(state))
    )
    assert [row.stage for row in history] == [1, 1, 2, 2, 2]
    resumed, rows = fit(small.train, small.test, two_heads(), 6, resume=states[cut])
    assert _same(whole, resumed)
    assert rows == history
    then = network_at(states[cut], small.train, two_heads(), 6)
    predicted = then.logits(small.test.signals, head="coarse").argmax(axis=1)
    truth = np.array([0, 1, 1, 3, 3, 5])[small.test.labels]
    assert history[cut].eval_coarse_accuracy == pytest.approx((predicted == truth).mean())


def test_stage_1_trains_the_coarse_head_only(small: Dataset) -> None:
    states: list[TrainerState] = []
    network, rows = fit(
        small.train, small.test, two_heads(), 6, on_report=lambda row, state, steps: states.append(copy.deepcopy(state))
    )
    first, end, last = states[0].model, states[1].model, states[-1].model
    fine = [name for name in first if name.startswith("head.")]
    assert len(fine) == 4
    for name in fine:
        assert torch.equal(first[name], end[name])
        assert not torch.equal(end[name], last[name])
    for name in set(first) - set(fine) - {"mean", "std"}:
        assert not torch.equal(first[name], end[name])
        assert not torch.equal(end[name], last[name])
    assert rows[-1].coarse_accuracy is not None
    assert rows[-1].eval_coarse_loss is not None
    predicted = network.logits(small.test.signals, head="coarse").argmax(axis=1)
    truth = np.array([0, 1, 1, 3, 3, 5])[small.test.labels]
    assert rows[-1].eval_coarse_accuracy == pytest.approx((predicted == truth).mean())
    assert rows[-1].eval_accuracy == pytest.approx(
        (network.logits(small.test.signals).argmax(axis=1) == small.test.labels).mean()
    )
    _, plain = fit(small.train, small.test, small_recipe(schedule={"epochs": 1}), 6)
    assert (plain[0].stage, plain[0].coarse_loss, plain[0].eval_coarse_accuracy) == (None, None, None)


def test_stage_2_makes_a_coarse_step_then_a_fine_one(small: Dataset) -> None:
    """One batch per epoch and one epoch per stage, repeated by hand with two optimizers and losses."""
    n = len(small.train)
    recipe = two_heads(schedule={"epochs": 1, "coarse_epochs": 1, "batch": n, "order": "file"})
    network, rows = fit(small.train, None, recipe, 6, seed=7)
    torch.manual_seed(7)
    model = HarNet(recipe, 128, np.zeros(9), np.ones(9), 6)
    assert model.coarse is not None
    fine, rough = TF1RMSprop(model.parameters(), 0.0025), TF1RMSprop(model.parameters(), 0.0025)
    signals, labels = torch.from_numpy(small.train.signals), torch.from_numpy(small.train.labels)
    for head, optimizer, truth in (
        (model.coarse, rough, torch.tensor([0, 1, 1, 3, 3, 5])[labels]),
        (model.coarse, rough, torch.tensor([0, 1, 1, 3, 3, 5])[labels]),
        (model.head, fine, labels),
    ):
        optimizer.zero_grad()
        loss = cross_entropy(head(model.features(signals)), truth)
        loss.backward()
        optimizer.step()
    for name, array in model.to_network().arrays().items():
        np.testing.assert_allclose(network.arrays()[name], array, atol=2e-5, err_msg=name)
    assert rows[-1].loss == pytest.approx(loss.item(), rel=1e-4)


def test_every_tensor_is_created_on_the_chosen_device(small: Dataset) -> None:
    """The default device is meta, which has shapes only, so a tensor without explicit device would fail."""
    recipe = two_heads(model={"dropout": 0.2}, augment=_AUGMENT)
    expected, history = fit(small.train, small.test, recipe, 6)
    with torch.device("meta"):
        network, rows = fit(small.train, small.test, recipe, 6)
    assert _same(network, expected)
    assert rows == history


def test_resolve_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert (resolve_device("auto"), resolve_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(InputError, match=r"no device 'cuda' here; valid: auto, cpu; PyTorch finds no GPU"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert [resolve_device(name) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]
    with pytest.raises(InputError, match=r"no device 'cuda:2' here; valid: auto, cpu, cuda, cuda:0, cuda:1$"):
        resolve_device("cuda:2")


def test_micro_batches_have_the_gradient_of_the_batch(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(model={"dropout": 0.0}, optimizer={"l2": 0.01}, schedule={"epochs": 1})
    whole, history = fit(small.train, None, recipe, 6)
    monkeypatch.setitem(trainer._MICRO_BATCH_STEPS, "lstm", 7 * 10)  # ten windows per micro-batch
    pieces, rows = fit(small.train, None, recipe, 6)
    assert not _same(whole, pieces), "the pieces were not cut"
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(pieces.arrays()[name], array, atol=2e-4, err_msg=name)
    assert math.isclose(rows[0].loss, history[0].loss, rel_tol=1e-4)


def test_l2_includes_every_trained_array(small: Dataset) -> None:
    """Published: 0.0015 times half the sum of squares of all trainable arrays, including biases."""
    batch = len(small.train)
    keys = {"epochs": 1, "batch": batch, "order": "file", "rate": "constant"}
    plain = recipes.load("baseline-lstm").to_dict()
    plain["schedule"].update(keys, report_windows=0)
    _, rows = fit(small.train, None, recipes.parse(plain, "baseline-lstm"), 6, seed=1)
    torch.manual_seed(1)
    model = HarNet(recipes.load("baseline-lstm"), 128, np.zeros(9), np.ones(9), 6)
    logits = model(torch.from_numpy(small.train.signals))
    expected = cross_entropy(logits, torch.from_numpy(small.train.labels))
    arrays = [p for name, p in model.named_parameters() if "bias_hh" not in name]
    assert len(arrays) == 2 + 6 + 2
    expected = expected + 0.0015 * sum(p.square().sum() / 2 for p in arrays)
    assert math.isclose(rows[0].loss, expected.item(), rel_tol=1e-5)


def test_initial_values_of_tf1() -> None:
    """N(0, 1) for the linear layers with their biases, U(+-sqrt(3 / 64)) for the kernels, forget bias 1, else 0."""
    torch.manual_seed(0)
    model = HarNet(recipes.load("baseline-lstm"), 128, np.zeros(9), np.ones(9), 6)
    linear = torch.cat([p.flatten() for layer in (model.layers[0], model.head) for p in layer.parameters()])
    assert abs(linear.std().item() - 1) < 0.1
    for module in model.recurrent_modules:
        for kernel in (module.lstm.weight_ih_l0, module.lstm.weight_hh_l0):
            assert kernel.abs().max() <= math.sqrt(3 / 64)
            assert abs(kernel.std().item() - math.sqrt(3 / 64) / math.sqrt(3)) < 0.01
    network = model.to_network()
    for layer in network.recurrent_layers:
        np.testing.assert_array_equal(layer.bias, np.repeat([0, 1, 0, 0], 32))


def test_the_forget_bias_is_not_trained(small: Dataset) -> None:
    states: list[TrainerState] = []
    recipe = small_recipe(optimizer={"learning_rate": 0.05})
    fit(small.train, None, recipe, 6, on_report=lambda row, state, steps: states.append(state))
    for k in range(2):
        np.testing.assert_array_equal(
            states[-1].model[f"layers.{2 * k + 2}.lstm.bias_hh_l0"], np.repeat([0, 1, 0, 0], 16)
        )


def test_one_cycle_learning_rate() -> None:
    recipe = small_recipe(optimizer={"learning_rate": 0.01})
    rates = [schedule.learning_rate(recipe, step, 1000) for step in range(1000)]
    assert math.isclose(rates[0], 0.01 / 25)
    assert math.isclose(max(rates), 0.01)
    assert rates.index(max(rates)) == 300
    assert rates[-1] < 1e-6


def test_normalization_uses_the_training_windows(small: Dataset) -> None:
    network, _ = fit(small.train, None, small_recipe(schedule={"epochs": 1}), 6)
    np.testing.assert_allclose(network.mean, small.train.signals.mean(axis=(0, 1), dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(network.std, small.train.signals.std(axis=(0, 1), dtype=np.float64), rtol=1e-5)


def test_diverging_training(small: Dataset) -> None:
    recipe = small_recipe(optimizer={"l2": 1e38, "clip_norm": 0})
    with pytest.raises(CheckFailedError, match=r"not a number.*learning_rate"):
        fit(small.train, None, recipe, 6)


def test_frame_longer_than_a_window(small: Dataset) -> None:
    with pytest.raises(InputError, match=r"model\.frame 129 is longer than a window of 128"):
        fit(small.train, None, small_recipe(model={"frame": 129}), 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signals": np.nan}, "1 of the {what} windows hold NaN or infinity, the first is window 5 .* in channel 4,"),
        ({"label": 6}, "the {what} windows have labels from 0 to 6; they must be 0 to 5"),
        ({"none": True}, "there are no {what} windows"),
    ],
)
@pytest.mark.parametrize("what", ["training", "held-out"])
def test_invalid_windows(small: Dataset, what: str, change: dict[str, float], words: str) -> None:
    signals, labels = small.train.signals.copy(), small.train.labels.copy()
    if "signals" in change:
        signals[5, 7, 4] = change["signals"]
    if "label" in change:
        labels[5] = change["label"]
    odd = replace(small.train, signals=signals, labels=labels)
    if "none" in change:
        odd = odd.select_subjects([])
    train, held_out = (odd, small.test) if what == "training" else (small.train, odd)
    with pytest.raises(InputError, match=words.format(what=what)):
        fit(train, held_out, small_recipe(), 6)


def test_coarse_labels_that_do_not_fit_the_data(small: Dataset) -> None:
    with pytest.raises(InputError, match="each of 6 labels, but the data has 7"):
        fit(small.train, None, two_heads(), 7)
    still = small.train.labels % 2 + 3  # sitting and standing
    windows = replace(small.train, labels=still)
    with pytest.raises(InputError, match="one coarse label only"):
        fit(windows, None, two_heads(), 6)


def test_one_label_or_a_constant_channel(small: Dataset) -> None:
    one = small.train.labels == 0
    windows = Windows(small.train.signals[one], small.train.labels[one], small.train.subjects[one])
    with pytest.raises(InputError, match="one label only"):
        fit(windows, None, small_recipe(), 6)
    dead = small.train.signals.copy()
    dead[:, :, 4] = 1.0
    with pytest.raises(InputError, match=r"channel 4 .* constant"):
        fit(Windows(dead, small.train.labels, small.train.subjects), None, small_recipe(), 6)
