"""Augmentation: segments, rotations, noise and gravity swaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harexport.data.dataset import Windows, find_segments
from harexport.errors import InputError
from harexport.model.recipe import AugmentConfig
from harexport.training.augmentation import Augmenter


def some_windows(pieces: tuple[int, ...] = (5, 1, 3)) -> Windows:
    """Windows of 128 with 50 % overlap, cut from smooth random signals: `pieces` windows per segment."""
    rng = np.random.default_rng(0)
    signals, labels = [], []
    for label, count in enumerate(pieces):
        signal = np.cumsum(rng.normal(size=(64 * count + 64, 9)), axis=0).astype(np.float32)
        signals += [signal[64 * k : 64 * k + 128] for k in range(count)]
        labels += [label] * count
    return Windows(np.stack(signals), np.array(labels), np.ones(len(labels), np.int64))


def _augmenter(**keys: float) -> tuple[Windows, Augmenter]:
    windows = some_windows()
    return windows, Augmenter(windows, AugmentConfig(**keys), torch.ones(9))  # type: ignore[arg-type]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_no_augmentation_returns_the_windows() -> None:
    windows, augment = _augmenter()
    batch = augment.batch(torch.arange(len(windows)), _generator())
    np.testing.assert_array_equal(batch.numpy(), windows.signals)


def test_integer_shift_copies_the_segment() -> None:
    windows, augment = _augmenter(shift=32)
    chain = find_segments(windows)
    for seed in range(20):
        batch = augment.batch(torch.tensor([2]), torch.Generator().manual_seed(seed))[0].numpy()
        piece = chain.signal[: chain.length[0]]
        # a shifted window is the linear interpolation of its segment at evenly spaced times; for one offset
        # (128, up to 32 more or less) it is equal up to rounding
        at = np.arange(128)
        fits = []
        for begin in np.linspace(128 - 32, 128 + 32, 6401):
            left = np.floor(begin + at).astype(int)
            share = (begin + at - left)[:, None]
            fits.append(np.abs(piece[left] * (1 - share) + piece[left + 1] * share - batch)[:, 0].max())
            if fits[-1] < 0.05:
                break
        assert min(fits) < 0.05


def test_windows_stay_inside_their_segment() -> None:
    windows, augment = _augmenter(shift=500, speed=0.5)
    # each segment is another constant, so a sample of a neighbor is visible
    chain = find_segments(windows)
    flat = torch.empty_like(augment.signal)
    for k, (start, length) in enumerate(zip(chain.start, chain.length, strict=True)):
        flat[start : start + length] = float(k)
    augment.signal = flat
    index = torch.arange(len(windows)).repeat(200)
    batch = augment.batch(index, _generator())
    expected = torch.from_numpy(chain.segment_index)[index].float()[:, None, None].expand_as(batch)
    torch.testing.assert_close(batch, expected)


def test_rotation_preserves_lengths_and_angles() -> None:
    windows, augment = _augmenter(rotation_deg=20)
    batch = augment.batch(torch.arange(len(windows)), _generator()).numpy()
    before, after = windows.signals.reshape(-1, 128, 3, 3), batch.reshape(-1, 128, 3, 3)
    scale = np.linalg.norm(before, axis=3).max()
    np.testing.assert_allclose(np.linalg.norm(after, axis=3), np.linalg.norm(before, axis=3), atol=1e-5 * scale)
    # one rotation per window for all three vectors: angles between them and handedness do not change
    np.testing.assert_allclose(np.linalg.det(after), np.linalg.det(before), atol=1e-4 * scale**3)
    assert np.abs(after - before).max() > 0.1


def test_standard_deviation_of_rotation_angles() -> None:
    rng = np.random.default_rng(0)
    vectors = np.tile(rng.normal(size=(4000, 1, 9)), (1, 128, 1)).astype(np.float32)
    windows = Windows(vectors, np.arange(4000) % 2, np.ones(4000, np.int64))
    augment = Augmenter(windows, AugmentConfig(rotation_deg=20.0), torch.ones(9))
    turned = augment.batch(torch.arange(4000), _generator()).numpy()[:, 0].reshape(-1, 3, 3)
    turn = np.linalg.solve(vectors[:, 0].reshape(-1, 3, 3).astype(float), turned.astype(float))
    angles = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    # the median of |N(0, 20)| is 0.6745 * 20 degrees
    assert abs(np.median(angles) - 20 * 0.6745) < 1.0


def test_heading_is_a_uniform_rotation_about_x() -> None:
    vectors = np.tile(np.array([0.8, 0.6, 0.0] * 3), (4000, 128, 1)).astype(np.float32)
    windows = Windows(vectors, np.arange(4000) % 2, np.ones(4000, np.int64))
    augment = Augmenter(windows, AugmentConfig(heading_deg=180.0), torch.ones(9))
    turned = augment.batch(torch.arange(4000), _generator()).numpy().reshape(4000, 128, 3, 3)
    np.testing.assert_allclose(turned[..., 0], 0.8, atol=1e-6)
    np.testing.assert_allclose(np.hypot(turned[..., 1], turned[..., 2]), 0.6, atol=1e-6)
    assert np.abs(turned - turned[:, :1, :1]).max() < 1e-6  # one rotation per window
    heading = np.degrees(np.arctan2(turned[:, 0, 0, 2], turned[:, 0, 0, 1]))
    counts, _ = np.histogram(heading, bins=8, range=(-180, 180))
    assert counts.sum() == 4000
    assert abs(counts - 500).max() < 100


def test_size_of_noise_and_gain() -> None:
    windows = Windows(np.ones((3000, 128, 9), np.float32), np.arange(3000) % 2, np.arange(3000))
    noise = Augmenter(windows, AugmentConfig(noise=0.1), 2 * torch.ones(9)).batch(torch.arange(3000), _generator()) - 1
    assert abs(float(noise.std()) - 0.2) < 0.01
    gain = Augmenter(windows, AugmentConfig(gain=0.03), torch.ones(9)).batch(torch.arange(3000), _generator())
    assert torch.equal(gain, gain[:, :1].expand_as(gain))
    assert abs(float(gain[:, 0].std()) - 0.03) < 0.002


def test_result_depends_on_the_generator_only() -> None:
    windows, augment = _augmenter(shift=32, speed=0.1, rotation_deg=20, noise=0.1, gain=0.1)
    index = torch.arange(len(windows))
    torch.manual_seed(1)
    first = augment.batch(index, _generator())
    torch.manual_seed(2)
    assert torch.equal(first, augment.batch(index, _generator()))
    assert not torch.equal(first, augment.batch(index, torch.Generator().manual_seed(2)))


def _worn(tilts_deg: list[float], labels: list[int]) -> Windows:
    """Windows with 1 g at different tilts in the x-z plane, and a different movement along y."""
    angle = np.radians(tilts_deg)[:, None]
    signals = np.zeros((len(labels), 128, 9), np.float32)
    signals[:, :, 6], signals[:, :, 8] = np.cos(angle), np.sin(angle)
    signals[:, :, 1] = np.sin(np.arange(128) / 5) * np.arange(1, 1 + len(labels))[:, None]
    return Windows(signals, np.array(labels), np.ones(len(labels), np.int64))


def test_gravity_swap_uses_windows_of_the_same_label() -> None:
    tilts, labels = [0.0, 20.0, 40.0, 70.0, 90.0], [0, 0, 0, 1, 1]
    windows = _worn(tilts, labels)
    augment = Augmenter(windows, AugmentConfig(gravity_swap=1.0), torch.ones(9))
    seen: set[tuple[int, int]] = set()
    for seed in range(60):
        batch = augment.batch(torch.arange(5), torch.Generator().manual_seed(seed)).numpy()
        tilt = np.degrees(np.arctan2(batch[:, :, 8].mean(1), batch[:, :, 6].mean(1)))
        np.testing.assert_allclose(batch[:, :, 1], windows.signals[:, :, 1], atol=1e-5)  # y is the axis of the turns
        for k, angle in enumerate(tilt):
            other = int(np.argmin(np.abs(np.array(tilts) - angle)))
            assert abs(tilts[other] - angle) < 0.1
            assert labels[other] == labels[k]
            seen.add((k, other))
    assert len(seen) == 3 * 3 + 2 * 2  # every pair of a label, itself included


def test_opposite_gravity_is_not_swapped() -> None:
    opposite = _worn([0.0, 180.0], [0, 0])
    turned = Augmenter(opposite, AugmentConfig(gravity_swap=1.0), torch.ones(9)).batch(torch.arange(2), _generator())
    np.testing.assert_allclose(turned.numpy(), opposite.signals, atol=1e-6)
    half = _worn([0.0, 60.0], [0, 0])
    index = torch.zeros(4000, dtype=torch.long)
    some = Augmenter(half, AugmentConfig(gravity_swap=0.5), torch.ones(9)).batch(index, _generator())
    changed = float((some[:, 0, 8] > 0.1).float().mean())
    assert abs(changed - 0.25) < 0.03  # half of them are turned, half of those to the window itself


def test_gravity_swap_requires_gravity() -> None:
    with pytest.raises(InputError, match="add total_acc"):
        Augmenter(
            Windows(np.zeros((2, 128, 3), np.float32), np.array([0, 1]), np.ones(2, np.int64)),
            AugmentConfig(gravity_swap=0.5),
            torch.ones(3),
        )
