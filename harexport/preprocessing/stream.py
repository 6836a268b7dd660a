"""Sample-by-sample preprocessing, as it runs on a phone; equal to filters.py up to rounding.

    sample -> units -> Resampler -> Mount -> MedianFilter -> SosFilter (noise) -> SosFilter (gravity, drift)
           -> WindowBuffer

The module is ported to Kotlin line by line (android_demo): scalar double arithmetic in the order written here, without
arrays. All steps are causal except the median, which needs one later sample; a window is complete one sample after its
last one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.contract import Contract, are_vectors
from harexport.preprocessing.filters import START_SECONDS, design_sos, mean_of_start, steady_state
from harexport.preprocessing.mount import AS_IS, Mount
from harexport.preprocessing.resampler import GAP_SECONDS, Dropped, Resampler, Restart, Values

STANDARD_GRAVITY = 9.80665  # m/s2, exact by definition
ACC, GYRO = "accelerometer", "gyroscope"
# Divisors that convert a unit to g or rad/s.
UNITS: dict[str, dict[str, float]] = {
    ACC: {"g": 1.0, "m/s2": STANDARD_GRAVITY},
    GYRO: {"rad/s": 1.0, "deg/s": 180.0 / math.pi},
}
_SMALL_UNITS: dict[str, dict[str, float]] = {ACC: {"mg": 1000.0}, GYRO: {"mdps": 180_000.0 / math.pi}}
# The accuracy by seconds after the start of the filters is in benchmarks/stream_fidelity.json.
SETTLING_SECONDS = 0.5
_AXES = "xyz"
_KINDS = {"body_acc": (ACC, "g"), "total_acc": (ACC, "g"), "body_gyro": (GYRO, "rad/s")}


@dataclass(frozen=True)
class Window:
    """One window of the contract's channels.

    Attributes:
        start_ns: Time of the first sample.
        end_ns: Time of the last sample.
        signals: [window][channels], in the contract's units.
        is_settled: Whether the window starts SETTLING_SECONDS or more after the start of the filters.
    """

    start_ns: int
    end_ns: int
    signals: tuple[Values, ...]
    is_settled: bool

    def array(self) -> NDArray[np.float64]:
        """Return the signals as an array [window, channels]."""
        return np.array(self.signals, dtype=np.float64)


class MedianFilter:
    """Median filter of odd `size`; its output is size // 2 samples late. Zeros are assumed beyond the ends."""

    def __init__(self, size: int) -> None:
        if size < 1 or size % 2 == 0:
            raise InputError(f"a median filter of {size} samples must have an odd size: 1, 3, 5, ...")
        self._size = size
        self._recent = deque([0.0] * (size // 2), maxlen=size)

    def start(self, x: float) -> None:
        """Assume `x` instead of zeros before the first sample."""
        self._recent = deque([x] * (self._size // 2), maxlen=self._size)

    def push(self, x: float) -> float | None:
        """Add a sample; return the next output, None while the first sample lacks its neighbors."""
        self._recent.append(x)
        if len(self._recent) < self._size:
            return None
        return sorted(self._recent)[self._size // 2]


class SosFilter:
    """Cascade of second-order sections (b0 b1 b2 a0 a1 a2, a0 = 1), direct form II transposed, from zero state.

    The order of operations is that of scipy.signal.sosfilt, so the outputs are bit-identical where neither compiler
    fuses multiplication and addition.
    """

    def __init__(self, sos: NDArray[np.float64]) -> None:
        self._sos = sos
        # b0 b1 b2 a1 a2, and the section's state z0 z1
        self._sections = [
            [float(b0), float(b1), float(b2), float(a1), float(a2), 0.0, 0.0] for b0, b1, b2, _, a1, a2 in sos
        ]

    def start(self, x: float) -> None:
        """Set the state that a constant input `x` leads to."""
        for section, (z0, z1) in zip(self._sections, steady_state(self._sos, x), strict=True):
            section[5], section[6] = z0, z1

    def push(self, x: float) -> float:
        """Filter one sample."""
        for section in self._sections:
            b0, b1, b2, a1, a2, z0, z1 = section
            y = b0 * x + z0
            section[5] = b1 * x - a1 * y + z1
            section[6] = b2 * x - a2 * y
            x = y
        return x


class _Axis:
    """Filters of one axis: the smoothed signal, and the same without its slow part (gravity or drift)."""

    def __init__(self, median: int, noise: NDArray[np.float64], slow: NDArray[np.float64]) -> None:
        self._median, self._noise, self._slow = MedianFilter(median), SosFilter(noise), SosFilter(slow)

    def push(self, raw: float) -> tuple[float, float] | None:
        middle = self._median.push(raw)
        if middle is None:
            return None
        total = self._noise.push(middle)
        return total, total - self._slow.push(total)

    def start(self, first: float, slow: float) -> None:
        self._median.start(first)
        self._noise.start(first)
        self._slow.start(slow)

    @property
    def state(self) -> list[float]:
        """Everything that depends linearly on earlier samples, in a fixed order."""
        sections = [z for sos in (self._noise, self._slow) for section in sos._sections for z in section[5:]]
        return [*self._median._recent, *sections]

    @state.setter
    def state(self, values: list[float]) -> None:
        left = iter(values)
        recent = self._median._recent
        for k in range(len(recent)):
            recent[k] = next(left)
        for sos in (self._noise, self._slow):
            for section in sos._sections:
                section[5], section[6] = next(left), next(left)


class Filters:
    """Filters grid samples (three axes of each of `sensors`) into samples of the contract's channels.

    The filters start from zero, as for the published windows, unless `start` is called before the first sample.
    """

    def __init__(self, contract: Contract) -> None:
        self.sensors = required_sensors(contract)
        chain, rate = contract.filters, contract.rate_hz
        noise = design_sos(chain.noise, rate)
        slow = {ACC: design_sos(chain.gravity, rate), GYRO: design_sos(chain.drift, rate)}
        self._axes = [_Axis(chain.median, noise, slow[sensor]) for sensor in self.sensors for _ in _AXES]
        self._look_ahead = chain.median // 2
        self._picks = channel_sources(contract)

    def start(self, samples: Sequence[Values]) -> None:
        """Start from the steady state of the first grid samples, which are pushed afterwards.

        The median and the noise filter start as if the first sample had lasted forever, the gravity filter as if the
        mean acceleration of `samples` had, and the drift filter from no rotation.
        """
        for k, axis in enumerate(self._axes):
            is_acceleration = self.sensors[k // 3] == ACC
            slow = mean_of_start([values[k] for values in samples]) if is_acceleration else 0.0
            axis.start(samples[0][k], slow)

    def rotate(self, mount: Mount) -> None:
        """Continue as if all earlier samples had been rotated by `mount`.

        Exact but for the medians that were already taken: the other filters are linear and the same for the axes of a
        sensor.
        """
        for k in range(0, len(self._axes), 3):
            axes = self._axes[k : k + 3]
            rotated = [mount.rotate(vector) for vector in zip(*(axis.state for axis in axes), strict=True)]
            for axis, state in zip(axes, zip(*rotated, strict=True), strict=True):
                axis.state = list(state)

    def push(self, values: Values) -> Values | None:
        """Add one grid sample; return the channels of the sample before it, None at the start."""
        pushed = (axis.push(value) for axis, value in zip(self._axes, values, strict=True))
        both = [pair for pair in pushed if pair is not None]
        if not both:  # every axis has the same delay
            return None
        return tuple(both[axis][which] for axis, which in self._picks)

    def flush(self) -> list[Values]:
        """Return the channels of the last samples, with zeros beyond the end. The filters cannot be used afterwards."""
        ends = (self.push((0.0,) * len(self._axes)) for _ in range(self._look_ahead))
        return [channels for channels in ends if channels is not None]


class WindowBuffer:
    """Collects samples of channels into windows: the last `window` samples, every `hop` samples."""

    def __init__(self, contract: Contract) -> None:
        self._window, self._hop = contract.window, contract.hop
        self._settling = SETTLING_SECONDS * contract.rate_hz
        self._recent: deque[tuple[int, Values]] = deque(maxlen=contract.window)
        self._count = 0

    def rotate(self, mount: Mount) -> None:
        """Rotate the samples that later windows contain. The channels are x, y, z of one vector after another."""
        self._recent = deque(((at, mount.rotate(values)) for at, values in self._recent), maxlen=self._window)

    def push(self, time_ns: int, channels: Values) -> Window | None:
        """Add one sample; return the window that it completes, if any."""
        self._recent.append((time_ns, channels))
        self._count += 1
        begins = self._count - self._window
        if begins < 0 or begins % self._hop:
            return None
        signals = tuple(values for _, values in self._recent)
        return Window(self._recent[0][0], time_ns, signals, is_settled=begins >= self._settling)


class Stream:
    """Preprocessing of one phone: converts samples at the sensors' own times to windows and restarts.

    Args:
        contract: Channels, rate, window and filters.
        units: Unit of each sensor's samples (see UNITS); default g and rad/s.
        average_over: See `Resampler`.
        gap_s: See `Resampler`.
        mount: Rotation of the samples into the frame of the model; `rotate_to` changes it later.

    Raises:
        InputError: A unit, channel or filter does not exist.
    """

    def __init__(
        self,
        contract: Contract,
        units: Mapping[str, str] | None = None,
        average_over: Mapping[str, int] | None = None,
        gap_s: float = GAP_SECONDS,
        mount: Mount = AS_IS,
    ) -> None:
        self.sensors = required_sensors(contract)
        self._contract = contract
        self.mount = mount
        self._first: list[Values] = []  # the first grid samples, until the filters have started
        self._first_samples = max(1, round(START_SECONDS * contract.rate_hz))
        self._divisor = {sensor: unit_divisor(sensor, unit) for sensor, unit in (units or {}).items()}
        self._resampler = Resampler(self.sensors, contract.rate_hz, dict(average_over or {}), gap_s)
        self._start()

    @property
    def dropped(self) -> dict[str, Dropped]:
        """Number of dropped samples of each sensor so far."""
        return self._resampler.dropped

    def push(self, sensor: str, time_ns: int, values: Values) -> list[Window | Restart]:
        """Add one sample; return the windows it completes and the restarts it causes.

        Args:
            sensor: Name of the sensor. Sensors that the contract does not need are ignored.
            time_ns: Time of the sample.
            values: Three axes, in the sensor's unit. Samples with NaN or infinity are dropped.
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
                self._push_filters(self.mount.rotate(event.values), out)
        return out

    def rotate_to(self, mount: Mount) -> None:
        """Use another mount from the next sample on, as if it had been used from the start (see Filters.rotate).

        Raises:
            InputError: The contract's channels are not whole vectors.
        """
        if mount == self.mount:
            return
        check_vectors(self._contract)
        change = mount.compose(self.mount.inverse)
        self._filters.rotate(change)
        self._buffer.rotate(change)
        self._first = [change.rotate(values) for values in self._first]
        self.mount = mount

    def flush(self) -> list[Window | Restart]:
        """End the recording; return the window that its last sample completes, if any.

        The next sample starts a new recording.
        """
        out = self._finish()
        self._resampler.end()
        self._start()
        return out

    def _start(self) -> None:
        self._filters, self._buffer = Filters(self._contract), WindowBuffer(self._contract)
        self._times: deque[int] = deque()  # of grid samples that are still in the median
        self._first.clear()
        self._has_started = False

    def _push_filters(self, values: Values, out: list[Window | Restart]) -> None:
        if self._has_started:
            self._add_filtered(self._filters.push(values), out)
            return
        self._first.append(values)
        if len(self._first) >= self._first_samples:
            self._start_filters(out)

    def _start_filters(self, out: list[Window | Restart]) -> None:
        self._filters.start(self._first)
        self._has_started = True
        for values in self._first:
            self._add_filtered(self._filters.push(values), out)
        self._first.clear()

    def _finish(self) -> list[Window | Restart]:
        out: list[Window | Restart] = []
        if self._first:
            self._start_filters(out)
        if self._times:
            for channels in self._filters.flush():
                self._add_filtered(channels, out)
        return out

    def _add_filtered(self, channels: Values | None, out: list[Window | Restart]) -> None:
        if channels is not None and (window := self._buffer.push(self._times.popleft(), channels)):
            out.append(window)


def required_sensors(contract: Contract) -> tuple[str, ...]:
    """Return the sensors that a contract's channels require: ACC, GYRO or both.

    Raises:
        InputError: A channel or unit is not supported.
    """
    needed = set()
    for channel, unit in zip(contract.channels, contract.units, strict=True):
        kind, _, axis = channel.rpartition("_")
        if kind not in _KINDS or axis not in tuple(_AXES):
            known = ", ".join(f"{kind}_x|y|z" for kind in _KINDS)
            raise InputError(f"the model requires the channel {channel!r}, which is not supported; supported: {known}")
        if unit != _KINDS[kind][1]:
            raise InputError(f"the model requires {channel} in {unit}; only {_KINDS[kind][1]} is supported")
        needed.add(_KINDS[kind][0])
    return tuple(sensor for sensor in (ACC, GYRO) if sensor in needed)


def check_vectors(contract: Contract) -> None:
    """Raise InputError where the channels are not x, y, z of one sensor after another, which a rotation needs."""
    if not are_vectors(contract.channels):
        raise InputError(
            f"a mount needs channels that are x, y, z of whole vectors; this model has {', '.join(contract.channels)}"
        )


def channel_sources(contract: Contract) -> list[tuple[int, bool]]:
    """Return, for each channel, the axis among those of the required sensors, and whether its slow part is removed."""
    sensors = required_sensors(contract)
    sources = []
    for channel in contract.channels:
        kind, _, axis = channel.rpartition("_")
        sources.append((3 * sensors.index(_KINDS[kind][0]) + _AXES.index(axis), kind.startswith("body")))
    return sources


def unit_divisor(sensor: str, unit: str, where: str = "", hint: Callable[[str], str] = "choose {}".format) -> float:
    """Return the divisor that converts a unit to g or rad/s.

    Args:
        sensor: ACC or GYRO.
        unit: A unit of UNITS, mg or mdps, or the counts of a raw sensor: "16384/g", "131/dps".
        where: Beginning of the error message.
        hint: Describes how to state a unit.

    Raises:
        InputError: The unit is unknown.
    """
    if (divisor := {**UNITS[sensor], **_SMALL_UNITS[sensor]}.get(unit)) is not None:
        return divisor
    counts, _, per = unit.partition("/")
    per = {"dps": "deg/s", "(deg/s)": "deg/s"}.get(per, per)
    try:
        number = float(counts) if counts.isascii() and "_" not in counts else 0.0
    except ValueError:
        number = 0.0
    if per in UNITS[sensor] and 0 < number < 1e9:
        return number * UNITS[sensor][per]
    example = "16384/g" if sensor == ACC else "131/dps"
    raise InputError(
        f"{where}the unit {unit!r} of the {sensor} is unknown; choose one of "
        f"{', '.join([*UNITS[sensor], *_SMALL_UNITS[sensor]])}, or its counts per unit, such as {example}: "
        f"{hint(next(iter(UNITS[sensor])))}"
    )
