"""Sessions of recordings: tables are split where another recording begins, and grouped to recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.column_names import LINEAR, stem_without_sensor
from harexport.data.recordings.files import RecordingFile
from harexport.data.recordings.table import SensorTrack, Table
from harexport.errors import InputError
from harexport.preprocessing.resampler import GAP_SECONDS, SECOND
from harexport.preprocessing.stream import ACC, GYRO

_MOST_SESSIONS = 50  # of one file; more jumps of the clock are a fault of the times
_LONGEST_PAUSE = 6 * 3600 * SECOND  # a longer one separates recordings, such as a clock that is set after the start
_WRONG_TIMES, _WRONG_SHARE = 5, 0.001  # single rows with a wrong time; more are another fault


@dataclass
class TablePart:
    """A table of a recording, or a range of its rows."""

    file: RecordingFile
    table: Table
    first: int
    end: int

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, (rows, _) in self.table.sensors.items() if self._range(rows)[0] < self._range(rows)[1]}

    def _range(self, rows: NDArray[np.int64]) -> tuple[int, int]:
        low, high = np.searchsorted(rows, [self.first, self.end])
        return int(low), int(high)

    def track(self, kind: str) -> SensorTrack:
        rows, values = self.table.sensors[kind]
        low, high = self._range(rows)
        times = self.table.time_ns[rows[low:high]]
        return SensorTrack(times, values[low:high], self.table.layout.sensors[kind].unit, self.file.where)

    def lines(self, kind: str) -> NDArray[np.int64]:
        """Return the line of each sample."""
        rows = self.table.sensors[kind][0]
        low, high = self._range(rows)
        return self.table.line_numbers[rows[low:high]]

    @property
    def span(self) -> tuple[int, int]:
        times = self.table.time_ns[self.first : self.end]
        return int(times.min()), int(times.max())


def split_sessions(file: RecordingFile, table: Table) -> list[TablePart]:
    """Split a table where its header is repeated, its subject changes, or its clock jumps back."""
    table = _drop_wrong_times(file, table)
    count = len(table.time_ns)
    breaks = {row for row in table.breaks if 0 < row < count}
    if len(table.subjects):
        known = table.subjects != (table.subject_names.index(None) if None in table.subject_names else -1)
        rows = np.flatnonzero(known)
        breaks |= {int(row) for row in rows[1:][np.diff(table.subjects[rows]) != 0]}
    starts = [0, *sorted(breaks)]
    jumps: list[int] = []
    for first, end in zip(starts, [*starts[1:], count], strict=True):
        jumps += _find_jumps(table, first, end)
    if len(jumps) >= _MOST_SESSIONS or (jumps and count / (len(jumps) + len(starts)) < 30):
        row = jumps[0]
        raise InputError(
            f"{file.where}, line {table.line_numbers[row]}: time runs backwards, also in {len(jumps) - 1} more lines; "
            "sort the lines by time, or record again"
        )
    starts = sorted({*starts, *jumps})
    return [TablePart(file, table, first, end) for first, end in zip(starts, [*starts[1:], count], strict=True)]


def _drop_wrong_times(file: RecordingFile, table: Table) -> Table:
    """Leave out single rows whose time is far from those of the rows before and after, which fit together."""
    times, gap_ns = table.time_ns, round(GAP_SECONDS * SECOND)
    if len(times) < 3:
        return table
    around = times[2:] - times[:-2]
    is_far = (times[1:-1] < times[:-2] - gap_ns) | (times[1:-1] > times[:-2] + gap_ns)
    wrong = np.flatnonzero(is_far & (around >= 0) & (around <= gap_ns)) + 1
    if not 0 < len(wrong) <= max(_WRONG_TIMES, _WRONG_SHARE * len(times)):
        return table
    fixed = times.copy()
    fixed[wrong] = times[wrong - 1]
    sensors = {}
    for kind, (rows, values) in table.sensors.items():
        is_right = ~np.isin(rows, wrong)
        sensors[kind] = (rows[is_right], values[is_right])
    lines = ", ".join(str(line) for line in table.line_numbers[wrong[:5]].tolist())
    note = f"{file.where}: rows were left out because their times are far from those around, in lines {lines}"
    note += f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return replace(table, time_ns=fixed, sensors=sensors, notes=(*table.notes, note))


def _find_jumps(table: Table, first: int, end: int) -> list[int]:
    """Return the rows at which a sensor's time is a gap before its latest one, or hours after it."""
    jumps: list[int] = []
    gap_ns = round(GAP_SECONDS * SECOND)
    while len(jumps) < _MOST_SESSIONS:
        found = end
        for rows, _ in table.sensors.values():
            low, high = np.searchsorted(rows, [first, end])
            times = table.time_ns[rows[low:high]]
            latest = np.maximum.accumulate(times) if len(times) else times
            is_jump = times < latest - gap_ns
            is_jump[1:] |= np.diff(latest) > _LONGEST_PAUSE
            if is_jump.any():
                found = min(found, int(rows[low + int(np.argmax(is_jump))]))
        if found == end:
            return jumps
        jumps.append(found)
        first = found
    return jumps


def group_parts(parts: list[TablePart]) -> list[list[TablePart]]:
    """Group tables to recordings: a table with both sensors is one by itself, others are grouped by name and time."""
    groups: dict[str, list[TablePart]] = {}
    split = {id(part.table) for part in parts if part.first > 0}
    for k, part in enumerate(parts):
        is_whole = bool({ACC, LINEAR} & part.kinds) and GYRO in part.kinds
        key = f"{k}" if is_whole or id(part.table) in split else "/" + stem_without_sensor(part.file.stem)
        groups.setdefault(key, []).append(part)
    merged = list(groups.values())
    lonely = [group for group in merged if len({ACC, GYRO} & _kinds(group)) == 1]
    for group in lonely:
        partners = [
            other for other in lonely if other is not group and _kinds(other).isdisjoint(_kinds(group)) and
            any(_overlap(a, b) for a in group for b in other)
        ]  # fmt: skip
        if len(partners) == 1 and group in merged and partners[0] in merged:
            rivals = [
                other for other in lonely
                if other is not partners[0] and _kinds(other).isdisjoint(_kinds(partners[0]))
                and any(_overlap(a, b) for a in other for b in partners[0])
            ]  # fmt: skip
            if len(rivals) == 1:
                merged.remove(partners[0])
                group.extend(partners[0])
    return merged


def _kinds(group: Sequence[TablePart]) -> set[str]:
    return set().union(*(part.kinds for part in group))


def _overlap(a: TablePart, b: TablePart) -> bool:
    return a.span[0] <= b.span[1] and b.span[0] <= a.span[1]
