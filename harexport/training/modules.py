"""The network as a torch module, and back to plain arrays."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import dropout

from harexport.model.layers import Conv1d, Head, Layer, LstmLayer
from harexport.model.network import Network
from harexport.model.recipe import ModelConfig, Recipe
from harexport.training import coarse_labels
from harexport.training.tf1 import Gru


class HarNet(nn.Module):
    """Normalisation, strided input layer, stacked LSTM or GRU, linear heads; windows [n, window, channels] -> logits.

    `coarse` is the second head, None without one. The initial values are drawn on the CPU.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, recipe: Recipe, window: int, mean: NDArray[np.floating], std: NDArray[np.floating], labels: int
    ) -> None:
        super().__init__()
        keys = recipe.model
        channels = len(mean)
        self.window, self.frame, self.hop, self.relu = window, keys.frame, keys.hop, keys.relu
        self.steps = (window - keys.frame) // keys.hop + 1
        self.cell, self.share = keys.cell, keys.dropout
        self.register_buffer("mean", torch.as_tensor(np.asarray(mean), dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(np.asarray(std), dtype=torch.float32))
        self.input = nn.Linear(keys.frame * channels, keys.input_units)
        widths = [keys.input_units, *[keys.hidden] * keys.layers]
        self.stack = nn.ModuleList(_layer(keys, inputs) for inputs in widths[:-1])
        self.head: nn.Module = nn.Linear(keys.hidden, labels)
        if keys.head_units:
            self.head = nn.Sequential(nn.Linear(keys.hidden, keys.head_units), nn.Linear(keys.head_units, labels))
        self.coarse = nn.Linear(keys.hidden, coarse_labels.outputs(keys.coarse)) if keys.coarse else None
        for layer in self.stack:
            if isinstance(layer, nn.LSTM):
                _initialise(layer, keys)
        if keys.init == "tf1":
            for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
                nn.init.normal_(linear.weight)
                nn.init.normal_(linear.bias)

    def heads(self) -> dict[str, nn.Module]:
        """The heads under the names that `Network.heads` gives them."""
        return {"head": self.head} | ({"coarse": self.coarse} if self.coarse is not None else {})

    def forward(self, windows: Tensor) -> Tensor:
        logits: Tensor = self.head(self.last_state(windows))
        return logits

    def last_state(self, windows: Tensor) -> Tensor:
        """What the heads read: the last layer's last state [n, hidden], dropout applied."""
        x = (windows - self.mean) / self.std
        # [n, steps, channels, frame] from unfold; frame before channels, as Network.input.weight has it
        frames = x.unfold(1, self.frame, self.hop).transpose(2, 3).flatten(2)
        state = self._gru(frames) if self.cell == "gru" else self._lstm(frames)
        return self._dropped(state)

    def _lstm(self, frames: Tensor) -> Tensor:
        steps = self.input(frames)
        if self.relu:
            steps = torch.relu(steps)
        # steps first: torch's CPU kernel is a fifth faster on that layout
        states = self._dropped(steps).transpose(0, 1).contiguous()
        for k, layer in enumerate(self.stack):
            states, _ = layer(self._dropped(states) if k else states)
        last: Tensor = states[-1]
        return last

    def _gru(self, frames: Tensor) -> Tensor:
        # steps first and windows last, as Gru reads them; turned before the input layer, where there is less to turn
        turned = frames.permute(1, 2, 0).contiguous()
        states = torch.baddbmm(self.input.bias[:, None], self.input.weight.expand(self.steps, -1, -1), turned)
        if self.relu:
            states = torch.relu(states)
        for k, layer in enumerate(self.stack):
            states = layer(self._dropped(states), last=k == len(self.stack) - 1)
        return states.t().contiguous()

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout whose draws come from the CPU's generator, on whatever device `x` is."""
        if x.is_cpu or not self.training or not self.share:
            return dropout(x, self.share, self.training)
        return x * dropout(torch.ones(x.shape, device="cpu"), self.share).to(x.device)

    def to_network(self) -> Network:
        """The trained arrays, float32 on the CPU. A head of two linear layers becomes their product."""
        channels = len(self.mean)
        heads = {name: _head(module) for name, module in self.heads().items()}
        return Network(
            window=self.window,
            mean=_array(self.mean),
            std=_array(self.std),
            input=Conv1d(
                _array(self.input.weight).reshape(-1, self.frame, channels),
                _array(self.input.bias),
                self.hop,
                self.relu,
            ),
            recurrent_layers=tuple(_plain(layer) for layer in self.stack),
            head=heads["head"],
            coarse_head=heads.get("coarse"),
        )


def _layer(keys: ModelConfig, inputs: int) -> nn.Module:
    if keys.cell == "gru":
        return Gru(inputs, keys.hidden, keys.candidate == "relu", keys.init)
    return nn.LSTM(inputs, keys.hidden)


def _initialise(lstm: nn.LSTM, keys: ModelConfig) -> None:
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias_hh"):
            # One bias is enough; the second carries the constant of the forget gate (gates: i, f, g, o)
            # and is not trained, so it is neither decayed nor averaged.
            parameter.requires_grad_(False)
            parameter.data.zero_()
            parameter.data[keys.hidden : 2 * keys.hidden] = keys.forget_bias
        elif keys.init == "tf1" and name.startswith("bias_ih"):
            parameter.data.zero_()
        elif keys.init == "tf1":
            # TensorFlow's default of 2016, uniform unit scaling over the joint kernel [x, h]: fan_in counts both.
            reach = math.sqrt(3.0 / (lstm.input_size + keys.hidden))
            nn.init.uniform_(parameter, -reach, reach)


def _plain(layer: nn.Module) -> Layer:
    if isinstance(layer, Gru):
        return layer.to_layer()
    named = dict(layer.named_parameters())
    return LstmLayer(
        _array(named["weight_ih_l0"]),
        _array(named["weight_hh_l0"]),
        _array(named["bias_ih_l0"] + named["bias_hh_l0"]),
    )


def _head(module: nn.Module) -> Head:
    """One linear layer, or several with nothing between them as one (their product in float64)."""
    first, *others = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    weight, bias = first.weight.detach().double(), first.bias.detach().double()
    for layer in others:
        outer = layer.weight.detach().double()
        weight, bias = outer @ weight, outer @ bias + layer.bias.detach()
    return Head(_array(weight), _array(bias))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32).copy()
