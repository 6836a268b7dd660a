"""The network as a PyTorch module, and its conversion to plain arrays."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import dropout

from harexport.model.layers import Conv1d, Layer, Linear, LstmLayer
from harexport.model.network import Network
from harexport.model.recipe import ModelConfig, Recipe
from harexport.training import coarse_labels
from harexport.training.tf1 import TF1GRU


class HarNet(nn.Module):
    """Normalization, strided convolution, stacked LSTM or GRU, linear heads.

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
        channels = len(mean)
        self.window, self.frame, self.hop, self.relu = window, keys.frame, keys.hop, keys.relu
        self.steps = (window - keys.frame) // keys.hop + 1
        self.cell, self.dropout_rate = keys.cell, keys.dropout
        self.register_buffer("mean", torch.as_tensor(np.asarray(mean), dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(np.asarray(std), dtype=torch.float32))
        self.input = nn.Linear(keys.frame * channels, keys.input_units)
        widths = [keys.input_units, *[keys.hidden] * keys.layers]
        self.stack = nn.ModuleList(_create_layer(keys, inputs) for inputs in widths[:-1])
        self.head: nn.Module = nn.Linear(keys.hidden, num_labels)
        if keys.head_units:
            self.head = nn.Sequential(nn.Linear(keys.hidden, keys.head_units), nn.Linear(keys.head_units, num_labels))
        self.coarse = nn.Linear(keys.hidden, coarse_labels.num_coarse_labels(keys.coarse)) if keys.coarse else None
        for layer in self.stack:
            if isinstance(layer, nn.LSTM):
                _initialize(layer, keys)
        if keys.init == "tf1":
            for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
                nn.init.normal_(linear.weight)
                nn.init.normal_(linear.bias)

    def heads(self) -> dict[str, nn.Module]:
        """Return the heads by the names of `Network.heads`."""
        return {"head": self.head} | ({"coarse": self.coarse} if self.coarse is not None else {})

    def forward(self, windows: Tensor) -> Tensor:
        """Return the logits [n, labels] of windows [n, window, channels]."""
        logits: Tensor = self.head(self.last_state(windows))
        return logits

    def last_state(self, windows: Tensor) -> Tensor:
        """Return the input of the heads: the last state of the last layer [n, hidden], after dropout."""
        x = (windows - self.mean) / self.std
        # unfold: [n, steps, channels, frame] -> [n, steps, frame * channels], the order of Network.input.weight
        frames = x.unfold(1, self.frame, self.hop).transpose(2, 3).flatten(2)
        state = self._gru(frames) if self.cell == "gru" else self._lstm(frames)
        return self._dropout(state)

    def _lstm(self, frames: Tensor) -> Tensor:
        steps = self.input(frames)
        if self.relu:
            steps = torch.relu(steps)
        # [steps, n, units]: PyTorch's CPU kernel is a fifth faster with this layout
        states = self._dropout(steps).transpose(0, 1).contiguous()
        for k, layer in enumerate(self.stack):
            states, _ = layer(self._dropout(states) if k else states)
        last: Tensor = states[-1]
        return last

    def _gru(self, frames: Tensor) -> Tensor:
        # [steps, features, n], the layout of TF1GRU
        transposed = frames.permute(1, 2, 0).contiguous()
        states = torch.baddbmm(self.input.bias[:, None], self.input.weight.expand(self.steps, -1, -1), transposed)
        if self.relu:
            states = torch.relu(states)
        for k, layer in enumerate(self.stack):
            states = layer(self._dropout(states), last=k == len(self.stack) - 1)
        return states.t().contiguous()

    def _dropout(self, x: Tensor) -> Tensor:
        """Apply dropout with the CPU's generator, on every device."""
        if x.is_cpu or not self.training or not self.dropout_rate:
            return dropout(x, self.dropout_rate, self.training)
        return x * dropout(torch.ones(x.shape, device="cpu"), self.dropout_rate).to(x.device)

    def to_network(self) -> Network:
        """Return the trained arrays. A head of two linear layers becomes one, their product."""
        channels = len(self.mean)
        heads = {name: _to_head(module) for name, module in self.heads().items()}
        return Network.stack(
            window=self.window,
            mean=_array(self.mean),
            std=_array(self.std),
            input=Conv1d(
                _array(self.input.weight).reshape(-1, self.frame, channels),
                _array(self.input.bias),
                self.hop,
                relu=self.relu,
            ),
            recurrent_layers=tuple(_to_layer(layer) for layer in self.stack),
            head=heads["head"],
            coarse_head=heads.get("coarse"),
        )


def _create_layer(keys: ModelConfig, inputs: int) -> nn.Module:
    if keys.cell == "gru":
        return TF1GRU(inputs, keys.hidden, keys.candidate == "relu", keys.init)
    return nn.LSTM(inputs, keys.hidden)


def _initialize(lstm: nn.LSTM, keys: ModelConfig) -> None:
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias_hh"):
            # The second bias holds the constant of the forget gate (gates: i, f, g, o). It is not trained, hence
            # neither decayed nor averaged.
            parameter.requires_grad_(False)
            parameter.data.zero_()
            parameter.data[keys.hidden : 2 * keys.hidden] = keys.forget_bias
        elif keys.init == "tf1" and name.startswith("bias_ih"):
            parameter.data.zero_()
        elif keys.init == "tf1":
            # TensorFlow's default of 2016: uniform unit scaling over the joint kernel [x, h], fan_in of both
            bound = math.sqrt(3.0 / (lstm.input_size + keys.hidden))
            nn.init.uniform_(parameter, -bound, bound)


def _to_layer(layer: nn.Module) -> Layer:
    if isinstance(layer, TF1GRU):
        return layer.to_layer()
    named = dict(layer.named_parameters())
    return LstmLayer(
        _array(named["weight_ih_l0"]),
        _array(named["weight_hh_l0"]),
        _array(named["bias_ih_l0"] + named["bias_hh_l0"]),
    )


def _to_head(module: nn.Module) -> Linear:
    """Return one linear layer, or the float64 product of several without activations in between."""
    first, *others = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    weight, bias = first.weight.detach().double(), first.bias.detach().double()
    for layer in others:
        outer = layer.weight.detach().double()
        weight, bias = outer @ weight, outer @ bias + layer.bias.detach()
    return Linear(_array(weight), _array(bias))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32).copy()
