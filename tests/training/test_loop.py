"""The loop does what the recipe says, the same way every time."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from harexport.data import Dataset, Windows
from harexport.errors import CheckFailedError, InputError
from harexport.network import Network
from harexport.training import loop
from harexport.training import recipe as recipes
from harexport.training.loop import Plan, Row, State, fit
from harexport.training.models import HarNet

from .conftest import small_recipe


def _same(a: Network, b: Network) -> bool:
    return all(np.array_equal(x, b.arrays()[name]) for name, x in a.arrays().items())


def test_seed_plan_is_the_published_one() -> None:
    plan = Plan(7352, 1500, shuffled=False, epochs=300, report_windows=30000)
    assert plan.steps == 1470
    assert plan.report_steps == 20
    index = plan.index(4, seed=0)  # windows 6000 .. 7499: wraps round after 7351, in file order
    assert index[0] == 6000
    assert index[1352 - 1] == 7351
    assert index[1352] == 0
    assert plan.windows_seen(1470) == 2_205_000


def test_shuffled_plan_sees_every_window_once_an_epoch() -> None:
    plan = Plan(1000, 128, shuffled=True, epochs=3, report_windows=0)
    assert plan.steps == 3 * 8
    epochs = [torch.cat([plan.index(8 * e + k, seed=5) for k in range(8)]) for e in range(2)]
    for order in epochs:
        assert torch.equal(order.sort().values, torch.arange(1000))
    assert not torch.equal(*epochs)
    assert plan.windows_seen(8) == 1000
    assert plan.windows_seen(9) == 1128


def test_training_is_repeatable_bit_for_bit(small: Dataset) -> None:
    recipe = small_recipe()
    first, history = fit(small.train, small.test, recipe, 6, seed=3)
    again, repeated = fit(small.train, small.test, recipe, 6, seed=3)
    assert _same(first, again)
    assert history == repeated
    other, _ = fit(small.train, small.test, recipe, 6, seed=4)
    assert not _same(first, other)


@pytest.mark.parametrize("schedule", [{}, {"report_windows": 300}, {"order": "file", "report_windows": 200}])
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(small: Dataset, schedule: dict[str, object]) -> None:
    recipe = small_recipe(schedule=schedule)
    states: list[State] = []
    whole, history = fit(
        small.train, small.test, recipe, 6, on_report=lambda row, state, steps: states.append(copy.deepcopy(state))
    )
    assert len(states) >= 3
    resumed, rows = fit(small.train, small.test, recipe, 6, resume=states[1])
    assert _same(whole, resumed)
    assert rows == history


def test_reports_hold_the_held_out_subjects(small: Dataset) -> None:
    rows: list[Row] = []
    fit(small.train, small.test, small_recipe(), 6, on_report=lambda row, state, steps: rows.append(row))
    assert [row.windows for row in rows] == [len(small.train) * k for k in (1, 2, 3)]
    assert rows[-1].held_out_loss is not None
    assert rows[-1].loss < rows[0].loss
    _, alone = fit(small.train, None, small_recipe(schedule={"epochs": 1}), 6)
    assert alone[0].held_out_loss is None


def test_pieces_of_a_batch_give_the_whole_batchs_gradient(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(model={"dropout": 0.0}, optimiser={"l2": 0.01}, schedule={"epochs": 1})
    whole, history = fit(small.train, None, recipe, 6)
    monkeypatch.setattr(loop, "_PIECE_STEPS", 7 * 10)  # ten windows a piece
    pieces, rows = fit(small.train, None, recipe, 6)
    assert not _same(whole, pieces), "the pieces were not cut"
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(pieces.arrays()[name], array, atol=2e-4, err_msg=name)
    assert math.isclose(rows[0].loss, history[0].loss, rel_tol=1e-4)


def test_l2_counts_every_trained_array_and_nothing_else(small: Dataset) -> None:
    """SEEDS: 0.0015 x the sum over all trainable arrays, biases included, of half the sum of squares."""
    batch = len(small.train)
    keys = {"epochs": 1, "batch": batch, "order": "file", "rate": "constant"}
    plain = recipes.load("seed-lstm").to_dict()
    plain["schedule"].update(keys, report_windows=0)
    _, rows = fit(small.train, None, recipes.parse(plain, "seed-lstm"), 6, seed=1)
    torch.manual_seed(1)
    model = HarNet(recipes.load("seed-lstm"), 128, np.zeros(9), np.ones(9), 6)
    logits = model(torch.from_numpy(small.train.signals))
    expected = cross_entropy(logits, torch.from_numpy(small.train.labels))
    arrays = [p for name, p in model.named_parameters() if "bias_hh" not in name]
    assert len(arrays) == 2 + 6 + 2
    expected = expected + 0.0015 * sum(p.square().sum() / 2 for p in arrays)
    assert math.isclose(rows[0].loss, expected.item(), rel_tol=1e-5)


def test_seed_initial_values() -> None:
    """N(0, 1) for the linear layers with their biases, U(+-sqrt(3 / 64)) for the kernels, forget bias 1, else 0."""
    torch.manual_seed(0)
    model = HarNet(recipes.load("seed-lstm"), 128, np.zeros(9), np.ones(9), 6)
    linear = torch.cat([p.flatten() for layer in (model.input, model.head) for p in layer.parameters()])
    assert abs(linear.std().item() - 1) < 0.1
    named = dict(model.lstm.named_parameters())
    for kernel in ("weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"):
        assert named[kernel].abs().max() <= math.sqrt(3 / 64)
        assert abs(named[kernel].std().item() - math.sqrt(3 / 64) / math.sqrt(3)) < 0.01
    network = model.to_network()
    for layer in network.stack:
        np.testing.assert_array_equal(layer.bias, np.repeat([0, 1, 0, 0], 32))


def test_the_forget_bias_is_not_trained(small: Dataset) -> None:
    states: list[State] = []
    recipe = small_recipe(optimiser={"learning_rate": 0.05})
    fit(small.train, None, recipe, 6, on_report=lambda row, state, steps: states.append(state))
    for k in range(2):
        np.testing.assert_array_equal(states[-1].model[f"lstm.bias_hh_l{k}"], np.repeat([0, 1, 0, 0], 16))


def test_one_cycle_rises_then_falls_to_nothing() -> None:
    recipe = small_recipe(optimiser={"learning_rate": 0.01})
    rates = [loop._learning_rate(recipe, step, 1000) for step in range(1000)]
    assert math.isclose(rates[0], 0.01 / 25)
    assert math.isclose(max(rates), 0.01)
    assert rates.index(max(rates)) == 300
    assert rates[-1] < 1e-6


def test_normalisation_is_of_the_training_windows(small: Dataset) -> None:
    network, _ = fit(small.train, None, small_recipe(schedule={"epochs": 1}), 6)
    np.testing.assert_allclose(network.mean, small.train.signals.mean(axis=(0, 1), dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(network.std, small.train.signals.std(axis=(0, 1), dtype=np.float64), rtol=1e-5)


def test_training_that_diverges_says_what_to_lower(small: Dataset) -> None:
    recipe = small_recipe(optimiser={"l2": 1e38, "clip_norm": 0})
    with pytest.raises(CheckFailedError, match=r"not a number.*learning_rate"):
        fit(small.train, None, recipe, 6)


def test_steps_longer_than_a_window_are_refused(small: Dataset) -> None:
    with pytest.raises(InputError, match=r"model\.frame 129 is longer than a window of 128"):
        fit(small.train, None, small_recipe(model={"frame": 129}), 6)


def test_data_that_cannot_teach_is_refused(small: Dataset) -> None:
    one = small.train.labels == 0
    windows = Windows(small.train.signals[one], small.train.labels[one], small.train.subjects[one])
    with pytest.raises(InputError, match="one label only"):
        fit(windows, None, small_recipe(), 6)
    dead = small.train.signals.copy()
    dead[:, :, 4] = 1.0
    with pytest.raises(InputError, match=r"channel 4 .* constant"):
        fit(Windows(dead, small.train.labels, small.train.subjects), None, small_recipe(), 6)
