"""The chain of chain.py sample by sample, as a phone must run it: the same answers, to rounding.

    sample -> units -> Resampler -> Median -> Sections (noise) -> Sections (gravity, drift) -> WindowBuffer -> window

Meant to be mirrored in Kotlin line by line: scalar double arithmetic in the order written here, no arrays, no library.
Everything is causal except the median, which looks one sample ahead; so a window is whole one sample after its last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.filters import design_sos
from harexport.preprocessing.resampler import GAP_SECONDS, Dropped, Resampler, Restart, Values

STANDARD_GRAVITY = 9.80665  # m/s2, exact by definition
ACC, GYRO = "accelerometer", "gyroscope"
# What a number in this unit is divided by, to be in g or rad/s.
UNITS: dict[str, dict[str, float]] = {
    ACC: {"g": 1.0, "m/s2": STANDARD_GRAVITY},
    GYRO: {"rad/s": 1.0, "deg/s": 180.0 / math.pi},
}
# Filters that start from zero answer nonsense at first: benchmarks/stream_fidelity.json has the accuracy by seconds.
SETTLING_SECONDS = 5.0
_AXES = "xyz"
_KINDS = {"body_acc": (ACC, "g"), "total_acc": (ACC, "g"), "body_gyro": (GYRO, "rad/s")}


@dataclass(frozen=True)
class Window:
    """signals [window][channels] in the contract's units, from the sample at `start_ns` to the one at `end_ns`.

    `settled` is false where it begins less than SETTLING_SECONDS after the chain's start.
    """

    start_ns: int
    end_ns: int
    signals: tuple[Values, ...]
    settled: bool

    def array(self) -> NDArray[np.float64]:
        """The signals as [window, channels]."""
        return np.array(self.signals, dtype=np.float64)


class MedianFilter:
    """Median of the last `size` samples: the answer for the sample size // 2 before the newest. Zeros around the ends.

    Raises InputError for a size without a middle.
    """

    def __init__(self, size: int) -> None:
        if size < 1 or size % 2 == 0:
            raise InputError(f"a median filter of {size} samples has no middle: choose 1, 3, 5, ...")
        self._size = size
        self._recent = deque([0.0] * (size // 2), maxlen=size)

    def push(self, x: float) -> float | None:
        """The next answer; None while the first sample still lacks its neighbours."""
        self._recent.append(x)
        if len(self._recent) < self._size:
            return None
        return sorted(self._recent)[self._size // 2]


class SosFilter:
    """A cascade of second-order sections (b0 b1 b2 a0 a1 a2, a0 = 1), direct form II transposed, from zero state.

    The order of operations is scipy.signal.sosfilt's, so the answers are the same bit for bit where neither
    compiler fuses multiplication and addition.
    """

    def __init__(self, sos: NDArray[np.float64]) -> None:
        # b0 b1 b2 a1 a2, and the section's state z0 z1
        self._sections = [
            [float(b0), float(b1), float(b2), float(a1), float(a2), 0.0, 0.0] for b0, b1, b2, _, a1, a2 in sos
        ]

    def push(self, x: float) -> float:
        for section in self._sections:
            b0, b1, b2, a1, a2, z0, z1 = section
            y = b0 * x + z0
            section[5] = b1 * x - a1 * y + z1
            section[6] = b2 * x - a2 * y
            x = y
        return x


class _Axis:
    """One axis of one sensor: the smoothed signal, and the same without its slow part (gravity or drift)."""

    def __init__(self, median: int, noise: NDArray[np.float64], slow: NDArray[np.float64]) -> None:
        self._median, self._noise, self._slow = MedianFilter(median), SosFilter(noise), SosFilter(slow)

    def push(self, raw: float) -> tuple[float, float] | None:
        middle = self._median.push(raw)
        if middle is None:
            return None
        total = self._noise.push(middle)
        return total, total - self._slow.push(total)


class Filters:
    """Grid samples (three axes of each of `sensors`) in, samples of the contract's channels out, one median late."""

    def __init__(self, contract: Contract) -> None:
        self.sensors = required_sensors(contract)
        chain, rate = contract.filters, contract.rate_hz
        noise = design_sos(chain.noise, rate)
        slow = {ACC: design_sos(chain.gravity, rate), GYRO: design_sos(chain.drift, rate)}
        self._axes = [_Axis(chain.median, noise, slow[sensor]) for sensor in self.sensors for _ in _AXES]
        self._look_ahead = chain.median // 2
        self._picks = []  # for each channel: which axis, and which of its two signals
        for channel in contract.channels:
            kind, _, axis = channel.rpartition("_")
            sensor = _KINDS[kind][0]
            self._picks.append((3 * self.sensors.index(sensor) + _AXES.index(axis), int(kind.startswith("body"))))

    def push(self, values: Values) -> Values | None:
        """One grid sample -> the channels of the sample before it; None at the start."""
        pushed = (axis.push(value) for axis, value in zip(self._axes, values, strict=True))
        both = [pair for pair in pushed if pair is not None]
        if not both:  # all or none: every axis has the same median
            return None
        return tuple(both[axis][which] for axis, which in self._picks)

    def flush(self) -> list[Values]:
        """The channels of the last samples, whose neighbours beyond the end are zeros. The filters are used up."""
        ends = (self.push((0.0,) * len(self._axes)) for _ in range(self._look_ahead))
        return [channels for channels in ends if channels is not None]


class WindowBuffer:
    """Samples of channels in; every `hop` samples, from the first `window` on, the last `window` of them out."""

    def __init__(self, contract: Contract) -> None:
        self._window, self._hop = contract.window, contract.hop
        self._settling = SETTLING_SECONDS * contract.rate_hz
        self._recent: deque[tuple[int, Values]] = deque(maxlen=contract.window)
        self._count = 0

    def push(self, time_ns: int, channels: Values) -> Window | None:
        self._recent.append((time_ns, channels))
        self._count += 1
        begins = self._count - self._window
        if begins < 0 or begins % self._hop:
            return None
        signals = tuple(values for _, values in self._recent)
        return Window(self._recent[0][0], time_ns, signals, settled=begins >= self._settling)


class Stream:
    """The whole chain for one phone: samples at their sensors' own times in, windows and restarts out.

    `units` says what each sensor's samples are in (see UNITS; default g and rad/s), `mean_of` what the Resampler
    takes first. Raises InputError for units, channels or filters that do not exist.
    """

    def __init__(
        self,
        contract: Contract,
        units: Mapping[str, str] | None = None,
        mean_of: Mapping[str, int] | None = None,
        gap_s: float = GAP_SECONDS,
    ) -> None:
        self.sensors = required_sensors(contract)
        self._contract = contract
        self._divisor = {sensor: unit_divisor(sensor, unit) for sensor, unit in (units or {}).items()}
        self._resampler = Resampler(self.sensors, contract.rate_hz, dict(mean_of or {}), gap_s)
        self._start()

    @property
    def dropped(self) -> dict[str, Dropped]:
        """What was left out so far, a sensor."""
        return self._resampler.dropped

    def push(self, sensor: str, time_ns: int, values: Values) -> list[Window | Restart]:
        """One sample of `sensor`, three axes in its unit. Returns the windows it completed and the restarts it caused.

        A sample with NaN or infinity is left out, as if it had been lost on the way. Sensors that the contract does
        not need are ignored.
        """
        if sensor not in self.sensors:
            return []
        divisor = self._divisor.get(sensor, 1.0)
        out: list[Window | Restart] = []
        for event in self._resampler.push(sensor, time_ns, tuple(value / divisor for value in values)):
            if isinstance(event, Restart):
                out += self._finish()
                out.append(event)
                self._start()
            else:
                self._times.append(event.time_ns)
                self._filtered(self._filters.push(event.values), out)
        return out

    def flush(self) -> list[Window | Restart]:
        """The stream has ended: the window, if any, that its very last sample completes. What follows starts anew."""
        out = self._finish()
        self._resampler.end()
        self._start()
        return out

    def _start(self) -> None:
        self._filters, self._buffer = Filters(self._contract), WindowBuffer(self._contract)
        self._times: deque[int] = deque()  # of grid samples that the median still holds back

    def _finish(self) -> list[Window | Restart]:
        out: list[Window | Restart] = []
        if self._times:
            for channels in self._filters.flush():
                self._filtered(channels, out)
        return out

    def _filtered(self, channels: Values | None, out: list[Window | Restart]) -> None:
        if channels is not None and (window := self._buffer.push(self._times.popleft(), channels)):
            out.append(window)


def required_sensors(contract: Contract) -> tuple[str, ...]:
    """The sensors that a contract's channels are made of: ACC, or ACC and GYRO, or GYRO.

    Raises InputError for channels or units that this chain cannot make.
    """
    needed = set()
    for channel, unit in zip(contract.channels, contract.units, strict=True):
        kind, _, axis = channel.rpartition("_")
        if kind not in _KINDS or axis not in tuple(_AXES):
            known = ", ".join(f"{kind}_x|y|z" for kind in _KINDS)
            raise InputError(f"the model wants a channel {channel!r}, which this chain does not make; it makes {known}")
        if unit != _KINDS[kind][1]:
            raise InputError(f"the model wants {channel} in {unit}; this chain makes it in {_KINDS[kind][1]}")
        needed.add(_KINDS[kind][0])
    return tuple(sensor for sensor in (ACC, GYRO) if sensor in needed)


def unit_divisor(sensor: str, unit: str) -> float:
    """What a number in `unit` is divided by, to be in g or rad/s. Raises InputError for a unit not in UNITS."""
    if unit not in UNITS[sensor]:
        raise InputError(f"the {sensor} is said to be in {unit!r}; choose one of {', '.join(UNITS[sensor])}")
    return UNITS[sensor][unit]
