"""The official preprocessing for whole recordings, as recovered from the published files.

Every filter is causal and starts from zero, so the same chain can run sample by sample on a phone.
The data set's description names a third-order low-pass; its files were made with this chain instead: it
gives all 10,299 published windows back within 5.0e-7, the rounding of their text (checked in the tests).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import FilterChain, Lowpass

Floats = NDArray[np.float64]


def design_sos(lowpass: Lowpass, rate_hz: float) -> Floats:
    """Second-order sections [ceil(order / 2), 6] (b0 b1 b2 a0 a1 a2, a0 = 1) of a Butterworth low-pass.

    Raises InputError where such a filter does not exist, as with a cutoff at or above half the rate.
    """
    from scipy.signal import butter

    if lowpass.order < 1 or not 0.0 < lowpass.cutoff_hz < rate_hz / 2:
        raise InputError(
            f"a low-pass of order {lowpass.order} at {lowpass.cutoff_hz} Hz is impossible at {rate_hz} samples a "
            f"second: the order must be at least 1 and the cutoff between 0 and {rate_hz / 2} Hz"
        )
    result: Floats = butter(lowpass.order, lowpass.cutoff_hz, btype="low", fs=rate_hz, output="sos")
    return result


def preprocess(acc: NDArray[np.floating], gyro: NDArray[np.floating], chain: FilterChain, rate_hz: float) -> Floats:
    """One recording, filtered whole: acc [n, 3] in g and gyro [n, 3] in rad/s -> [n, 9] like contract.CHANNELS.

    Raises InputError for other shapes, no samples, and NaN or infinity, which would stay in the filters.
    """
    for name, signal in (("acceleration", acc), ("angular velocity", gyro)):
        if signal.ndim != 2 or signal.shape[1] != 3 or len(signal) != len(acc):
            raise InputError(f"{name} has shape {signal.shape}; expected [samples, 3], as many samples as acceleration")
        if not np.isfinite(signal).all():
            bad = int(np.argmin(np.isfinite(signal).all(axis=1)))
            raise InputError(f"{name} holds NaN or infinity in sample {bad}: repair or cut the recording there")
    if not len(acc):
        raise InputError("the recording has no samples")
    raw = np.concatenate([acc, gyro], axis=1).astype(np.float64)
    smooth = _lowpassed(_median(raw, chain.median), chain.noise, rate_hz)
    total_acc, rotation = smooth[:, :3], smooth[:, 3:]
    body_acc = total_acc - _lowpassed(total_acc, chain.gravity, rate_hz)
    body_gyro = rotation - _lowpassed(rotation, chain.drift, rate_hz)
    return np.concatenate([body_acc, body_gyro, total_acc], axis=1)


def _median(x: Floats, size: int) -> Floats:
    """Median of `size` samples around each one, per channel; beyond the ends there are zeros."""
    from scipy.ndimage import median_filter  # scipy.signal.medfilt's answers, also for recordings shorter than `size`

    if size < 1 or size % 2 == 0:
        raise InputError(f"a median filter of {size} samples has no middle: choose 1, 3, 5, ...")
    result: Floats = median_filter(x, size=(size, 1), mode="constant", cval=0.0)
    return result


def _lowpassed(x: Floats, lowpass: Lowpass, rate_hz: float) -> Floats:
    from scipy.signal import sosfilt

    result: Floats = sosfilt(design_sos(lowpass, rate_hz), x, axis=0)  # no `zi`: zero initial state
    return result
