"""Resampling of irregular sensor samples to a uniform grid, for one sensor or for two with different rates.

The class is ported to Kotlin line by line (android_demo): times are integers in nanoseconds (Long), values are doubles.
The result depends on the samples of each sensor, not on how those of two sensors are interleaved, unless a sensor
times out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECOND = 1_000_000_000  # nanoseconds
GAP_SECONDS = 0.2  # longer gaps are not interpolated; benchmarks/stream_fidelity.json measures the effect
SENSOR_TIMEOUT_S = 10.0  # phones deliver samples in batches of a few seconds at most
MAX_PLAUSIBLE = 1e6  # larger numbers are no measurements of a phone, in any unit

Values = tuple[float, ...]


@dataclass(frozen=True)
class GridSample:
    """Values of all sensors (three axes each, one sensor after the other) at one time of the grid."""

    time_ns: int
    values: Values


@dataclass(frozen=True)
class Restart:
    """The grid ends before `time_ns` and restarts at or after it; `reason` is for messages."""

    time_ns: int
    reason: str


@dataclass
class Dropped:
    """Number of dropped samples of a sensor, by cause."""

    repeated: int = 0  # same time as the sample before
    late: int = 0  # earlier than the sample before, by no more than a gap
    unreadable: int = 0  # NaN, infinite, or above MAX_PLAUSIBLE

    @property
    def total(self) -> int:
        return self.repeated + self.late + self.unreadable


@dataclass(frozen=True)
class _Point:
    time_ns: int
    values: Values
    after_gap: bool


class _Track:
    """Pending samples of one sensor; the first one is at or before the next time of the grid.

    A sensor that is faster than the grid is averaged over `average_over` samples first, against aliasing of
    frequencies above half the rate of the grid. The mean is assigned to the middle of its samples' times.
    """

    def __init__(self, name: str, gap_ns: int, average_over: int) -> None:
        self.name = name
        self.pending: deque[_Point] = deque()
        self.dropped = Dropped()
        self._gap_ns, self._mean_of = gap_ns, average_over
        self._last_ns: int | None = None
        self._recent: deque[tuple[int, Values]] = deque()
        self._after_gap = False

    def clear(self) -> None:
        self.pending.clear()
        self._recent.clear()
        self._last_ns, self._after_gap = None, False

    def runs_back(self, time_ns: int) -> bool:
        """Return whether time jumps back by more than a gap, as when a recording restarts."""
        return self._last_ns is not None and time_ns < self._last_ns - self._gap_ns

    def push(self, time_ns: int, values: Values) -> None:
        if not all(abs(value) < MAX_PLAUSIBLE for value in values):  # NaN compares as false
            self.dropped.unreadable += 1
            return
        if self._last_ns is not None and time_ns <= self._last_ns:
            if time_ns == self._last_ns:
                self.dropped.repeated += 1
            else:
                self.dropped.late += 1
            return
        if self._last_ns is not None and time_ns - self._last_ns > self._gap_ns:
            self._recent.clear()
            self._after_gap = True
        self._last_ns = time_ns
        self._recent.append((time_ns, values))
        if len(self._recent) < self._mean_of:
            return
        first_ns, last_ns = self._recent[0][0], self._recent[-1][0]
        # The sum of the times may not fit into 64 bits.
        middle_ns = first_ns + (last_ns - first_ns) // 2
        mean = tuple(sum(axis) / self._mean_of for axis in zip(*(past for _, past in self._recent), strict=True))
        self.pending.append(_Point(middle_ns, mean, self._after_gap))
        self._after_gap = False
        self._recent.popleft()

    def advance_to(self, time_ns: int) -> str:
        """Drop samples before `time_ns`; return whether the value there is "ready", must "wait", or is in a "gap"."""
        while self.pending[0].time_ns < time_ns:
            if len(self.pending) < 2:
                return "wait"
            if self.pending[1].after_gap:
                return "gap"
            if self.pending[1].time_ns > time_ns:
                return "ready"
            self.pending.popleft()
        return "ready"

    def interpolate(self, time_ns: int) -> Values:
        """Interpolate linearly at a time that is "ready"."""
        left = self.pending[0]
        if left.time_ns == time_ns:
            return left.values
        right = self.pending[1]
        weight = (right.time_ns - time_ns) / (right.time_ns - left.time_ns)
        return tuple(b - (b - a) * weight for a, b in zip(left.values, right.values, strict=True))


class Resampler:
    """Converts samples of sensors to grid samples and restarts.

    The grid starts at the first time that all sensors cover; its k-th time is rint(k * 1e9 / rate_hz) nanoseconds
    later. It ends and restarts where a sensor has a gap of more than `gap_s`, where one sensor times out after
    SENSOR_TIMEOUT_S, and where time jumps back by more than `gap_s`.

    Args:
        sensors: Names of the sensors.
        rate_hz: Rate of the grid.
        average_over: Number of samples to average first, by sensor (see `averaging_length`); default 1.
        gap_s: Longest gap to interpolate.
    """

    def __init__(
        self, sensors: tuple[str, ...], rate_hz: float, average_over: dict[str, int], gap_s: float = GAP_SECONDS
    ) -> None:
        self._rate_hz = rate_hz
        self._tracks = {name: _Track(name, round(gap_s * SECOND), average_over.get(name, 1)) for name in sensors}
        self._origin_ns: int | None = None
        self._index = 0

    @property
    def dropped(self) -> dict[str, Dropped]:
        """Number of dropped samples of each sensor so far."""
        return {name: track.dropped for name, track in self._tracks.items()}

    def push(self, sensor: str, time_ns: int, values: Values) -> list[GridSample | Restart]:
        """Add one sample of one sensor (three axes); return the grid samples and restarts it completes, by time."""
        out: list[GridSample | Restart] = []
        track = self._tracks[sensor]
        if track.runs_back(time_ns):
            for other in self._tracks.values():  # samples of the old clock do not fit the new one
                other.clear()
            self._origin_ns = None
            out.append(Restart(time_ns, f"the {sensor} timestamps jumped backwards"))
        track.push(time_ns, values)
        self._advance(out)
        if track.pending and track.pending[-1].time_ns - track.pending[0].time_ns > SENSOR_TIMEOUT_S * SECOND:
            self._drop_timed_out(track, out)
        return out

    def end(self) -> None:
        """Drop all samples: the next sample begins a new recording."""
        for track in self._tracks.values():
            track.clear()
        self._origin_ns = None

    def _advance(self, out: list[GridSample | Restart]) -> None:
        tracks = list(self._tracks.values())
        while True:
            if self._origin_ns is None and not self._begin(tracks):
                return
            assert self._origin_ns is not None
            time_ns = self._origin_ns + round(self._index * SECOND / self._rate_hz)
            states = [track.advance_to(time_ns) for track in tracks]
            if "gap" in states:
                lagging = tracks[states.index("gap")]
                before, after = lagging.pending[0].time_ns, lagging.pending[1].time_ns
                lagging.pending.popleft()
                self._origin_ns = None
                out.append(Restart(after, f"no {lagging.name} for {(after - before) / SECOND:.2f} s"))
            elif "wait" in states:
                return
            else:
                out.append(
                    GridSample(time_ns, tuple(value for track in tracks for value in track.interpolate(time_ns)))
                )
                self._index += 1

    def _begin(self, tracks: list[_Track]) -> bool:
        """Find the first time that all sensors cover; return whether it is known."""
        while all(track.pending for track in tracks):
            start_ns = max(track.pending[0].time_ns for track in tracks)
            states = [track.advance_to(start_ns) for track in tracks]
            if "gap" in states:
                tracks[states.index("gap")].pending.popleft()
            elif "wait" in states:
                return False
            else:
                self._origin_ns, self._index = start_ns, 0
                return True
        return False

    def _drop_timed_out(self, track: _Track, out: list[GridSample | Restart]) -> None:
        lagging = " and ".join(name for name, other in self._tracks.items() if other is not track)
        newest = track.pending[-1]
        track.pending.clear()
        track.pending.append(newest)
        self._origin_ns = None
        out.append(Restart(newest.time_ns, f"no {lagging} for {SENSOR_TIMEOUT_S:.0f} s"))


def averaging_length(sensor_hz: float, grid_hz: float) -> int:
    """Return the number of samples of a sensor in one period of the grid, at least 1."""
    return max(1, round(sensor_hz / grid_hz))
