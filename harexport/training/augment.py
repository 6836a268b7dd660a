"""Training windows that a phone could have recorded: shifted, faster, tilted, noisier. All in torch, whole batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harexport.data.windows import Windows, stretches
from harexport.training.recipe import AugmentKeys


class Augmenter:
    """Draws batches of augmented windows from the stretches that the windows were cut from.

    Channels come in triplets x, y, z of one vector each (UCI HAR: body_acc, body_gyro, total_acc).
    """

    def __init__(self, windows: Windows, keys: AugmentKeys, std: Tensor) -> None:
        chain = stretches(windows)
        self.keys, self.std = keys, std
        self.window = windows.signals.shape[1]
        self.signal = torch.from_numpy(chain.signal)
        self.start = torch.from_numpy(chain.start[chain.of_window])
        self.last = torch.from_numpy(chain.length[chain.of_window] - 1)  # index of a stretch's last sample
        self.offset = torch.from_numpy(chain.offset)
        self.windows = torch.from_numpy(windows.signals.copy())

    def batch(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """The windows `index` [n], augmented: float32 [n, window, channels]; `generator` decides them wholly."""
        keys = self.keys
        x = self._cut(index, generator) if keys.shift or keys.speed else self.windows[index]
        if keys.rotation_deg:
            x = self._rotated(x, generator)
        if keys.gain:
            x = x * (1 + keys.gain * _normal((len(x), 1, x.shape[2]), generator))
        if keys.noise:
            x = x + keys.noise * self.std * _normal(tuple(x.shape), generator)
        return x

    def _cut(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Windows at random offsets and speeds, by linear interpolation inside their own stretch."""
        n = len(index)
        last = self.last[index].float()
        speed = 1 + self.keys.speed * _uniform(n, generator)
        speed = torch.minimum(speed, last / (self.window - 1))  # a short stretch cannot be played faster than it lasts
        span = speed * (self.window - 1)
        # the middle of the window moves by up to `shift`; the window stays inside its stretch
        middle = self.offset[index] + (self.window - 1) / 2 + self.keys.shift * _uniform(n, generator)
        begin = torch.minimum((middle - span / 2).clamp_min(0), last - span)
        at = begin[:, None] + speed[:, None] * torch.arange(self.window)
        left = at.floor().clamp(min=0)
        left = torch.minimum(left, (last - 1)[:, None])
        share = (at - left)[:, :, None]
        row = self.start[index][:, None] + left.long()
        return torch.lerp(self.signal[row], self.signal[row + 1], share)

    def _rotated(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """One rotation a window for all its vectors (Rodrigues' formula): axis uniform, angle N(0, rotation_deg)."""
        n = len(x)
        axis = torch.nn.functional.normalize(_normal((n, 3), generator), dim=1)
        angle = math.radians(self.keys.rotation_deg) * _normal((n, 1, 1), generator)
        k = torch.zeros(n, 3, 3)
        k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
        k = k - k.transpose(1, 2)
        turn = torch.eye(3) + torch.sin(angle) * k + (1 - torch.cos(angle)) * (k @ k)
        vectors = x.reshape(n, -1, 3)  # [n, window * vectors, 3]
        return torch.bmm(vectors, turn.transpose(1, 2)).view_as(x)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(n, generator=generator) - 1


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)
