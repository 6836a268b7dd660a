"""Samples at a sensor's own times -> samples on a uniform grid, for one sensor or for two with rates of their own.

Meant to be mirrored in Kotlin line by line: times are integers (nanoseconds, Long), values are doubles, and what comes
out depends on each sensor's samples alone, not on how those of two sensors are interleaved (unless one is given up).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECOND = 1_000_000_000  # nanoseconds
GAP_SECONDS = 0.2  # a longer silence is not bridged: benchmarks/stream_fidelity.json has what bridging costs
SENSOR_TIMEOUT_S = 10.0  # how long one sensor is waited for: phones deliver in batches, of a few seconds at most
MAX_PLAUSIBLE = 1e6  # no phone measures this in any unit; a number that large is no measurement

Values = tuple[float, ...]


@dataclass(frozen=True)
class GridSample:
    """The values of all sensors (three axes each, one sensor after the other) at a time of the grid."""

    time_ns: int
    values: Values


@dataclass(frozen=True)
class Restart:
    """The grid ended before `time_ns` and starts anew at or after it; `reason` says why, in words for people."""

    time_ns: int
    reason: str


@dataclass
class Dropped:
    """Samples of a sensor that were left out, by what was wrong with them."""

    repeated: int = 0  # the time of the sample before
    late: int = 0  # earlier than the sample before, by no more than a gap
    unreadable: int = 0  # NaN, infinity, or implausibly large

    @property
    def total(self) -> int:
        return self.repeated + self.late + self.unreadable


@dataclass(frozen=True)
class _Point:
    time_ns: int
    values: Values
    after_gap: bool


class _Track:
    """One sensor's samples that the grid has not passed yet; the first one is at or before the grid's next time.

    A sensor that is much faster than the grid is averaged over `mean_of` samples first: values above half the grid's
    rate would otherwise fold back as slow motion that never was. The mean belongs to the middle of its samples' times.
    """

    def __init__(self, name: str, gap_ns: int, mean_of: int) -> None:
        self.name = name
        self.pending: deque[_Point] = deque()
        self.dropped = Dropped()
        self._gap_ns, self._mean_of = gap_ns, mean_of
        self._last_ns: int | None = None
        self._recent: deque[tuple[int, Values]] = deque()
        self._after_gap = False

    def clear(self) -> None:
        self.pending.clear()
        self._recent.clear()
        self._last_ns, self._after_gap = None, False

    def runs_back(self, time_ns: int) -> bool:
        """Whether the sensor's clock has jumped back by more than a gap, as when a recording starts again."""
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
        # Not the mean of the times themselves: their sum may not fit into 64 bits.
        middle_ns = first_ns + (last_ns - first_ns) // 2
        mean = tuple(sum(axis) / self._mean_of for axis in zip(*(past for _, past in self._recent), strict=True))
        self.pending.append(_Point(middle_ns, mean, self._after_gap))
        self._after_gap = False
        self._recent.popleft()

    def move_to(self, time_ns: int) -> str:
        """Drop what lies before `time_ns`, and say whether its value is "ready", to "wait" for, or lost in a "gap"."""
        while self.pending[0].time_ns < time_ns:
            if len(self.pending) < 2:
                return "wait"
            if self.pending[1].after_gap:
                return "gap"
            if self.pending[1].time_ns > time_ns:
                return "ready"
            self.pending.popleft()
        return "ready"

    def at(self, time_ns: int) -> Values:
        """The values at a time that is "ready": linear between the neighbours, a sample itself at its own time."""
        left = self.pending[0]
        if left.time_ns == time_ns:
            return left.values
        right = self.pending[1]
        share = (right.time_ns - time_ns) / (right.time_ns - left.time_ns)
        return tuple(b - (b - a) * share for a, b in zip(left.values, right.values, strict=True))


class Resampler:
    """Samples of `sensors` in, grid samples and restarts out.

    The grid begins at the first time that all sensors cover, and its k-th time is rint(k * 1e9 / rate_hz) nanoseconds
    later. It ends, and begins anew, where a sensor is silent for more than `gap_s`, where one sensor is waited for
    longer than PATIENCE_SECONDS, and where time runs back by more than `gap_s`.
    `mean_of` says, a sensor, of how many samples the mean is taken first (see `mean_length`); 1 means none.
    """

    def __init__(
        self, sensors: tuple[str, ...], rate_hz: float, mean_of: dict[str, int], gap_s: float = GAP_SECONDS
    ) -> None:
        self._rate_hz = rate_hz
        self._tracks = {name: _Track(name, round(gap_s * SECOND), mean_of.get(name, 1)) for name in sensors}
        self._origin_ns: int | None = None
        self._index = 0

    @property
    def dropped(self) -> dict[str, Dropped]:
        """What was left out so far, a sensor."""
        return {name: track.dropped for name, track in self._tracks.items()}

    def push(self, sensor: str, time_ns: int, values: Values) -> list[GridSample | Restart]:
        """One sample of one sensor: three axes. Returns what became known by it, in the order of time."""
        out: list[GridSample | Restart] = []
        track = self._tracks[sensor]
        if track.runs_back(time_ns):
            for every in self._tracks.values():  # nothing recorded by the old clock fits to the new one
                every.clear()
            self._origin_ns = None
            out.append(Restart(time_ns, f"the time of the {sensor} runs back"))
        track.push(time_ns, values)
        self._advance(out)
        if track.pending and track.pending[-1].time_ns - track.pending[0].time_ns > SENSOR_TIMEOUT_S * SECOND:
            self._give_up_waiting(track, out)
        return out

    def end(self) -> None:
        """Forget all samples: what comes next is a new recording. A grid never reaches beyond its last samples."""
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
            states = [track.move_to(time_ns) for track in tracks]
            if "gap" in states:
                silent = tracks[states.index("gap")]
                before, after = silent.pending[0].time_ns, silent.pending[1].time_ns
                silent.pending.popleft()
                self._origin_ns = None
                out.append(Restart(after, f"no {silent.name} for {(after - before) / SECOND:.2f} s"))
            elif "wait" in states:
                return
            else:
                out.append(GridSample(time_ns, tuple(value for track in tracks for value in track.at(time_ns))))
                self._index += 1

    def _begin(self, tracks: list[_Track]) -> bool:
        """Find the first time that all sensors cover, if it is known already."""
        while all(track.pending for track in tracks):
            start_ns = max(track.pending[0].time_ns for track in tracks)
            states = [track.move_to(start_ns) for track in tracks]
            if "gap" in states:
                tracks[states.index("gap")].pending.popleft()
            elif "wait" in states:
                return False
            else:
                self._origin_ns, self._index = start_ns, 0
                return True
        return False

    def _give_up_waiting(self, track: _Track, out: list[GridSample | Restart]) -> None:
        silent = " and ".join(name for name, other in self._tracks.items() if other is not track)
        newest = track.pending[-1]
        track.pending.clear()
        track.pending.append(newest)
        self._origin_ns = None
        out.append(Restart(newest.time_ns, f"no {silent} for {SENSOR_TIMEOUT_S:.0f} s"))


def averaging_length(sensor_hz: float, grid_hz: float) -> int:
    """Of how many samples of a sensor to take the mean before its values go to the grid: one period of the grid."""
    return max(1, round(sensor_hz / grid_hz))
