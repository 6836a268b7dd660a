"""The filter chain against the formula, and what makes it fit for a phone: causal, from zero state."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from harexport.errors import InputError
from harexport.model.contract import FilterChain, Lowpass
from harexport.preprocessing.filters import design_sos, preprocess

CHAIN, RATE = FilterChain(), 50.0


def recording(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 0.4, (n, 3)), rng.normal(0.0, 1.0, (n, 3))


def test_equals_the_recovered_formula() -> None:
    acc, gyro = recording(700)
    noise, gravity, drift = (
        signal.butter(order, cutoff, fs=50, output="sos") for order, cutoff in ((10, 20), (3, 0.3), (2, 0.1))
    )
    expected = np.empty((700, 9))
    for k in range(3):
        x = signal.sosfilt(noise, signal.medfilt(acc[:, k], 3))
        w = signal.sosfilt(noise, signal.medfilt(gyro[:, k], 3))
        expected[:, k] = x - signal.sosfilt(gravity, x)
        expected[:, 3 + k] = w - signal.sosfilt(drift, w)
        expected[:, 6 + k] = x
    result = preprocess(acc, gyro, CHAIN, RATE)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("k", [1, 2, 50, 499])
def test_looks_one_sample_ahead_and_no_further(k: int) -> None:
    acc, gyro = recording(500)
    before = preprocess(acc, gyro, CHAIN, RATE)
    acc[k], gyro[k] = acc[k] + 3.0, gyro[k] - 3.0
    after = preprocess(acc, gyro, CHAIN, RATE)
    assert np.array_equal(before[: k - 1], after[: k - 1])
    assert not np.array_equal(before[k - 1 :], after[k - 1 :])


def test_starts_from_zero_state() -> None:
    """A filter primed with its first sample would output a constant with that constant from the start."""
    n = 3000
    result = preprocess(np.ones((n, 3)), np.ones((n, 3)), CHAIN, RATE)
    first = np.prod(design_sos(CHAIN.noise, RATE)[:, 0])  # the product of b0: the output to one sample of 1
    np.testing.assert_allclose(result[0, 6:] / first, 1.0, rtol=0, atol=1e-9)
    assert first < 0.5
    np.testing.assert_allclose(result[-1], [0, 0, 0, 0, 0, 0, 1, 1, 1], rtol=0, atol=1e-3)
    assert not preprocess(np.zeros((50, 3)), np.zeros((50, 3)), CHAIN, RATE).any()


def test_an_impulse_alone_is_removed_by_the_median() -> None:
    acc = np.zeros((100, 3))
    acc[40] = 9.0
    assert not preprocess(acc, acc, CHAIN, RATE).any()
    unfiltered = FilterChain(median=1)
    assert preprocess(acc, acc, unfiltered, RATE)[40:].any()
    assert not preprocess(acc, acc, unfiltered, RATE)[:40].any()


@pytest.mark.parametrize("lowpass", [CHAIN.noise, CHAIN.gravity, CHAIN.drift])
def test_sections_attenuate_by_3_db_at_their_cutoff(lowpass: Lowpass) -> None:
    sos = design_sos(lowpass, RATE)
    assert sos.shape == ((lowpass.order + 1) // 2, 6)
    _, response = signal.sosfreqz(sos, worN=[0.0, lowpass.cutoff_hz], fs=RATE)
    np.testing.assert_allclose(np.abs(response), [1.0, np.sqrt(0.5)], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_short_recordings(n: int) -> None:
    acc, gyro = recording(n)
    assert preprocess(acc, gyro, CHAIN, RATE).shape == (n, 9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_samples_are_refused(value: float) -> None:
    acc, gyro = recording(100)
    gyro[17, 1] = value
    with pytest.raises(InputError, match="angular velocity is NaN or infinite in sample 17"):
        preprocess(acc, gyro, CHAIN, RATE)


def test_an_empty_recording_is_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        preprocess(*recording(0), CHAIN, RATE)


@pytest.mark.parametrize(("acc", "gyro"), [((10, 3), (9, 3)), ((10, 2), (10, 3)), ((10,), (10, 3))])
def test_wrong_shapes_are_refused(acc: tuple[int, ...], gyro: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="has shape"):
        preprocess(np.zeros(acc), np.zeros(gyro), CHAIN, RATE)


@pytest.mark.parametrize("lowpass", [Lowpass(3, 25.0), Lowpass(10, 200.0)])
def test_impossible_filters_are_refused(lowpass: Lowpass) -> None:
    with pytest.raises(InputError, match=r"is impossible at 50\.0 Hz"):
        design_sos(lowpass, RATE)


def test_an_even_median_is_refused() -> None:
    with pytest.raises(InputError, match="must have an odd size"):
        preprocess(*recording(20), FilterChain(median=2), RATE)
