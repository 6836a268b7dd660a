"""TF1RMSprop: comparison with the formula in NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from harexport.training.tf1 import TF1RMSprop

# nothing, a gradient that comes after a long pause, ordinary ones
GRADIENTS = np.concatenate([np.full((1, 3), 0.3), np.zeros((300, 3)), np.random.default_rng(0).normal(size=(4, 3))])


def _by_formula(start: np.ndarray, gradients: np.ndarray, rate: float) -> np.ndarray:
    value, square = start.copy(), np.ones_like(start)
    for g in gradients:
        square = 0.9 * square + 0.1 * g * g
        value = value - rate * g / np.sqrt(square + 1e-10)
    return value


@pytest.mark.parametrize("count", [1, 2, 302, 305])
def test_updates_match_the_formula(count: int) -> None:
    start = np.array([1.0, -2.0, 0.5])
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = TF1RMSprop([parameter], 0.01)
    for g in GRADIENTS[:count]:
        parameter.grad = torch.from_numpy(g.copy())
        optimizer.step()
    np.testing.assert_allclose(parameter.detach().numpy(), _by_formula(start, GRADIENTS[:count], 0.01), rtol=1e-12)


def test_first_step_differs_from_torch() -> None:
    """The first step is about learning rate times gradient; in torch it is over three learning rates."""
    ours, theirs = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    for parameter, optimizer in (
        (ours, TF1RMSprop([ours], 0.01)),
        (theirs, torch.optim.RMSprop([theirs], lr=0.01, alpha=0.9, eps=1e-10)),
    ):
        parameter.grad = torch.full((1,), 0.1)
        optimizer.step()
    assert abs(ours.item()) == pytest.approx(0.01 * 0.1 / np.sqrt(0.9 + 0.1 * 0.01), rel=1e-5)
    assert abs(theirs.item()) == pytest.approx(0.01 / np.sqrt(0.1), rel=1e-5)


def test_missing_gradients_and_restored_state() -> None:
    trained, idle = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = TF1RMSprop([trained, idle], 0.1)
    trained.grad = torch.tensor([1.0, -1.0])
    optimizer.step()
    assert idle.tolist() == [1.0, 1.0]
    other = torch.nn.Parameter(trained.detach().clone()), torch.nn.Parameter(torch.ones(2))
    resumed = TF1RMSprop(other, 0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other[0].grad = trained.grad.clone()
    optimizer.step()
    resumed.step()
    assert torch.equal(other[0], trained)
