"""The network as a PyTorch module, and its conversion to plain arrays.

A module of a layer maps a tensor and its layout to another tensor and layout: "ntc" [windows, steps, channels], "tnc",
"tcn", or "nc" for vectors. To support another layer, add it to `_create`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from harexport.errors import InputError
from harexport.model import layer_config as configs
from harexport.model.layer_config import LayerConfig
from harexport.model.layers import (
    Activation,
    Branches,
    Cell,
    Conv1d,
    Flatten,
    GruLayer,
    Layer,
    Linear,
    LstmLayer,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Shape,
    Step,
    shape_after,
)
from harexport.model.network import Network
from harexport.model.recipe import Recipe
from harexport.training import coarse_labels
from harexport.training.tf1 import TF1GRU

_LEAKY_SLOPE = 0.01
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
}
_ALPHAS = {"leaky_relu": _LEAKY_SLOPE, "elu": 1.0}

Output = tuple[Tensor, str]


class HarNet(nn.Module):
    """Normalization, the layers of a recipe, linear heads.

    Args:
        recipe: Recipe with the architecture.
        window: Samples per window.
        mean: Mean of each input channel.
        std: Standard deviation of each input channel.
        num_labels: Number of labels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, recipe: Recipe, window: int, mean: NDArray[np.floating], std: NDArray[np.floating], num_labels: int
    ) -> None:
        super().__init__()
        keys = recipe.model
        self.window = window
        self.register_buffer("mean", torch.as_tensor(np.asarray(mean), dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(np.asarray(std), dtype=torch.float32))
        try:
            self.layers, shape = _create_all(keys.layer_list(), (window, len(mean)), keys.init, "model.layers")
            if len(shape) > 1:
                raise InputError("the last of model.layers returns a sequence; add last_step, mean, max or flatten")
        except InputError as error:
            raise InputError(f"recipe {recipe.name}: {error}") from None
        (width,) = shape
        self.head: nn.Module = nn.Linear(width, num_labels)
        if keys.head_units:
            self.head = nn.Sequential(nn.Linear(width, keys.head_units), nn.Linear(keys.head_units, num_labels))
        self.coarse = nn.Linear(width, coarse_labels.num_coarse_labels(keys.coarse)) if keys.coarse else None
        for module in self.modules():
            if isinstance(module, _Lstm):
                module.initialize(keys.init)
        for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
            if keys.init != "torch":
                std_of_values, mean_of_biases = (1.0, 0.0) if keys.init == "tf1" else (0.2, 0.3)
                nn.init.normal_(linear.weight, 0.0, std_of_values)
                nn.init.normal_(linear.bias, mean_of_biases, std_of_values)

    @property
    def recurrent_modules(self) -> list[_Lstm | _Gru | _Tf1Gru]:
        """The modules of the recurrent layers."""
        return [module for module in self.modules() if isinstance(module, _Lstm | _Gru | _Tf1Gru)]

    @property
    def num_steps(self) -> int:
        """Steps of the first recurrent layer, or samples of a window."""
        return next((module.steps for module in self.recurrent_modules), self.window)

    def heads(self) -> dict[str, nn.Module]:
        """Return the heads by the names of `Network.heads`."""
        return {"head": self.head} | ({"coarse": self.coarse} if self.coarse is not None else {})

    def forward(self, windows: Tensor) -> Tensor:
        """Return the logits [n, labels] of windows [n, window, channels]."""
        logits: Tensor = self.head(self.features(windows))
        return logits

    def features(self, windows: Tensor) -> Tensor:
        """Return the input of the heads [n, features]."""
        return _run(self.layers, (windows - self.mean) / self.std, "ntc")[0]

    def to_network(self) -> Network:
        """Return the trained arrays. A head of two linear layers becomes one, their product."""
        heads = {name: _to_linear(module) for name, module in self.heads().items()}
        layers = (Normalize(_array(self.mean), _array(self.std)), *_to_layers(self.layers), heads["head"])
        return Network(self.window, len(self.mean), layers, heads.get("coarse"))


class _Module(nn.Module):
    """A module of a layer."""

    def forward(self, x: Tensor, layout: str) -> Output:
        raise NotImplementedError

    def to_layers(self) -> tuple[Layer, ...]:
        """Return its layers in a network; none if it is for training only."""
        return ()


def _run(modules: nn.ModuleList, x: Tensor, layout: str) -> Output:
    for module in modules:
        x, layout = module(x, layout)
    return x, layout


def _to_layers(modules: nn.ModuleList) -> tuple[Layer, ...]:
    return tuple(layer for module in modules for layer in module.to_layers())  # type: ignore[operator]


def _arrange(x: Tensor, layout: str, target: str) -> Tensor:
    """Return a sequence in another layout; vectors are not changed."""
    if layout in ("nc", target):
        return x
    return x.permute([layout.index(axis) for axis in target]).contiguous()


class _Conv(_Module):
    """A convolution as a linear layer on frames. For `features_first`, the output has the layout of TF1GRU."""

    def __init__(self, config: configs.Conv1dConfig, channels: int, features_first: bool) -> None:
        super().__init__()
        self.config, self.channels, self.features_first = config, channels, features_first
        self.linear = nn.Linear(config.kernel * channels, config.channels)

    def forward(self, x: Tensor, layout: str) -> Output:
        keys = self.config
        x = _arrange(x, layout, "ntc")
        if keys.padding:
            x = functional.pad(x, (0, 0, keys.padding, keys.padding))
        # unfold: [n, steps, channels, kernel] -> [n, steps, kernel * channels], the order of Conv1d.weight
        frames = x.unfold(1, keys.dilation * (keys.kernel - 1) + 1, keys.stride)[..., :: keys.dilation]
        frames = frames.transpose(2, 3).flatten(2)
        if self.features_first:
            frames = frames.permute(1, 2, 0).contiguous()
            bias, weight = self.linear.bias[:, None], self.linear.weight.expand(len(frames), -1, -1)
            rows, layout = torch.baddbmm(bias, weight, frames), "tcn"
        else:
            rows, layout = self.linear(frames), "ntc"
        return _activate(rows, keys.activation), layout

    def to_layers(self) -> tuple[Layer, ...]:
        keys, weight = self.config, _array(self.linear.weight)
        conv = Conv1d(
            weight.reshape(-1, keys.kernel, self.channels),
            _array(self.linear.bias),
            keys.stride,
            (keys.padding, keys.padding),
            keys.dilation,
            keys.activation == "relu",
        )
        return conv, *(() if conv.relu else _to_activation(keys.activation))


class _Linear(_Module):
    def __init__(self, config: configs.LinearConfig, inputs: int) -> None:
        super().__init__()
        self.config, self.linear = config, nn.Linear(inputs, config.units)

    def forward(self, x: Tensor, layout: str) -> Output:
        layout, before = ("ntc", layout) if layout == "tcn" else (layout, layout)
        return _activate(self.linear(_arrange(x, before, layout)), self.config.activation), layout

    def to_layers(self) -> tuple[Layer, ...]:
        relu = self.config.activation == "relu"
        layer = Linear(_array(self.linear.weight), _array(self.linear.bias), relu)
        return layer, *(() if relu else _to_activation(self.config.activation))


class _Plain(_Module):
    """A layer without parameters: a function of a sequence [windows, steps, channels], or of a tensor of any layout."""

    def __init__(self, function: Callable[[Tensor], Tensor], layers: tuple[Layer, ...], output: str = "") -> None:
        super().__init__()
        self.function, self.layers, self.output = function, layers, output

    def forward(self, x: Tensor, layout: str) -> Output:
        if not self.output:  # elementwise
            return self.function(x), layout
        return self.function(_arrange(x, layout, "ntc")), self.output

    def to_layers(self) -> tuple[Layer, ...]:
        return self.layers


class _Dropout(_Module):
    """Dropout with the CPU's generator, on every device."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, layout: str) -> Output:
        if x.is_cpu or not self.training or not self.rate:
            return functional.dropout(x, self.rate, self.training), layout
        return x * functional.dropout(torch.ones(x.shape, device="cpu"), self.rate).to(x.device), layout


class _BatchNorm(_Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, layout: str) -> Output:
        layout, before = ("ntc", layout) if layout == "tcn" else (layout, layout)
        x = _arrange(x, before, layout)
        return self.norm(x.reshape(-1, x.shape[-1])).reshape(x.shape), layout

    def to_layers(self) -> tuple[Layer, ...]:
        """Normalize: weight * (x - mean) / deviation + bias."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        std = (norm.running_var.double() + norm.eps).sqrt() / norm.weight.detach().double()
        return (Normalize(_array(norm.running_mean - norm.bias.detach().double() * std), _array(std)),)


class _Lstm(_Module):
    def __init__(self, config: configs.LstmConfig, shape: Shape) -> None:
        super().__init__()
        self.config, (self.steps, inputs) = config, shape
        self.lstm = nn.LSTM(inputs, config.units, bidirectional=config.direction == "both")

    def initialize(self, init: str) -> None:
        """Set the initial values after those of all other layers were drawn."""
        hidden = self.config.units
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                # The second bias holds the constant of the forget gate (gates: i, f, g, o). It is not trained, hence
                # neither decayed nor averaged.
                parameter.requires_grad_(False)
                parameter.data.zero_()
                parameter.data[hidden : 2 * hidden] = self.config.forget_bias
            elif init == "tf1" and name.startswith("bias_ih"):
                parameter.data.zero_()
            elif init == "tf1":
                # TensorFlow's default of 2016: uniform unit scaling over the joint kernel [x, h], fan_in of both
                bound = math.sqrt(3.0 / (self.lstm.input_size + hidden))
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, layout: str) -> Output:
        # [steps, n, units]: PyTorch's CPU kernel is a fifth faster with this layout
        return _run_recurrent(self.lstm, _arrange(x, layout, "tnc"), self.config)

    def to_layers(self) -> tuple[Layer, ...]:
        named = dict(self.lstm.named_parameters())

        def cell(suffix: str) -> LstmLayer:
            bias = named[f"bias_ih_l0{suffix}"] + named[f"bias_hh_l0{suffix}"]
            return LstmLayer(
                _array(named[f"weight_ih_l0{suffix}"]), _array(named[f"weight_hh_l0{suffix}"]), _array(bias)
            )

        return _to_recurrent(self.config, cell)


class _Gru(_Module):
    """torch.nn.GRU, with the reset gate after the matrix product."""

    def __init__(self, config: configs.GruConfig, shape: Shape) -> None:
        super().__init__()
        self.config, (self.steps, inputs) = config, shape
        self.gru = nn.GRU(inputs, config.units, bidirectional=config.direction == "both")

    def forward(self, x: Tensor, layout: str) -> Output:
        return _run_recurrent(self.gru, _arrange(x, layout, "tnc"), self.config)

    def to_layers(self) -> tuple[Layer, ...]:
        named, gates = dict(self.gru.named_parameters()), 2 * self.config.units

        def cell(suffix: str) -> GruLayer:
            first, second = _array(named[f"bias_ih_l0{suffix}"]), _array(named[f"bias_hh_l0{suffix}"])
            first[:gates] += second[:gates]
            weights = _array(named[f"weight_ih_l0{suffix}"]), _array(named[f"weight_hh_l0{suffix}"])
            return GruLayer(*weights, first, second[gates:], reset_after=True)

        return _to_recurrent(self.config, cell)


class _Tf1Gru(_Module):
    def __init__(self, config: configs.GruConfig, shape: Shape, init: str) -> None:
        super().__init__()
        self.config, (self.steps, inputs) = config, shape
        directions = 2 if config.direction == "both" else 1
        self.cells = nn.ModuleList(
            TF1GRU(inputs, config.units, config.candidate == "relu", init) for _ in range(directions)
        )

    def forward(self, x: Tensor, layout: str) -> Output:
        x, last = _arrange(x, layout, "tcn"), self.config.last
        outputs = []
        for cell, is_backward in zip(self.cells, _directions(self.config), strict=True):
            states = cell(x.flip(0) if is_backward else x, last=last)
            outputs.append(states.flip(0) if is_backward and not last else states)
        states = torch.cat(outputs, dim=-2) if len(outputs) > 1 else outputs[0]
        return (states.t().contiguous(), "nc") if last else (states, "tcn")

    def to_layers(self) -> tuple[Layer, ...]:
        def cell(suffix: str) -> GruLayer:
            module = self.cells[1 if suffix else 0]
            assert isinstance(module, TF1GRU)
            return module.to_layer()

        return _to_recurrent(self.config, cell)


class _Branches(_Module):
    def __init__(self, kind: str, branches: list[nn.ModuleList]) -> None:
        super().__init__()
        self.kind, self.branches = kind, nn.ModuleList(branches)

    def forward(self, x: Tensor, layout: str) -> Output:
        outputs, output_layout = [], "nc"
        for branch in self.branches:
            y, output_layout = _run(branch, x, layout)  # type: ignore[arg-type]
            outputs.append(_arrange(y, output_layout, "ntc"))
        joined = torch.stack(outputs).sum(0) if self.kind == "sum" else torch.cat(outputs, dim=-1)
        return joined, "nc" if output_layout == "nc" else "ntc"

    def to_layers(self) -> tuple[Layer, ...]:
        branches = tuple(_to_layers(branch) for branch in self.branches)  # type: ignore[arg-type]
        return (Branches("sum" if self.kind == "sum" else "concat", branches),)


def _create_all(layers: tuple[LayerConfig, ...], shape: Shape, init: str, where: str) -> tuple[nn.ModuleList, Shape]:
    """Return the modules of layers, and the shape of their output. Raises InputError if they do not fit."""
    modules = nn.ModuleList()
    for k, layer in enumerate(layers):
        following = next((other for other in layers[k + 1 :] if not isinstance(other, configs.DropoutConfig)), None)
        features_first = isinstance(following, configs.GruConfig) and not following.reset_after
        try:
            modules.append(_create(layer, shape, init, features_first, f"{where}[{k}]"))
            shape = shape_after(_to_layers(modules[k:]), shape)
        except InputError as error:
            message = str(error)
            raise InputError(message if message.startswith(where) else f"{where}[{k}]: {message}") from None
    return modules, shape


def _create(layer: LayerConfig, shape: Shape, init: str, features_first: bool, where: str) -> _Module:
    if len(shape) == 1 and isinstance(layer, _NEED_SEQUENCE):
        raise InputError("this layer needs a sequence, but its input is a vector")
    match layer:
        case configs.Conv1dConfig():
            return _Conv(layer, shape[-1], features_first)
        case configs.LinearConfig():
            return _Linear(layer, shape[-1])
        case configs.ActivationConfig():
            return _Plain(lambda x: _activate(x, layer.function), _to_activation(layer.function))
        case configs.BatchNormConfig():
            return _BatchNorm(shape[-1])
        case configs.DropoutConfig():
            return _Dropout(layer.rate)
        case configs.MaxPoolConfig() | configs.AveragePoolConfig():
            is_max, size = isinstance(layer, configs.MaxPoolConfig), layer.kernel
            pool = functional.max_pool1d if is_max else functional.avg_pool1d
            result = (Pool("max" if is_max else "mean", size, size),)
            return _Plain(lambda x: pool(x.transpose(1, 2), size).transpose(1, 2), result, "ntc")
        case configs.LstmConfig():
            return _Lstm(layer, shape)
        case configs.GruConfig() if layer.reset_after:
            if layer.candidate != "tanh":
                raise InputError("candidate relu needs reset_after = false")
            return _Gru(layer, shape)
        case configs.GruConfig():
            return _Tf1Gru(layer, shape, init)
        case configs.LastStepConfig():
            return _Plain(lambda x: x[:, -1], (Step(),), "nc")
        case configs.MeanConfig():
            return _Plain(lambda x: x.mean(dim=1), (Reduce("mean"),), "nc")
        case configs.MaxConfig():
            return _Plain(lambda x: x.amax(dim=1), (Reduce("max"),), "nc")
        case configs.FlattenConfig():
            return _Plain(lambda x: x.flatten(1), (Flatten(),), "nc")
        case configs.SumConfig() | configs.ConcatConfig():
            branches = [_create_all(b, shape, init, f"{where}.branches[{k}]")[0] for k, b in enumerate(layer.branches)]
            return _Branches("sum" if isinstance(layer, configs.SumConfig) else "concat", branches)


_NEED_SEQUENCE = (
    configs.Conv1dConfig,
    configs.MaxPoolConfig,
    configs.AveragePoolConfig,
    configs.LstmConfig,
    configs.GruConfig,
    configs.LastStepConfig,
    configs.MeanConfig,
    configs.MaxConfig,
)


def _run_recurrent(module: nn.LSTM | nn.GRU, x: Tensor, config: configs.LstmConfig | configs.GruConfig) -> Output:
    """Run torch.nn.LSTM or torch.nn.GRU on [steps, n, channels]."""
    is_backward = config.direction == "backward"
    states, _ = module(x.flip(0) if is_backward else x)
    if not config.last:
        return (states.flip(0) if is_backward else states), "tnc"
    if config.direction == "both":  # each direction's last state
        return torch.cat([states[-1, :, : config.units], states[0, :, config.units :]], dim=1), "nc"
    return states[-1], "nc"


def _directions(config: configs.LstmConfig | configs.GruConfig) -> list[bool]:
    """Return whether each direction runs backward."""
    return {"forward": [False], "backward": [True], "both": [False, True]}[config.direction]


def _to_recurrent(config: configs.LstmConfig | configs.GruConfig, cell: Callable[[str], Cell]) -> tuple[Layer, ...]:
    """Return the recurrent layers; `cell` returns the arrays of a direction by the suffix of its parameters."""
    suffixes = ["", "_reverse"]
    parts = tuple(
        Recurrent(cell(suffix), is_backward, not config.last)
        for suffix, is_backward in zip(suffixes, _directions(config), strict=False)
    )
    return parts if len(parts) == 1 else (Branches("concat", tuple((part,) for part in parts)),)


def _activate(x: Tensor, name: str) -> Tensor:
    return x if name == "none" else _FUNCTIONS[name](x)


def _to_activation(name: str) -> tuple[Layer, ...]:
    return () if name == "none" else (Activation(name, _ALPHAS.get(name, 0.0)),)


def _to_linear(module: nn.Module) -> Linear:
    """Return one linear layer, or the float64 product of several without activations in between."""
    first, *others = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    weight, bias = first.weight.detach().double(), first.bias.detach().double()
    for layer in others:
        outer = layer.weight.detach().double()
        weight, bias = outer @ weight, outer @ bias + layer.bias.detach()
    return Linear(_array(weight), _array(bias))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32).copy()
