"""Small PyTorch classifiers of windows, for the tests of imported networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harexport.data import Dataset, Windows
from harexport.exporters.checks import synthetic_windows
from harexport.importers.torch import from_torch
from harexport.model.contract import Contract
from harexport.model.network import Network

torch = pytest.importorskip("torch")
nn = torch.nn


class _Recurrent(nn.Module):  # type: ignore[misc]
    """A recurrent layer and a linear layer of its last step, or of its final states."""

    def __init__(self, layer: Any, features: int, final_states: bool = False) -> None:
        super().__init__()
        self.layer, self.head, self.final_states = layer, nn.Linear(features, 6), final_states

    def forward(self, x: Any) -> Any:
        sequence, states = self.layer(x)
        if not self.final_states:
            return self.head(sequence[:, -1])
        h = states[0] if isinstance(states, tuple) else states
        return self.head(torch.cat([h[-2], h[-1]], dim=1))


class _ConvLstm(nn.Module):  # type: ignore[misc]
    """DeepConvLSTM: convolutions, LSTM layers, and a linear layer of the last step."""

    def __init__(self, channels: int = 8, hidden: int = 12) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(9, channels, 5), nn.ReLU(), nn.Conv1d(channels, channels, 5, stride=4), nn.ReLU()
        )
        self.lstm = nn.LSTM(channels, hidden, 2, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(hidden, 10), nn.ReLU(), nn.Linear(10, 6))

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))[0][:, -1])


class _Residual(nn.Module):  # type: ignore[misc]
    """Residual bidirectional LSTM layers with probabilities as output."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv1d(9, width, 16, stride=16)
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.norm, self.head = nn.BatchNorm1d(width), nn.Linear(width, 6)

    def forward(self, x: Any) -> Any:
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        x = self.norm((x + self.lstm(x)[0]).transpose(1, 2)).transpose(1, 2)
        return torch.softmax(self.head(torch.relu(x[:, -1])), dim=1)


class _Directions(nn.Module):  # type: ignore[misc]
    """An LSTM for each direction, the second one on the flipped window."""

    def __init__(self) -> None:
        super().__init__()
        self.lstms = nn.ModuleList(nn.LSTM(9, 5, batch_first=True) for _ in range(2))
        self.head = nn.Linear(10, 6)

    def forward(self, x: Any) -> Any:
        states = [self.lstms[0](x)[0], self.lstms[1](x.flip(1))[0].flip(1)]
        return self.head(torch.cat(states, dim=2).mean(dim=1))


class _TimeFirst(nn.Module):  # type: ignore[misc]
    """A GRU on windows [time, batch, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(9, 7), nn.Linear(7, 6)

    def forward(self, x: Any) -> Any:
        return torch.log_softmax(self.head(self.gru(x)[1][0]), dim=1)


def _cnn() -> Any:
    """Convolutions with batch normalization and pooling, for [channels, time]."""
    layers: list[Any] = []
    for k in range(2):
        layers += [nn.Conv1d(8 if k else 9, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 6))


def _flattening_cnn() -> Any:
    return nn.Sequential(
        nn.Conv1d(9, 4, 5, stride=2),
        nn.ELU(),
        nn.AvgPool1d(4),
        nn.Flatten(),
        nn.Linear(60, 8),
        nn.LeakyReLU(),
        nn.Linear(8, 6),
    )


# name -> module, and the axes of its input as indices of [batch, time, channels]
MODULES: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "conv-lstm": (_ConvLstm(), (0, 1, 2)),
    "bilstm": (_Recurrent(nn.LSTM(9, 6, 2, batch_first=True, bidirectional=True), 12), (0, 1, 2)),
    "bilstm-final-states": (_Recurrent(nn.LSTM(9, 6, 2, batch_first=True, bidirectional=True), 12, True), (0, 1, 2)),
    "directions": (_Directions(), (0, 1, 2)),
    "residual": (_Residual(), (0, 1, 2)),
    "cnn": (_cnn(), (0, 2, 1)),
    "flattening-cnn": (_flattening_cnn(), (0, 2, 1)),
    "gru": (_Recurrent(nn.GRU(9, 8, batch_first=True), 8), (0, 1, 2)),
    "time-first": (_TimeFirst(), (1, 0, 2)),
    "lstm": (_Recurrent(nn.LSTM(9, 8, 2, batch_first=True), 8), (0, 1, 2)),
}
OUTPUTS = {"residual": "probabilities", "time-first": "log-probabilities"}  # the others return logits


def evaluated(name: str) -> Any:
    """Return a module in evaluation mode, with statistics in its batch normalization."""
    module = MODULES[name][0]
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    return module.eval()


def example(name: str, windows: np.ndarray | None = None) -> Any:
    """Return a window, or these windows [n, time, channels], as input of a module."""
    x = torch.zeros(1, 128, 9) if windows is None else torch.from_numpy(windows)
    return x.permute(MODULES[name][1]).contiguous()


def imported(name: str) -> Network:
    """Return a module as a network."""
    return from_torch(evaluated(name), example(name))


def expected_outputs(name: str, windows: np.ndarray) -> np.ndarray:
    """Return the outputs of a module for windows [n, time, channels]."""
    with torch.no_grad():
        return np.asarray(evaluated(name)(example(name, windows)).numpy())


def outputs(network: Network, name: str, windows: np.ndarray) -> np.ndarray:
    """Return the logits of a network, or the probabilities where the module returns them."""
    logits = network.logits(windows)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    kind = OUTPUTS.get(name)
    return np.exp(log_probabilities) if kind == "probabilities" else log_probabilities if kind else logits


def labeled(network: Network) -> Dataset:
    """Return a dataset of synthetic windows with the labels that the network predicts."""
    windows = synthetic_windows(Contract(), 16, seed=5)
    part = Windows(windows, network.logits(windows).argmax(axis=1), np.arange(16) % 4)
    return Dataset(part, part, "synthetic", "0" * 64, Contract())
