"""The network as a torch module, and back to plain arrays."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harexport.layers import Head, InputLayer, LstmLayer
from harexport.network import Network
from harexport.training.recipe import Recipe


class HarNet(nn.Module):
    """Normalisation, strided input layer, stacked LSTM, linear head; windows [n, window, channels] -> logits."""

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
        self.register_buffer("mean", torch.as_tensor(np.asarray(mean), dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(np.asarray(std), dtype=torch.float32))
        self.input = nn.Linear(keys.frame * channels, keys.input_units)
        self.lstm = nn.LSTM(
            keys.input_units,
            keys.hidden,
            keys.layers,
            dropout=keys.dropout if keys.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(keys.dropout)
        self.head = nn.Linear(keys.hidden, labels)
        self._initialise(keys.init, keys.hidden, keys.forget_bias)

    def _initialise(self, init: str, hidden: int, forget_bias: float) -> None:
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                # One bias is enough; the second carries the constant of the forget gate (gates: i, f, g, o)
                # and is not trained, so it is neither decayed nor averaged.
                parameter.requires_grad_(False)
                parameter.data.zero_()
                parameter.data[hidden : 2 * hidden] = forget_bias
            elif init == "seed" and name.startswith("bias_ih"):
                parameter.data.zero_()
            elif init == "seed":
                # TensorFlow's default of 2016, uniform unit scaling over the joint kernel [x, h]: fan_in counts both.
                fan_in = self.lstm.input_size + hidden if name.endswith("_l0") else 2 * hidden
                nn.init.uniform_(parameter, -math.sqrt(3.0 / fan_in), math.sqrt(3.0 / fan_in))
        if init == "seed":
            for layer in (self.input, self.head):
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)

    def forward(self, windows: Tensor) -> Tensor:
        x = (windows - self.mean) / self.std
        # [n, steps, channels, frame] from unfold; frame before channels, as Network.input.weight has it
        frames = x.unfold(1, self.frame, self.hop).transpose(2, 3).flatten(2)
        steps = self.input(frames)
        if self.relu:
            steps = torch.relu(steps)
        # steps first: torch's CPU kernel is a fifth faster on that layout
        states, _ = self.lstm(self.dropout(steps).transpose(0, 1).contiguous())
        logits: Tensor = self.head(self.dropout(states[-1]))
        return logits

    def to_network(self) -> Network:
        """The trained arrays, float32 on the CPU."""

        def array(tensor: Tensor) -> NDArray[np.float32]:
            return tensor.detach().cpu().numpy().astype(np.float32).copy()

        channels = len(self.mean)
        named = dict(self.lstm.named_parameters())
        stack = tuple(
            LstmLayer(
                array(named[f"weight_ih_l{k}"]),
                array(named[f"weight_hh_l{k}"]),
                array(named[f"bias_ih_l{k}"] + named[f"bias_hh_l{k}"]),
            )
            for k in range(self.lstm.num_layers)
        )
        return Network(
            window=self.window,
            mean=array(self.mean),
            std=array(self.std),
            input=InputLayer(
                array(self.input.weight).reshape(-1, self.frame, channels), array(self.input.bias), self.hop, self.relu
            ),
            stack=stack,
            head=Head(array(self.head.weight), array(self.head.bias)),
        )
