"""HarNet: equality with the NumPy network, initial values, devices."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harexport.errors import InputError
from harexport.model import recipe as recipes
from harexport.model.recipe import AugmentConfig, Recipe
from harexport.training.augmentation import Augmenter
from harexport.training.modules import HarNet
from harexport.training.tf1 import TF1GRU, TF1RMSprop
from tests.training.test_augmentation import some_windows

SHAPES: dict[str, dict[str, Any]] = {
    "edge": {"frame": 32, "hop": 16},
    "baseline-gru": {
        "cell": "gru", "candidate": "relu", "frame": 1, "hop": 1, "layers": 1, "head_units": 12,
        "coarse": [0, 1, 1, 3, 3, 5], "init": "tf1",
    },
    "two layers of GRU, strides": {"cell": "gru", "frame": 16, "hop": 8, "relu": False, "dropout": 0.3},
    "LSTM with two heads": {"frame": 8, "hop": 8, "head_units": 5, "coarse": [0, 0, 0, 1, 1, 2]},
}  # fmt: skip
every_shape = pytest.mark.parametrize("shape", SHAPES)


def _net(shape: str) -> HarNet:
    torch.manual_seed(0)
    keys = {"input_units": 20, "hidden": 12, **SHAPES[shape]}
    random = np.random.default_rng(0)
    mean, std = random.normal(0, 0.3, 9), random.uniform(0.3, 0.9, 9)
    return HarNet(recipes.parse({"name": "x", "model": keys}, "x"), 128, mean, std, 6)


def _windows(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 128, 9)).astype(np.float32)


@every_shape
def test_network_and_module_have_equal_logits(shape: str) -> None:
    model = _net(shape).eval()
    network, windows = model.to_network(), _windows(7)
    assert network.heads().keys() == model.heads().keys()
    with torch.no_grad():
        state = model.features(torch.from_numpy(windows))
        for name, head in model.heads().items():
            expected = network.logits(windows, head=name)
            np.testing.assert_allclose(head(state).numpy(), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["edge", "edge-tiny", "baseline-lstm", "baseline-gru"])
def test_short_form_and_list_of_layers_are_the_same_network(name: str) -> None:
    short = recipes.load(name)
    layers = msgspec.to_builtins(short.model.layer_list())
    other = {key: getattr(short.model, key) for key in ("init", "head_units", "coarse") if getattr(short.model, key)}
    listed = recipes.parse({"name": name, "model": {**other, "layers": layers}}, name)
    states = []
    for recipe in (short, listed):
        torch.manual_seed(0)
        states.append(HarNet(recipe, 128, np.zeros(9), np.ones(9), 6).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


_EVERY_KIND: list[dict[str, Any]] = [
    {"kind": "conv1d", "channels": 8, "kernel": 5, "padding": 2, "activation": "leaky_relu"},
    {"kind": "batch_norm"},
    {"kind": "max_pool", "kernel": 2},
    {"kind": "conv1d", "channels": 8, "kernel": 3, "stride": 2, "dilation": 2, "activation": "gelu"},
    {"kind": "sum", "branches": [[], [{"kind": "linear", "units": 8, "activation": "tanh"}]]},
    {"kind": "gru", "units": 6, "direction": "both", "reset_after": False, "candidate": "relu"},
    {"kind": "dropout", "rate": 0.5},
    {"kind": "activation", "function": "elu"},
    {"kind": "gru", "units": 5, "direction": "both"},
    {"kind": "lstm", "units": 5, "direction": "both"},
    {"kind": "average_pool", "kernel": 3},
    {
        "kind": "concat",
        "branches": [
            [{"kind": "lstm", "units": 4, "direction": "both", "last": True}],
            [{"kind": "gru", "units": 4, "direction": "backward", "reset_after": False, "last": True}],
            [{"kind": "mean"}],
            [{"kind": "max"}],
            [{"kind": "last_step"}],
            [{"kind": "flatten"}],
        ],
    },
    {"kind": "linear", "units": 12, "activation": "sigmoid"},
]


def test_every_kind_of_layer_has_equal_logits() -> None:
    def kinds(layers: list[dict[str, Any]]) -> set[str]:
        inner = [kinds(branch) for layer in layers for branch in layer.get("branches", [])]
        return {layer["kind"] for layer in layers}.union(*inner)

    assert kinds(_EVERY_KIND) == set(recipes._LAYER_KINDS)
    torch.manual_seed(0)
    recipe = recipes.parse({"name": "x", "model": {"layers": _EVERY_KIND}}, "x")
    model = HarNet(recipe, 128, np.full(9, 0.1), np.full(9, 0.7), 6)
    windows = _windows(20)
    model.train()
    model(torch.from_numpy(windows)).square().mean().backward()  # also updates the statistics of batch_norm
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(windows)).numpy()
    expected = model.to_network().logits(windows)
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"kind": "lstm", "units": 4}], "last of model.layers returns a sequence"),
        ([{"kind": "flatten"}, {"kind": "mean"}], r"model.layers\[1\]: this layer needs a sequence"),
        (
            [{"kind": "conv1d", "channels": 4, "kernel": 200}, {"kind": "flatten"}],
            r"model.layers\[0\]: Conv1d reads 200",
        ),
        ([{"kind": "sum", "branches": [[], [{"kind": "linear", "units": 4}]]}, {"kind": "mean"}], "cannot be joined"),
        ([{"kind": "gru", "units": 4, "candidate": "relu", "last": True}], "needs reset_after = false"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers: list[dict[str, Any]], words: str) -> None:
    recipe = recipes.parse({"name": "x", "model": {"layers": layers}}, "x")
    with pytest.raises(InputError, match=words):
        HarNet(recipe, 128, np.zeros(9), np.ones(9), 6)


def test_number_of_coarse_outputs() -> None:
    network = _net("LSTM with two heads").to_network()
    assert network.coarse_head is not None
    assert (len(network.coarse_head.weight), network.num_labels) == (3, 6)
    assert _net("edge").to_network().coarse_head is None


def test_initial_values_of_baseline_gru() -> None:
    """N(0, 1) for the linear layers with their biases, U(+-sqrt(3 / 32)) for the kernels, 1 for the gates, else 0."""
    torch.manual_seed(0)
    model = HarNet(recipes.load("baseline-gru"), 128, np.zeros(9), np.ones(9), 6)
    assert sum(p.numel() for p in model.parameters()) == 160 + (2 * 16 * 48 + 48) + (16 * 6 + 6) + (16 * 12 + 12 + 78)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(9, 16), (16, 12), (12, 6), (16, 6)]
    values = torch.cat([p.flatten() for m in linear for p in m.parameters()])
    assert abs(values.std().item() - 1) < 0.1
    (layer,) = (module for module in model.modules() if isinstance(module, TF1GRU))
    for kernel in (layer.input_weight, layer.recurrent_weight):
        assert kernel.abs().max() <= math.sqrt(3 / 32)
        assert abs(kernel.std().item() - math.sqrt(1 / 32)) < 0.01
    assert layer.bias.tolist() == [1.0] * 32 + [0.0] * 16
    network = model.to_network()
    assert (network.gru[0].reset_after, network.gru[0].relu) == (False, True)


class _OneDevice(TorchDispatchMode):
    """Inside, the operands of an operator must be on one device, as on a GPU; scalars may be on any."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operands = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor) and a.dim()]
        assert len({a.device.type for a in operands}) < 2, f"{func} on {[a.device for a in operands]}"
        return func(*args, **(kwargs or {}))


def test_device_check_finds_mixed_devices() -> None:
    with _OneDevice(), pytest.raises(AssertionError, match="mm"):
        torch.empty(3, 3, device="meta") @ torch.ones(3, 3)


def _trained(recipe_keys: dict[str, Any], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of training on `device`, from the windows on; the gradient of the input layer and the CPU's draws."""
    recipe: Recipe = recipes.parse({"name": "x", "model": recipe_keys}, "x")
    torch.manual_seed(0)
    model = HarNet(recipe, 128, np.zeros(9), np.ones(9), 6).to(device).train()
    keys = AugmentConfig(shift=32, speed=0.1, rotation_deg=10.0, noise=0.05, gain=0.02)
    augment = Augmenter(some_windows(), keys, torch.ones(9), torch.device(device))
    generator = torch.Generator().manual_seed(3)
    x = augment.batch(torch.arange(6), generator)
    assert x.device.type == device
    loss = torch.stack([head(model.features(x)).square().sum() for head in model.heads().values()]).sum()
    loss.backward()
    TF1RMSprop(model.parameters(), 0.1).step()
    gradient = model.layers[0].linear.weight.grad
    assert gradient is not None
    return gradient, torch.cat([torch.get_rng_state(), generator.get_state()])


@every_shape
def test_all_tensors_are_on_the_device_and_random_numbers_from_the_cpu(shape: str) -> None:
    """The meta device, which has shapes only, replaces a GPU."""
    keys = {"input_units": 20, "hidden": 12, "dropout": 0.2, **SHAPES[shape]}
    gradient, draws = _trained(keys, "cpu")
    with _OneDevice():
        elsewhere, same = _trained(keys, "meta")
    assert elsewhere.is_meta
    assert elsewhere.shape == gradient.shape
    assert torch.equal(draws, same)
