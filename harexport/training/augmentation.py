"""Data augmentation: random shift, speed, rotation, gain and noise of whole batches, in PyTorch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from harexport.data.dataset import Windows, find_segments
from harexport.errors import InputError
from harexport.model.recipe import AugmentConfig

_CPU = torch.device("cpu")
_MIN_COSINE = -0.9  # between the directions of a gravity swap
_MIN_GRAVITY = 0.5  # g


class Augmenter:
    """Draws batches of augmented windows from the segments that the windows were cut from.

    Channels are x, y, z of one vector after another (UCI HAR: body_acc, body_gyro, total_acc).

    Args:
        windows: Training windows.
        keys: The recipe's [augment].
        std: Standard deviation of each channel, for the noise.
        device: Device of the batches.
    """

    def __init__(self, windows: Windows, keys: AugmentConfig, std: Tensor, device: torch.device = _CPU) -> None:
        chain = find_segments(windows)
        self.keys, self.device, self.std = keys, device, std.to(device)
        self.window = windows.signals.shape[1]
        self.signal = torch.from_numpy(chain.signal).to(device)
        self.start = torch.from_numpy(chain.start[chain.segment_index]).to(device)
        # index of the last sample of the segment
        self.last = torch.from_numpy(chain.length[chain.segment_index] - 1).to(device)
        self.offset = torch.from_numpy(chain.offset).to(device)
        self.windows = torch.from_numpy(windows.signals.copy()).to(device)
        if keys.gravity_swap:
            self.gravity = _gravity_directions(self.windows)
            order = np.argsort(windows.labels, kind="stable")  # sorted by label
            count = np.bincount(windows.labels)
            self.of_label = torch.from_numpy(order).to(device)
            self.first = torch.from_numpy((np.cumsum(count) - count)[windows.labels]).to(device)
            self.alike = torch.from_numpy(count[windows.labels]).to(device)  # windows of the same label

    def batch(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented windows.

        Args:
            index: Windows to augment [n].
            generator: Random number generator on the CPU; it determines the result.

        Returns:
            float32 [n, window, channels] on the device.
        """
        keys, index = self.keys, index.to(self.device)
        x = self._resample(index, generator) if keys.shift or keys.speed else self.windows[index]
        if keys.gravity_swap:
            x = self._swap_gravity(x, index, generator)
        if keys.rotation_deg:
            x = self._rotate(x, generator)
        if keys.heading_deg:
            x = self._rotate_heading(x, generator)
        if keys.gain:
            x = x * (1 + keys.gain * self._draw_normal((len(x), 1, x.shape[2]), generator))
        if keys.noise:
            x = x + keys.noise * self.std * self._draw_normal(tuple(x.shape), generator)
        return x

    def _resample(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Cut windows at random offsets and speeds within their segment, by linear interpolation."""
        n = len(index)
        last = self.last[index].float()
        speed = 1 + self.keys.speed * self._draw_uniform(n, generator)
        speed = torch.minimum(speed, last / (self.window - 1))  # a short segment limits the speed
        span = speed * (self.window - 1)
        # the center of the window moves by up to `shift`; the window stays inside its segment
        middle = self.offset[index] + (self.window - 1) / 2 + self.keys.shift * self._draw_uniform(n, generator)
        begin = torch.minimum((middle - span / 2).clamp_min(0), last - span)
        at = begin[:, None] + speed[:, None] * torch.arange(self.window, device=self.device)
        left = at.floor().clamp(min=0)
        left = torch.minimum(left, (last - 1)[:, None])
        share = (at - left)[:, :, None]
        row = self.start[index][:, None] + left.long()
        return torch.lerp(self._samples(row), self._samples(row + 1), share)

    def _samples(self, row: Tensor) -> Tensor:
        """Return samples by position [n, window] -> [n, window, channels]; four times as fast as `signal[row]`."""
        return self.signal.index_select(0, row.flatten()).view(*row.shape, -1)

    def _rotate(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate each window about a uniform axis by an angle from N(0, rotation_deg) (Rodrigues' formula)."""
        n = len(x)
        axis = torch.nn.functional.normalize(self._draw_normal((n, 3), generator), dim=1)
        angle = math.radians(self.keys.rotation_deg) * self._draw_normal((n, 1, 1), generator)
        k = _cross(axis)
        rotation = torch.eye(3, device=self.device) + torch.sin(angle) * k + (1 - torch.cos(angle)) * (k @ k)
        return _apply_rotation(x, rotation)

    def _rotate_heading(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate each window about the x axis by an angle from U(-heading_deg, heading_deg)."""
        angle = math.radians(self.keys.heading_deg) * self._draw_uniform(len(x), generator)
        rotation = torch.zeros(len(x), 3, 3, device=self.device)
        rotation[:, 0, 0] = 1
        rotation[:, 1, 1] = rotation[:, 2, 2] = torch.cos(angle)
        rotation[:, 2, 1] = torch.sin(angle)
        rotation[:, 1, 2] = -rotation[:, 2, 1]
        return _apply_rotation(x, rotation)

    def _swap_gravity(self, x: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate a share of the windows so that their gravity is that of another window of the same label.

        Which direction of gravity occurs with which movement is a coincidence of how the subjects wore the phone. The
        rotation is the shortest one. Windows with nearly opposite directions are not changed: it is not unique there.
        """
        n = len(index)
        draw = self._draw_uniform(2 * n, generator).view(2, n) / 2 + 0.5
        place = torch.minimum((draw[0] * self.alike[index]).long(), self.alike[index] - 1)
        own, other = self.gravity[index], self.gravity[self.of_label[self.first[index] + place]]
        cosine = (own * other).sum(dim=1)
        swapped = (draw[1] < self.keys.gravity_swap) & (cosine > _MIN_COSINE)
        other = torch.where(swapped[:, None], other, own)
        k = _cross(torch.linalg.cross(own, other))
        rotation = torch.eye(3, device=self.device) + k + k @ k / (1 + (own * other).sum(dim=1))[:, None, None]
        return _apply_rotation(x, rotation)

    def _draw_uniform(self, n: int, generator: torch.Generator) -> Tensor:
        return (2 * torch.rand(n, generator=generator, device=_CPU) - 1).to(self.device)

    def _draw_normal(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, device=_CPU).to(self.device)


def _gravity_directions(windows: Tensor) -> Tensor:
    """Return the direction of gravity in each window [n, window, channels] as unit vectors [n, 3].

    Gravity is in the sensor with the longest mean vector.

    Raises:
        InputError: No sensor measures gravity.
    """
    means = windows.mean(dim=1).view(len(windows), -1, 3)
    length = means.norm(dim=2).mean(dim=0)
    if not float(length.max()) > _MIN_GRAVITY:
        raise InputError(
            "augment.gravity_swap needs channels that hold gravity (total_acc, in g); "
            f"the longest mean of these channels is {float(length.max()):.2g}. Set it to 0, or add total_acc"
        )
    return torch.nn.functional.normalize(means[:, int(length.argmax())], dim=1)


def _cross(vectors: Tensor) -> Tensor:
    """Return the cross-product matrices [n, 3, 3] of vectors [n, 3]."""
    k = torch.zeros(len(vectors), 3, 3, device=vectors.device)
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -vectors[:, 2], vectors[:, 1], -vectors[:, 0]
    return k - k.transpose(1, 2)


def _apply_rotation(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate all vectors of each window [n, window, channels] by its matrix [n, 3, 3]."""
    return torch.bmm(x.reshape(len(x), -1, 3), rotation.transpose(1, 2)).view_as(x)
