"""Sensor classifiers that people bring to a converter, as PyTorch modules: windows [n, 128, 9] -> logits [n, 6].

The environments of other converters import this module; it needs PyTorch only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW, CHANNELS, LABELS = 128, 9, 6


class _Classifier(nn.Module):
    """Normalization of the channels with constants; they are set from the training windows."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("std", torch.ones(CHANNELS))

    def normalize(self, window: Tensor) -> Tensor:
        return (window - self.mean) / self.std


class DeepConvLstm(_Classifier):
    """Ordonez and Roggen 2016: four convolutions, two LSTM layers, the last step."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(4):
            layers += [nn.Conv1d(64 if k else CHANNELS, 64, 5), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.lstm = nn.LSTM(64, 128, 2, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, LABELS))

    def forward(self, window: Tensor) -> Tensor:
        x = self.conv(self.normalize(window).transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.head(self.lstm(x)[0][:, -1])
        return logits


class CnnLstm(_Classifier):
    """The CNN-LSTM of Keras tutorials: two convolutions, pooling, an LSTM, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(CHANNELS, 64, 3), nn.ReLU(), nn.Conv1d(64, 64, 3), nn.ReLU(), nn.Dropout(0.5), nn.MaxPool1d(2)
        )
        self.lstm = nn.LSTM(64, 100, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, LABELS))

    def forward(self, window: Tensor) -> Tensor:
        x = self.conv(self.normalize(window).transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.head(self.lstm(x)[0][:, -1])
        return logits


class BiLstm(_Classifier):
    """Two bidirectional LSTM layers; the final states of both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, 64, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, LABELS)

    def forward(self, window: Tensor) -> Tensor:
        _, (state, _) = self.lstm(self.normalize(window))
        logits: Tensor = self.head(torch.cat([state[-2], state[-1]], dim=1))
        return logits


class _ResidualCell(nn.Module):
    """A linear layer with ReLU and an LSTM of half the width in each direction."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(inputs, width) for _ in range(2))
        self.lstm = nn.ModuleList(nn.LSTM(width, width // 2, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        forward = self.lstm[0](torch.relu(self.linear[0](x)))[0]
        backward = self.lstm[1](torch.relu(self.linear[1](x)).flip(1))[0].flip(1)
        return torch.cat([forward, backward], dim=2)


class ResidualBiLstm(_Classifier):
    """Zhao, Yang, Chevalier and Gong 2017: three blocks of three cells, summed, with stored statistics."""

    def __init__(self, width: int = 28, cells: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(_ResidualCell(width if k + j else CHANNELS, width) for k in range(cells)) for j in range(3)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(3))
        self.hidden, self.head = nn.Linear(width, width), nn.Linear(width, LABELS)

    def forward(self, window: Tensor) -> Tensor:
        x = self.normalize(window)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            first, *others = block
            x = first(x)
            for cell in others:
                x = x + cell(x)
            x = norm(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.head(torch.relu(self.hidden(x[:, -1])))
        return logits


class Cnn(_Classifier):
    """Three convolutions with batch normalization and pooling, and the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(3):
            layers += [nn.Conv1d(64 if k else CHANNELS, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU()]
            layers.append(nn.MaxPool1d(2))
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, LABELS))

    def forward(self, window: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.normalize(window).transpose(1, 2))
        return logits


class Gru(_Classifier):
    """A GRU with the reset gate after the recurrent product, as in Keras and cuDNN."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(CHANNELS, 64, batch_first=True), nn.Linear(64, LABELS)

    def forward(self, window: Tensor) -> Tensor:
        logits: Tensor = self.head(self.gru(self.normalize(window))[0][:, -1])
        return logits


class LayerNormLstm(_Classifier):
    """Two LSTM layers with layer normalization between them, which harexport does not support."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.LSTM(size, 64, batch_first=True) for size in (CHANNELS, 64))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, LABELS)

    def forward(self, window: Tensor) -> Tensor:
        x = self.norm(self.first(self.normalize(window))[0])
        logits: Tensor = self.head(self.second(x)[0][:, -1])
        return logits


NETWORKS: dict[str, type[_Classifier]] = {
    "deepconvlstm": DeepConvLstm,
    "cnn-lstm": CnnLstm,
    "bilstm": BiLstm,
    "residual-bilstm": ResidualBiLstm,
    "cnn": Cnn,
    "gru": Gru,
    "layernorm-lstm": LayerNormLstm,
}


def load(name: str, path: str) -> nn.Module:
    """Return the network with the trained weights of a file, in evaluation mode."""
    module = NETWORKS[name]()
    module.load_state_dict(torch.load(path, weights_only=True))
    return module.eval()
