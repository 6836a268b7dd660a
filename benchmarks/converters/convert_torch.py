"""Conversion from PyTorch, as in the documentation of the converters. Usage: convert_torch.py CONVERTER GIVEN.npz OUT

CONVERTER: torchscript or dynamo (the two exporters of torch.onnx), or litert-torch.
"""

from __future__ import annotations

import sys

import inputs
import torch
from torch import Tensor, nn


class Model(nn.Module):
    """The network as a PyTorch module: windows [n, window, channels] -> logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, what: inputs.ConversionInput) -> None:
        super().__init__()
        arrays = {name: torch.from_numpy(values.copy()) for name, values in what.arrays.items()}
        units, frame, channels = arrays["input.weight"].shape
        self.has_normalization, self.relu, self.frames = what.has_normalization, what.relu, frame > 1
        self.register_buffer("mean", arrays["mean"])
        self.register_buffer("std", arrays["std"])
        self.input: nn.Module
        if self.frames:
            self.input = nn.Conv1d(channels, units, frame, stride=what.hop)
            weight = arrays["input.weight"].transpose(1, 2)
        else:
            self.input = nn.Linear(channels, units)
            weight = arrays["input.weight"][:, 0]
        self.input.load_state_dict({"weight": weight.contiguous(), "bias": arrays["input.bias"]})
        hidden = arrays["lstm.0.recurrent_weight"].shape[1]
        self.lstm = nn.LSTM(units, hidden, what.layers, batch_first=True)
        state = {}
        for k in range(what.layers):
            state[f"weight_ih_l{k}"] = arrays[f"lstm.{k}.input_weight"]
            state[f"weight_hh_l{k}"] = arrays[f"lstm.{k}.recurrent_weight"]
            state[f"bias_ih_l{k}"] = arrays[f"lstm.{k}.bias"]
            state[f"bias_hh_l{k}"] = torch.zeros_like(arrays[f"lstm.{k}.bias"])
        self.lstm.load_state_dict(state)
        self.head = nn.Linear(hidden, len(arrays["head.bias"]))
        self.head.load_state_dict({"weight": arrays["head.weight"], "bias": arrays["head.bias"]})

    def forward(self, window: Tensor) -> Tensor:
        x = (window - self.mean) / self.std if self.has_normalization else window
        x = self.input(x.transpose(1, 2)).transpose(1, 2) if self.frames else self.input(x)
        if self.relu:
            x = torch.relu(x)
        states, _ = self.lstm(x)
        logits: Tensor = self.head(states[:, -1])
        return logits


def main(way: str, path: str, out: str) -> None:
    what = inputs.load(path)
    model = Model(what).eval()
    example = (torch.zeros(1, what.window, what.channels),)
    if way == "litert-torch":
        import litert_torch

        litert_torch.convert(model, example).export(out)
    else:
        names = {"input_names": ["window"], "output_names": ["logits"]}
        torch.onnx.export(model, example, out, dynamo=way == "dynamo", external_data=False, **names)


if __name__ == "__main__":
    main(*sys.argv[1:])
