"""Filter chain of UCI HAR for whole recordings, as recovered from the published files.

The dataset's description names a third-order low-pass, but its files were made with this chain: it reproduces all
10,299 published windows within 5.0e-7, the rounding of their text (checked in the tests). Every filter is causal and
starts from zero, so the same chain can run sample by sample (see stream.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import FilterChain, Lowpass

Floats = NDArray[np.float64]

# In a steady start the gravity filter starts from the mean acceleration of this time (see `preprocess`).
START_SECONDS = 1.0


def design_sos(lowpass: Lowpass, rate_hz: float) -> Floats:
    """Design a Butterworth low-pass as second-order sections.

    Args:
        lowpass: Order and cutoff.
        rate_hz: Sampling rate.

    Returns:
        [ceil(order / 2), 6]: b0 b1 b2 a0 a1 a2 of each section, a0 = 1.

    Raises:
        InputError: The order is below 1, or the cutoff is not between 0 and half the rate.
    """
    from scipy.signal import butter

    if lowpass.order < 1 or not 0.0 < lowpass.cutoff_hz < rate_hz / 2:
        raise InputError(
            f"a low-pass of order {lowpass.order} at {lowpass.cutoff_hz} Hz is impossible at {rate_hz} Hz: the order "
            f"must be at least 1 and the cutoff between 0 and {rate_hz / 2} Hz"
        )
    result: Floats = butter(lowpass.order, lowpass.cutoff_hz, btype="low", fs=rate_hz, output="sos")
    return result


def steady_state(sos: Floats, x: float) -> list[tuple[float, float]]:
    """Return the state z0, z1 of each section that a constant input `x` leads to (as scipy.signal.sosfilt_zi)."""
    state = []
    for b0, b1, b2, _, a1, a2 in sos.tolist():
        y = x * (b0 + b1 + b2) / (1.0 + a1 + a2)
        z1 = b2 * x - a2 * y
        state.append((b1 * x - a1 * y + z1, z1))
        x = y
    return state


def mean_of_start(values: list[float]) -> float:
    """Return the mean, summed in the order of time (as the Kotlin version does)."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def preprocess(
    acc: NDArray[np.floating], gyro: NDArray[np.floating], chain: FilterChain, rate_hz: float, start: str = "zero"
) -> Floats:
    """Filter a whole recording.

    Args:
        acc: [n, 3], in g.
        gyro: [n, 3], in rad/s.
        chain: Filters of the contract.
        rate_hz: Sampling rate.
        start: Initial state of the filters. "zero" reproduces the published windows. "steady" is what a stream uses:
            the median and the noise filter start as if the first sample had lasted forever, the gravity filter as if
            the mean acceleration of the first second had, and the drift filter from no rotation.

    Returns:
        [n, 9], channels as in `contract.CHANNELS`.

    Raises:
        InputError: The shapes differ, there are no samples, or a sample is NaN or infinite and would stay in the
            filters.
    """
    for name, signal in (("acceleration", acc), ("angular velocity", gyro)):
        if signal.ndim != 2 or signal.shape[1] != 3 or len(signal) != len(acc):
            raise InputError(
                f"{name} has shape {signal.shape}; expected [samples, 3] and as many samples as the acceleration"
            )
        if not np.isfinite(signal).all():
            bad = int(np.argmin(np.isfinite(signal).all(axis=1)))
            raise InputError(f"{name} is NaN or infinite in sample {bad}: repair or cut the recording there")
    if not len(acc):
        raise InputError("the recording has no samples")
    raw = np.concatenate([acc, gyro], axis=1).astype(np.float64)
    total, body = filter_sensors(raw, (True, False), chain, rate_hz, start)
    return np.concatenate([body, total[:, :3]], axis=1)


def filter_sensors(
    raw: Floats, is_acceleration: Sequence[bool], chain: FilterChain, rate_hz: float, start: str
) -> tuple[Floats, Floats]:
    """Filter the signals of some sensors.

    Args:
        raw: [n, 3 * sensors].
        is_acceleration: Whether each sensor is an accelerometer; the others are gyroscopes.
        chain: Filters of the contract.
        rate_hz: Sampling rate.
        start: As for `preprocess`.

    Returns:
        The smoothed signals, and the same without gravity or drift, [n, 3 * sensors] each.
    """
    is_steady = start == "steady"
    if is_steady:
        before = np.repeat(raw[:1], chain.median // 2, axis=0)
        middle = apply_median(np.concatenate([before, raw]), chain.median)[len(before) :]
    else:
        middle = apply_median(raw, chain.median)
    total = apply_lowpass(middle, chain.noise, rate_hz, raw[0] if is_steady else None)
    beginning = raw[: max(1, round(START_SECONDS * rate_hz))]
    body = np.empty_like(total)
    for k, has_gravity in enumerate(is_acceleration):
        axes = slice(3 * k, 3 * k + 3)
        slow = None
        if is_steady:
            slow = np.array([mean_of_start(axis) if has_gravity else 0.0 for axis in beginning[:, axes].T.tolist()])
        lowpass = chain.gravity if has_gravity else chain.drift
        body[:, axes] = total[:, axes] - apply_lowpass(total[:, axes], lowpass, rate_hz, slow)
    return total, body


def apply_median(x: Floats, size: int) -> Floats:
    """Apply a median filter of `size` samples per channel; zeros are assumed beyond the ends."""
    from scipy.ndimage import median_filter  # equal to scipy.signal.medfilt, also for short recordings

    if size < 1 or size % 2 == 0:
        raise InputError(f"a median filter of {size} samples must have an odd size: 1, 3, 5, ...")
    result: Floats = median_filter(x, size=(size, 1), mode="constant", cval=0.0)
    return result


def apply_lowpass(x: Floats, lowpass: Lowpass, rate_hz: float, steady: Floats | None = None) -> Floats:
    """Filter each channel, from the steady state of the constant input `steady` [channels]; None: from zero."""
    from scipy.signal import sosfilt

    sos = design_sos(lowpass, rate_hz)
    if steady is None:
        result: Floats = sosfilt(sos, x, axis=0)
    else:
        states = np.array([steady_state(sos, value) for value in steady.tolist()])  # [channels, sections, 2]
        result, _ = sosfilt(sos, x, axis=0, zi=states.transpose(1, 2, 0))
    return result
