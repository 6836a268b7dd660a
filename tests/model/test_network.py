"""The float64 forward pass is the reference of all checks; two other implementations check it here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.model import recipe as recipes
from harexport.model.layers import Conv1d, LstmLayer, sigmoid
from harexport.model.network import Network, softmax
from harexport.runtimes.torch import TorchRunner
from harexport.training.trainer import fit
from tests.helpers.networks import GRU_SHAPES, SHAPES, random_network


def _by_hand(network: Network, window: np.ndarray) -> np.ndarray:
    """One window, step by step and unit by unit (Gers et al. 2000)."""

    def sigmoid(x: float) -> float:
        return 1.0 / (1.0 + np.exp(-x))

    x = (window.astype(np.float64) - network.mean) / network.std
    sequence = []
    for t in range(network.num_steps):
        frame = x[t * network.input.stride : t * network.input.stride + network.input.kernel_size]
        value = np.array([(frame * w).sum() for w in network.input.weight.astype(np.float64)]) + network.input.bias
        sequence.append(np.maximum(value, 0) if network.input.relu else value)
    for layer in network.recurrent_layers:
        h, c = np.zeros(layer.hidden), np.zeros(layer.hidden)
        states = []
        for value in sequence:
            gates = (
                layer.input_weight.astype(np.float64) @ value
                + layer.recurrent_weight.astype(np.float64) @ h
                + layer.bias
            )
            n = layer.hidden
            for k in range(n):
                c[k] = sigmoid(gates[n + k]) * c[k] + sigmoid(gates[k]) * np.tanh(gates[2 * n + k])
            h = np.array([sigmoid(gates[3 * n + k]) * np.tanh(c[k]) for k in range(n)])
            states.append(h)
        sequence = states
    return network.head.weight.astype(np.float64) @ sequence[-1] + network.head.bias


@pytest.mark.parametrize("name", SHAPES)
def test_forward_matches_the_formulas(name: str) -> None:
    network = SHAPES[name]
    windows = np.random.default_rng(0).normal(size=(2, network.window, network.num_channels)).astype(np.float32)
    logits = network.logits(windows)
    for k in range(2):
        np.testing.assert_allclose(logits[k], _by_hand(network, windows[k]), atol=1e-12)


def test_torch_matches_the_reference_on_all_test_windows(dataset: Dataset) -> None:
    """A network trained with torch.nn.LSTM: both implementations differ by less than 1e-5 on all 2947 windows."""
    table = recipes.load("edge").to_dict()
    table["schedule"]["epochs"] = 2
    network, _ = fit(dataset.train, None, recipes.parse(table, "edge"), 6)
    difference = np.abs(TorchRunner(network).logits(dataset.test.signals) - network.logits(dataset.test.signals))
    assert difference.shape == (2947, 6)
    assert difference.max() < 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_folding_normalization_and_input_layer_keeps_the_logits(name: str) -> None:
    network = SHAPES[name]
    windows = np.random.default_rng(1).normal(size=(5, network.window, network.num_channels))
    folded = network.fold_input()
    assert not folded.mean.any()
    assert (folded.std == 1).all()
    np.testing.assert_allclose(folded.logits(windows), network.logits(windows), atol=1e-11)


def test_chunks_do_not_change_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SHAPES["edge"]
    windows = np.random.default_rng(2).normal(size=(40, 128, 9))
    whole, progress = network.logits(windows), []
    monkeypatch.setattr("harexport.model.network._CHUNK", 16)
    np.testing.assert_allclose(network.logits(windows, progress.append), whole, atol=1e-13)
    assert progress == [16, 32, 40]


def test_round_trip_of_arrays() -> None:
    for network in SHAPES.values():
        back = Network.from_arrays(network.arrays(), network.structure())
        assert all(np.array_equal(a, back.arrays()[name]) for name, a in network.arrays().items())


def test_arrays_that_do_not_fit_are_refused() -> None:
    network = random_network()
    with pytest.raises(InputError, match=r"head: weight has shape \(6, 31\), expected \(6, 32\)"):
        network.replace(head=replace(network.head, weight=network.head.weight[:, :31]))
    with pytest.raises(InputError, match=r"lstm\.1: bias has shape"):
        network.replace(
            recurrent_layers=(
                network.recurrent_layers[0],
                replace(network.recurrent_layers[1], bias=network.recurrent_layers[1].bias[:5]),
            ),
        )
    with pytest.raises(InputError, match="std is 0"):
        network.replace(std=np.zeros(9))
    with pytest.raises(InputError, match="ends with a sequence"):
        network.replace(recurrent_layers=())
    wide = Conv1d(np.zeros((32, 200, 9)), np.zeros(32))
    with pytest.raises(InputError, match="reads 200 steps every 1, but its input has 128"):
        network.replace(input=wide)
    with pytest.raises(InputError, match="contains NaN"):
        network.replace(mean=np.full(9, np.nan))
    arrays, shape = network.arrays(), network.structure()
    with pytest.raises(InputError, match=r"x\.bin: the array 'input.bias' is missing"):
        Network.from_arrays({k: v for k, v in arrays.items() if k != "input.bias"}, shape, "x.bin")
    with pytest.raises(InputError, match=r"x\.bin: unknown arrays lstm\.1\.scale"):
        Network.from_arrays({**arrays, "lstm.1.scale": np.ones(1)}, shape, "x.bin")
    renamed = {name.replace("lstm.1.bias", "zzz"): array for name, array in arrays.items()}
    with pytest.raises(InputError, match=r"the array 'lstm.1.bias' is missing"):
        Network.from_arrays(renamed, shape)
    with pytest.raises(InputError, match="expected three axes"):
        Network.from_arrays({**arrays, "input.weight": np.zeros(9)}, shape)


def test_unknown_kind_of_layer_is_refused() -> None:
    structure = {"window": 128, "channels": 9, "layers": [{"layer_type": "Attention"}]}
    with pytest.raises(InputError, match="unknown kind of layer 'Attention'; update harexport"):
        Network.from_arrays({}, structure)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_windows_are_refused(value: float) -> None:
    windows = np.zeros((3, 128, 9))
    windows[1, 5, 2] = value
    with pytest.raises(InputError, match="window 1 contains NaN or infinity"):
        random_network().logits(windows)


def test_windows_of_another_shape_are_refused() -> None:
    for shape in ((3, 127, 9), (3, 9, 128), (128, 9), (3, 128, 6)):
        with pytest.raises(InputError, match=r"the model expects \[n, 128, 9\]"):
            random_network().logits(np.zeros(shape))
    with pytest.raises(InputError, match="int64"):
        random_network().logits(np.zeros((1, 128, 9), np.int64))


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4 - np.log(3)]])), [[0.75, 0.25]])


@pytest.mark.parametrize("name", ["edge", "gru", "gru-after"])
def test_intermediates_add_up(name: str) -> None:
    networks = {
        "edge": SHAPES["edge"],
        "gru": GRU_SHAPES["baseline-gru"],
        "gru-after": GRU_SHAPES["pytorch"],
    }
    network = networks[name]
    windows = np.random.default_rng(3).normal(size=(3, 128, 9))
    sequence = network.input.forward(network.normalize(windows))
    states = network.states(windows)
    assert len(states) == len(network.recurrent_layers)
    for layer, expected in zip(network.recurrent_layers, states, strict=True):
        found = layer.forward(sequence, return_intermediates=True)
        np.testing.assert_array_equal(found.states, expected)
        before = np.concatenate([np.zeros_like(expected[:, :1]), expected[:, :-1]], axis=1)  # h of the step before
        gates = slice(None, 2 * layer.hidden)
        np.testing.assert_allclose(
            found.recurrent[..., gates], (before @ layer.recurrent_weight.T.astype(np.float64))[..., gates], atol=1e-12
        )
        np.testing.assert_allclose(found.projected, sequence @ layer.input_weight.T.astype(np.float64) + layer.bias)
        if isinstance(layer, LstmLayer):
            output_gate = (found.projected + found.recurrent)[..., 3 * layer.hidden :]
            np.testing.assert_allclose(sigmoid(output_gate) * np.tanh(found.cells), found.states, atol=1e-12)
        sequence = expected
    np.testing.assert_array_equal(network.head.forward(states[-1][:, -1]), network.logits(windows))
