"""Training windows that a phone could have recorded: shifted, faster, tilted, noisier. All in torch, whole batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from harexport.data.dataset import Windows, find_segments
from harexport.errors import InputError
from harexport.model.recipe import AugmentConfig

_CPU = torch.device("cpu")
_UPSIDE_DOWN = -0.9  # cosine
_LEAST_GRAVITY = 0.5  # g


class Augmenter:
    """Draws batches of augmented windows from the stretches that the windows were cut from.

    Channels come in triplets x, y, z of one vector each (UCI HAR: body_acc, body_gyro, total_acc).
    """

    def __init__(self, windows: Windows, keys: AugmentConfig, std: Tensor, device: torch.device = _CPU) -> None:
        chain = find_segments(windows)
        self.keys, self.device, self.std = keys, device, std.to(device)
        self.window = windows.signals.shape[1]
        self.signal = torch.from_numpy(chain.signal).to(device)
        self.start = torch.from_numpy(chain.start[chain.segment_index]).to(device)
        # index of a stretch's last sample
        self.last = torch.from_numpy(chain.length[chain.segment_index] - 1).to(device)
        self.offset = torch.from_numpy(chain.offset).to(device)
        self.windows = torch.from_numpy(windows.signals.copy()).to(device)
        if keys.gravity_swap:
            self.gravity = _gravity(self.windows)
            order = np.argsort(windows.labels, kind="stable")  # the windows of a label lie together
            count = np.bincount(windows.labels)
            self.of_label = torch.from_numpy(order).to(device)
            self.first = torch.from_numpy((np.cumsum(count) - count)[windows.labels]).to(device)
            self.alike = torch.from_numpy(count[windows.labels]).to(device)  # windows of the same label

    def batch(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """The windows `index` [n], augmented: float32 [n, window, channels]; `generator` decides them wholly.

        The generator is one of the CPU; what it draws goes to the device.
        """
        keys, index = self.keys, index.to(self.device)
        x = self._cut(index, generator) if keys.shift or keys.speed else self.windows[index]
        if keys.gravity_swap:
            x = self._swapped(x, index, generator)
        if keys.rotation_deg:
            x = self._rotated(x, generator)
        if keys.gain:
            x = x * (1 + keys.gain * self._normal((len(x), 1, x.shape[2]), generator))
        if keys.noise:
            x = x + keys.noise * self.std * self._normal(tuple(x.shape), generator)
        return x

    def _cut(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Windows at random offsets and speeds, by linear interpolation inside their own stretch."""
        n = len(index)
        last = self.last[index].float()
        speed = 1 + self.keys.speed * self._uniform(n, generator)
        speed = torch.minimum(speed, last / (self.window - 1))  # a short stretch cannot be played faster than it lasts
        span = speed * (self.window - 1)
        # the middle of the window moves by up to `shift`; the window stays inside its stretch
        middle = self.offset[index] + (self.window - 1) / 2 + self.keys.shift * self._uniform(n, generator)
        begin = torch.minimum((middle - span / 2).clamp_min(0), last - span)
        at = begin[:, None] + speed[:, None] * torch.arange(self.window, device=self.device)
        left = at.floor().clamp(min=0)
        left = torch.minimum(left, (last - 1)[:, None])
        share = (at - left)[:, :, None]
        row = self.start[index][:, None] + left.long()
        return torch.lerp(self.signal[row], self.signal[row + 1], share)

    def _rotated(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """One rotation a window for all its vectors (Rodrigues' formula): axis uniform, angle N(0, rotation_deg)."""
        n = len(x)
        axis = torch.nn.functional.normalize(self._normal((n, 3), generator), dim=1)
        angle = math.radians(self.keys.rotation_deg) * self._normal((n, 1, 1), generator)
        k = _cross(axis)
        turn = torch.eye(3, device=self.device) + torch.sin(angle) * k + (1 - torch.cos(angle)) * (k @ k)
        return _turned(x, turn)

    def _swapped(self, x: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        """A share of the windows, turned the shortest way until gravity lies where another of the same label has it.

        People wear a phone in other ways while they do the same: whose gravity goes with whose movements is chance.
        Windows whose other is nearly upside down stay: there is no shortest way.
        """
        n = len(index)
        draw = self._uniform(2 * n, generator).view(2, n) / 2 + 0.5
        place = torch.minimum((draw[0] * self.alike[index]).long(), self.alike[index] - 1)
        own, other = self.gravity[index], self.gravity[self.of_label[self.first[index] + place]]
        cosine = (own * other).sum(dim=1)
        swapped = (draw[1] < self.keys.gravity_swap) & (cosine > _UPSIDE_DOWN)
        other = torch.where(swapped[:, None], other, own)
        k = _cross(torch.linalg.cross(own, other))
        turn = torch.eye(3, device=self.device) + k + k @ k / (1 + (own * other).sum(dim=1))[:, None, None]
        return _turned(x, turn)

    def _uniform(self, n: int, generator: torch.Generator) -> Tensor:
        return (2 * torch.rand(n, generator=generator, device=_CPU) - 1).to(self.device)

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, device=_CPU).to(self.device)


def _gravity(windows: Tensor) -> Tensor:
    """The direction of gravity in each window [n, window, channels]: unit vectors [n, 3].

    Gravity is in the triplet of channels whose mean is the longest. Raises InputError where none has any.
    """
    means = windows.mean(dim=1).view(len(windows), -1, 3)
    length = means.norm(dim=2).mean(dim=0)
    if not float(length.max()) > _LEAST_GRAVITY:
        raise InputError(
            "augment.gravity_swap needs channels that hold gravity (total_acc, in g); "
            f"the longest mean of these channels is {float(length.max()):.2g}. Set it to 0, or add total_acc"
        )
    return torch.nn.functional.normalize(means[:, int(length.argmax())], dim=1)


def _cross(vectors: Tensor) -> Tensor:
    """The matrices [n, 3, 3] that multiply by these vectors [n, 3] as a cross product does."""
    k = torch.zeros(len(vectors), 3, 3, device=vectors.device)
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -vectors[:, 2], vectors[:, 1], -vectors[:, 0]
    return k - k.transpose(1, 2)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """All vectors of each window by that window's matrix."""
    return torch.bmm(x.reshape(len(x), -1, 3), turn.transpose(1, 2)).view_as(x)
