"""The GRU's float64 forward pass, compared with torch.nn.GRU and with the formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harexport.errors import InputError
from harexport.exporters import checks
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.layers import GruLayer
from harexport.model.network import Network
from tests.helpers.networks import GRU_SHAPES, contract_of, random_gru, random_network

every_shape = pytest.mark.parametrize("shape", GRU_SHAPES)


def _from_torch(module: torch.nn.GRU) -> GruLayer:
    """PyTorch has two biases. They add up, except for the candidate: its second one is inside the reset gate."""
    weight, recurrent, first, second = (array.detach().numpy() for array in module.parameters())
    gates = 2 * module.hidden_size
    bias = np.concatenate([first[:gates] + second[:gates], first[gates:]])
    return GruLayer(weight, recurrent, bias, second[gates:], reset_after=True)


def test_forward_matches_torch() -> None:
    torch.manual_seed(0)
    module = torch.nn.GRU(7, 11, batch_first=True, dtype=torch.float64)
    for array in module.parameters():
        torch.nn.init.normal_(array)
    sequence = np.random.default_rng(0).normal(size=(3, 20, 7))
    expected = module(torch.from_numpy(sequence))[0].detach().numpy()
    layer = _from_torch(module)
    np.testing.assert_allclose(layer.forward(sequence), expected, atol=1e-12)
    # the two conventions are not the same function
    other = replace(layer, reset_after=False).forward(sequence)
    assert np.abs(other - expected).max() > 0.1


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _gru_cell(layer: GruLayer, sequence: np.ndarray) -> np.ndarray:
    """TensorFlow 1's GRUCell, from its source: two kernels on [x, h] and gates r and u; u keeps the state.

    r, u = split(sigmoid([x, h] @ gate_kernel + gate_bias));  c = activation([x, r * h] @ candidate_kernel + bias)
    h = u * h + (1 - u) * c
    """
    gates = 2 * layer.hidden
    kernel = np.concatenate([layer.input_weight, layer.recurrent_weight], axis=1).T.astype(np.float64)
    gate_kernel, candidate_kernel = kernel[:, :gates], kernel[:, gates:]
    h = np.zeros(layer.hidden)
    states = []
    for x in sequence:
        r, u = np.split(_sigmoid(np.concatenate([x, h]) @ gate_kernel + layer.bias[:gates]), 2)
        c = np.concatenate([x, r * h]) @ candidate_kernel + layer.bias[gates:]
        h = u * h + (1 - u) * (np.maximum(c, 0) if layer.relu else np.tanh(c))
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("relu", [True, False])
def test_forward_matches_tensorflow_1(relu: bool) -> None:
    (layer,) = random_gru(relu_candidate=relu).gru
    sequences = np.random.default_rng(1).normal(size=(2, 128, 16))
    for sequence, states in zip(sequences, layer.forward(sequences), strict=True):
        np.testing.assert_allclose(states, _gru_cell(layer, sequence), atol=1e-12)


def _by_hand(layer: GruLayer, sequence: np.ndarray) -> np.ndarray:
    """Unit by unit, in both conventions, from the formulas of ONNX's operator GRU."""
    h, states, n = np.zeros(layer.hidden), [], layer.hidden
    weight, back = layer.input_weight.astype(np.float64), layer.recurrent_weight.astype(np.float64)
    for x in sequence:
        r = [_sigmoid(weight[k] @ x + back[k] @ h + layer.bias[k]) for k in range(n)]
        z = [_sigmoid(weight[n + k] @ x + back[n + k] @ h + layer.bias[n + k]) for k in range(n)]
        new = []
        for k in range(n):
            row = 2 * n + k
            if layer.reset_after:
                product = r[k] * (back[row] @ h + layer.recurrent_bias[k])
            else:
                product = sum(back[row, j] * r[j] * h[j] for j in range(n))
            c = weight[row] @ x + layer.bias[row] + product
            new.append((1 - z[k]) * (max(c, 0.0) if layer.relu else np.tanh(c)) + z[k] * h[k])
        h = np.array(new)
        states.append(h)
    return np.array(states)


@every_shape
def test_logits_of_both_heads_match_the_formulas(shape: str) -> None:
    network = GRU_SHAPES[shape]
    windows = checks.synthetic_windows(contract_of(network), count=2)
    rows = network.input.forward((windows.astype(np.float64) - network.mean) / network.std)
    for k, sequence in enumerate(rows):
        for layer in network.gru:
            sequence = _by_hand(layer, sequence)
        for name, head in network.heads().items():
            expected = head.weight.astype(np.float64) @ sequence[-1] + head.bias
            np.testing.assert_allclose(network.logits(windows, head=name)[k], expected, atol=1e-12)


@every_shape
def test_folding_normalization_and_input_layer_keeps_the_logits(shape: str) -> None:
    network = GRU_SHAPES[shape]
    windows = np.random.default_rng(1).normal(size=(5, network.window, network.num_channels))
    for head in network.heads():
        np.testing.assert_allclose(
            network.fold_input().logits(windows, head=head), network.logits(windows, head=head), atol=1e-10
        )


@every_shape
def test_a_checkpoint_round_trip_keeps_layers_and_heads(shape: str, tmp_path: Path) -> None:
    network = GRU_SHAPES[shape]
    path = tmp_path / "x.safetensors"
    saved = Checkpoint(network, contract_of(network), recipes.load("edge"), 3)
    checkpoints.save(saved, path)
    found = checkpoints.load(path)
    assert (found.contract, found.digest) == (saved.contract, saved.digest)
    assert found.network.structure() == network.structure()
    assert found.network.arrays().keys() == network.arrays().keys()
    windows = checks.synthetic_windows(contract_of(network), count=3)
    for head in network.heads():
        np.testing.assert_array_equal(found.network.logits(windows, head=head), network.logits(windows, head=head))


def test_the_digest_depends_on_the_convention() -> None:
    network = random_gru(reset_after=True)
    other = network.replace(recurrent_layers=(replace(network.gru[0], relu=False),))

    def digest(model: Network) -> str:
        return Checkpoint(model, contract_of(model), recipes.load("edge"), 0).digest

    assert digest(network) != digest(other)


def test_layers_that_do_not_fit() -> None:
    network = random_gru(hidden=(16, 16))
    first, second = network.gru
    for other in (
        replace(second, relu=False),
        replace(second, reset_after=True),
        random_network(units=16, hidden=(16,)).lstm[0],
    ):  # no stack, hence stored layer by layer
        mixed = network.replace(recurrent_layers=(first, other))
        assert not mixed.is_stack
        assert len(mixed.structure()["layers"]) == 5
    with pytest.raises(InputError, match=r"gru\.1: recurrent_bias has shape \(15,\), expected \(16,\)"):
        network.replace(recurrent_layers=(first, replace(second, recurrent_bias=second.recurrent_bias[:15])))
    assert network.coarse_head is not None
    with pytest.raises(InputError, match=r"coarse: weight has shape \(5, 9\), expected \(5, 16\)"):
        network.replace(coarse_head=replace(network.coarse_head, weight=network.coarse_head.weight[:, :9]))
    arrays, structure = network.arrays(), network.structure()
    for missing in ("gru.1.recurrent_bias", "coarse.bias"):
        with pytest.raises(InputError, match=f"the array '{missing}' is missing"):
            Network.from_arrays({name: a for name, a in arrays.items() if name != missing}, structure)
    with pytest.raises(InputError, match=r"unknown arrays"):
        Network.from_arrays(arrays, {key: value for key, value in structure.items() if key != "gru"})
