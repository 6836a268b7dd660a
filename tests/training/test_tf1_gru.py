"""TF1GRU: gradients against finite differences and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harexport.training.tf1 import TF1GRU
from tests.helpers.networks import random_gru

both_candidates = pytest.mark.parametrize("relu", [True, False])


def _layer(inputs: int, hidden: int, relu: bool) -> TF1GRU:
    """Return a float64 layer with random weights."""
    torch.manual_seed(0)
    layer = TF1GRU(inputs, hidden, relu, "torch").double()
    for array in layer.parameters():
        torch.nn.init.normal_(array, std=0.7)
    return layer


def _by_autograd(layer: TF1GRU, x: torch.Tensor) -> torch.Tensor:
    """Return all states [steps, hidden, n], computed with autograd."""
    units, h, states = layer.hidden, x.new_zeros(layer.hidden, x.shape[2]), []
    for now in layer.input_weight @ x + layer.bias[:, None]:
        gates = torch.sigmoid(now[: 2 * units] + layer.recurrent_weight[: 2 * units] @ h)
        r, z = gates[:units], gates[units:]
        n = now[2 * units :] + layer.recurrent_weight[2 * units :] @ (r * h)
        h = (1 - z) * (torch.relu(n) if layer.relu else torch.tanh(n)) + z * h
        states.append(h)
    return torch.stack(states)


@both_candidates
@pytest.mark.parametrize("last", [True, False])
def test_gradients_match_finite_differences(relu: bool, last: bool) -> None:
    layer = _layer(inputs=3, hidden=4, relu=relu)
    x = torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=True)
    arrays = tuple(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x, last), (x, *arrays))


@both_candidates
def test_gradients_match_autograd(relu: bool) -> None:
    layer = _layer(inputs=6, hidden=9, relu=relu)
    with torch.no_grad():
        for array in layer.parameters():
            array *= 0.5  # a ReLU candidate's states grow without bounds on larger ones
    x = torch.randn(128, 6, 11, dtype=torch.float64, requires_grad=True)
    wanted = torch.randn(128, 9, 11, dtype=torch.float64)
    ours, theirs = layer(x, last=False), _by_autograd(layer, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    for a, b in (((ours * wanted).sum(), (theirs * wanted).sum()), (layer(x, last=True).sum(), theirs[-1].sum())):
        sources = (x, *layer.parameters())
        for mine, expected in zip(
            torch.autograd.grad(a, sources), torch.autograd.grad(b, sources, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(mine, expected, rtol=1e-8, atol=1e-10)


@both_candidates
def test_states_match_the_reference(relu: bool) -> None:
    (reference,) = random_gru(relu_candidate=relu).gru
    layer = TF1GRU(16, 16, relu, "torch").double()
    arrays = (reference.input_weight, reference.recurrent_weight, reference.bias)
    with torch.no_grad():
        for parameter, values in zip(layer.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(values))
        sequences = np.random.default_rng(1).normal(size=(5, 128, 16))
        states = layer(torch.from_numpy(sequences).permute(1, 2, 0), last=False).permute(2, 0, 1)
    np.testing.assert_allclose(states.numpy(), reference.forward(sequences), atol=1e-12)
    back = layer.to_layer()
    assert (back.relu, back.reset_after) == (relu, False)
    for name in ("input_weight", "recurrent_weight", "bias", "recurrent_bias"):
        np.testing.assert_array_equal(getattr(back, name), getattr(reference, name))


def test_second_pass_does_not_change_the_first_gradients() -> None:
    layer = _layer(inputs=3, hidden=4, relu=True)
    x, other = (torch.randn(6, 3, 5, dtype=torch.float64) for _ in range(2))
    alone = torch.autograd.grad(layer(x, last=True).sum(), layer.bias)[0]
    first = layer(x, last=True)
    layer(other, last=True).sum().backward()
    torch.testing.assert_close(torch.autograd.grad(first.sum(), layer.bias)[0], alone, rtol=0, atol=0)


def test_second_derivatives_are_refused() -> None:
    layer = _layer(inputs=2, hidden=3, relu=False)
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x, last=True).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
