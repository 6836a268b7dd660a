"""Parser of one CSV of a recording: text in blocks -> times, sensors, labels and subjects as arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.column_names import kind_of_row
from harexport.data.recordings.csv_format import (
    ColumnNames,
    Layout,
    UnrecognizedError,
    find_delimiter,
    find_units,
    read_separator,
    recognize_layout,
    split_cells,
)
from harexport.data.recordings.text import read_lines, to_float, to_floats
from harexport.data.recordings.timestamps import (
    TimeFormat,
    Times,
    detect_format,
    parse_times,
    unwrap_midnight,
)
from harexport.errors import InputError

_COMMENTS = ("#", "//", "%")
_MOST_TITLE_LINES = 30  # before the header
_MISSING = ("", "na", "n/a", "nan", "null", "none")  # as pandas, R and JavaScript write it
_FORMAT_ROWS = 2000  # rows that determine the format of times

Floats = NDArray[np.float64]
Columns = Mapping[int, Any]  # by position, their cells (Sequence[str]), or their numbers (Floats)
OptionHint = Callable[[str, str], str]  # (name, value) -> how to state it


@dataclass(frozen=True)
class SensorTrack:
    """Samples of one sensor.

    Attributes:
        time_ns: int64 [n].
        values: float64 [n, 3], in `unit`; NaN is possible.
        unit: Unit, None if unknown.
        source: Name of the file, for messages.
    """

    time_ns: Times
    values: Floats
    unit: str | None
    source: str


@dataclass(frozen=True)
class Table:
    """Content of a CSV. Rows are the rows of the file in their order.

    Attributes:
        layout: Columns.
        time_ns: int64 [rows].
        sensors: By sensor, the rows with a sample, int64 [n], and the values, float64 [n, 3].
        labels: Index into `label_names` of each row, int32 [rows]; empty without a column of labels.
        label_names: Labels; None: a row without label.
        subjects: As `labels`, for the column of subjects.
        subject_names: As `label_names`.
        breaks: Rows before which the header is repeated.
        lines: Number of the line of each block's first row, and that row.
        time_origin: How the unit of time is known, if it was inferred.
        notes: Messages.
    """

    layout: Layout
    time_ns: Times
    sensors: dict[str, tuple[NDArray[np.int64], Floats]]
    labels: NDArray[np.int32]
    label_names: tuple[str | None, ...]
    subjects: NDArray[np.int32]
    subject_names: tuple[str | None, ...]
    breaks: tuple[int, ...]
    line_numbers: NDArray[np.int64]
    time_format: TimeFormat
    notes: tuple[str, ...]


@dataclass
class _Codes:
    """Integer codes of strings, in the order of their first occurrence."""

    codes: dict[str | None, int] = field(default_factory=dict)
    rows: list[NDArray[np.int32]] = field(default_factory=list)

    def add(self, texts: Sequence[str]) -> None:
        codes = self.codes
        self.rows.append(np.array([codes.setdefault(text.strip() or None, len(codes)) for text in texts], np.int32))

    def array(self) -> NDArray[np.int32]:
        return np.concatenate(self.rows) if self.rows else np.zeros(0, np.int32)


def read_table(
    stream: BinaryIO,
    where: str,
    stem: str,
    columns: ColumnNames,
    time_unit: str | None,
    hint: OptionHint,
    is_utf8_required: bool = False,
) -> Table:
    """Parse a CSV.

    Args:
        stream: Content of the file.
        where: Name of the file, for messages.
        stem: File name without suffix; it may name the sensor.
        columns: Names of columns stated by the user.
        time_unit: Unit of the times stated by the user.
        hint: Describes how to state a name or unit.
        is_utf8_required: Refuse other encodings, in which labels could be misread.

    Raises:
        InputError: The file is empty, binary or too large, a column is missing, or a row cannot be parsed.
    """
    return _Parser(where, stem, columns, time_unit, hint, is_utf8_required).parse(stream)


class _Parser:
    def __init__(
        self,
        where: str,
        stem: str,
        columns: ColumnNames,
        time_unit: str | None,
        hint: OptionHint,
        is_utf8_required: bool,
    ) -> None:
        self._where, self._stem, self._columns = where, stem, columns
        self._time_unit, self._hint, self._is_utf8_required = time_unit, hint, is_utf8_required
        self._layout: Layout | None = None
        self._format: TimeFormat | None = None
        self._header = ""
        self._delimiter: str | None = None
        self._number = 0  # lines so far
        self._rows = 0
        self._times: list[Times] = []
        self._samples: dict[str, list[tuple[NDArray[np.int64], Floats]]] = {}
        self._labels, self._subjects = _Codes(), _Codes()
        self._line_numbers: list[NDArray[np.int64]] = []
        self._breaks: list[int] = []
        self._notes: list[str] = []

    def parse(self, stream: BinaryIO) -> Table:
        pending: list[tuple[int, str]] = []
        for lines, is_end in read_lines(stream, self._where, self._is_utf8_required):
            if not pending and self._format is not None and self._add_block(lines):
                continue
            pending += self._select_rows(lines)
            if self._layout is None and self._header:
                if len(pending) < _FORMAT_ROWS and not is_end:
                    continue
                self._recognize(pending)
            if self._layout is not None:
                self._add_rows(pending, is_cut=is_end and bool(lines) and not lines[-1].endswith("\n"))
                pending = []
        if not self._header:
            raise InputError(f"{self._where} is empty")
        if self._layout is None:
            self._recognize(pending)
        assert self._layout is not None
        if not self._rows:
            raise InputError(f"{self._where} has a header and no samples")
        assert self._format is not None
        times = np.concatenate(self._times)
        if self._format.origin == "times of day":
            times = unwrap_midnight(times)
        sensors = {}
        for sensor, parts in self._samples.items():
            rows = np.concatenate([rows for rows, _ in parts])
            if len(rows):
                sensors[sensor] = (rows, np.concatenate([values for _, values in parts]))
        return Table(
            self._layout,
            times,
            sensors,
            self._labels.array(),
            tuple(self._labels.codes),
            self._subjects.array(),
            tuple(self._subjects.codes),
            tuple(self._breaks),
            np.concatenate(self._line_numbers),
            self._format,
            tuple(self._notes),
        )

    def _add_block(self, lines: list[str]) -> bool:
        """Add a block of lines without exceptions in one step; return whether that is possible."""
        layout = self._layout
        assert layout is not None
        delimiter, count = layout.delimiter, len(layout.names)
        text = "".join(lines)
        is_plain = delimiter != " " and text.endswith("\n") and self._header not in text
        if not is_plain or any(mark in text for mark in ('"', *_COMMENTS)):
            return False
        if set(map(methodcaller("count", delimiter), lines)) != {count - 1} or "\n" in lines:
            return False
        numbers = {column for triple in layout.sensors.values() for column in triple.columns} | {layout.time}
        texts = {layout.label, layout.subject, layout.text, layout.kind, (layout.extra_time or (None,))[0]} - {None}
        columns: Columns
        try:
            if texts or self._format is None or self._format.unit in (None, "ns"):  # ns exceed the precision of float64
                flat = text[:-1].replace("\n", delimiter).split(delimiter)
                columns = {column: flat[column::count] for column in (*numbers, *texts) if column is not None}
            else:
                values = np.loadtxt(lines, delimiter=delimiter, comments=None, usecols=sorted(numbers), ndmin=2)
                columns = dict(zip(sorted(numbers), values.T, strict=True))
            self._add_cells(columns, len(lines))
        except ValueError:
            return False
        self._line_numbers.append(np.arange(self._number + 1, self._number + 1 + len(lines)))
        self._number += len(lines)
        self._rows += len(lines)
        return True

    def _select_rows(self, lines: list[str]) -> list[tuple[int, str]]:
        """Return the rows of a block with their line numbers; the first one is the header."""
        rows = []
        for line in lines:
            self._number += 1
            text = line.rstrip("\n").lstrip("\ufeff")  # also inside, where files were joined
            if not text.strip(" \t,;\x1a"):
                continue
            if not self._header:
                if separator := read_separator(text):
                    self._delimiter = separator
                    continue
                if text.startswith(_COMMENTS):
                    continue
                self._header = text
            else:
                rows.append((self._number, text))
        return rows

    def _recognize(self, rows: list[tuple[int, str]]) -> None:
        """Recognize the header: the first line, else one after a title. Removes from `rows` what is no sample."""
        try:
            self._layout = self._recognize_line(self._header, rows)
        except UnrecognizedError:
            for k, (number, text) in enumerate(rows[:_MOST_TITLE_LINES]):
                following = rows[k + 1 :]
                with contextlib.suppress(InputError):
                    self._layout = self._recognize_line(text, following)
                    self._notes.append(f"{self._where}: the lines before the header in line {number} were left out")
                    self._header = text
                    rows[:] = following
                    break
            else:
                raise
        self._samples = {sensor: [] for sensor in self._layout.sensors}

    def _recognize_line(self, header: str, rows: list[tuple[int, str]]) -> Layout:
        sample = [text for _, text in rows[:50] if text != header]
        delimiter = self._delimiter or find_delimiter(header[:20_000])
        cells: list[list[str]] = []
        with contextlib.suppress(ValueError):
            cells = [split_cells(text, delimiter) for text in sample]
        if cells and (named := find_units(header, cells[0], delimiter)):  # a line of units follows
            header = named
            del rows[0]
        return recognize_layout(header, self._where, self._stem, self._columns, delimiter, cells)

    def _add_rows(self, rows: list[tuple[int, str]], is_cut: bool) -> None:
        layout = self._layout
        assert layout is not None
        if not rows:
            return
        cells, numbers = self._split(rows, is_cut)
        if not cells:
            return
        if self._format is None:
            self._detect_format(cells)
        try:
            self._add_cells(_columns(cells), len(cells))
        except ValueError:
            if is_cut and len(rows) == len(cells):
                try:
                    cells, numbers = cells[:-1], numbers[:-1]
                    if cells:
                        self._add_cells(_columns(cells), len(cells))
                    self._note_cut()
                except ValueError:
                    self._raise_first_error(cells, numbers)
            else:
                self._raise_first_error(cells, numbers)
        self._line_numbers.append(np.array(numbers, np.int64))
        self._rows += len(cells)

    def _note_cut(self) -> None:
        self._notes.append(f"{self._where} ends in the middle of a line; that line was left out")

    def _split(self, rows: list[tuple[int, str]], is_cut: bool) -> tuple[list[list[str]], list[int]]:
        """Split rows into as many cells as there are columns."""
        layout = self._layout
        assert layout is not None
        delimiter, count = layout.delimiter, len(layout.names)
        cells: list[list[str]] = []
        numbers: list[int] = []
        for k, (number, text) in enumerate(rows):
            if text.startswith(_COMMENTS):
                continue
            if text == self._header:  # the logger was started again
                self._breaks.append(self._rows + len(cells))
                continue
            try:
                row = text.split(delimiter) if '"' not in text and delimiter != " " else split_cells(text, delimiter)
                if len(row) > count and not any(cell.strip() for cell in row[count:]):
                    row = row[:count]
                if len(row) != count:
                    raise ValueError(f"it has {len(row)} columns, the header {count}")
            except ValueError as error:
                if is_cut and k == len(rows) - 1:
                    self._note_cut()
                    break
                raise InputError(f"{self._where}, line {number}: {error}; repair or remove the line") from None
            cells.append(row)
            numbers.append(number)
        return cells, numbers

    def _detect_format(self, cells: list[list[str]]) -> None:
        layout = self._layout
        assert layout is not None
        texts = [row[layout.time] for row in cells[:_FORMAT_ROWS] if row[layout.time].strip()]
        column, unit = layout.extra_time or (0, None)
        extra = [row[column] for row in cells[:_FORMAT_ROWS]] if unit else []

        def hint(unit: str) -> str:
            return self._hint("time", unit)

        stated = None if layout.family == "Sensor Logger" else self._time_unit  # its unit is certain
        is_checked = bool(layout.sensors)  # annotations are rare
        self._format = detect_format(
            texts, layout.time_unit, stated, self._where, hint, unit, extra, is_checked=is_checked
        )

    def _add_cells(self, columns: Columns, count: int) -> None:
        """Convert `count` rows to arrays. Raises ValueError, before anything is added."""
        layout, form = self._layout, self._format
        assert layout is not None
        assert form is not None
        extra = columns[layout.extra_time[0]] if layout.extra_time and form.extra_unit else ()
        times = parse_times(columns[layout.time], form, extra)
        samples = {}
        is_decimal_comma = layout.delimiter != ","
        kinds = [kind_of_row(text) for text in columns[layout.kind]] if layout.kind is not None else []
        for sensor, triple in layout.sensors.items():
            texts = [columns[k] for k in triple.columns]
            if layout.kind is not None:
                rows = np.array([k for k, kind in enumerate(kinds) if kind == sensor], np.int64)
                texts = [[column[k] for k in rows.tolist()] for column in texts]
                values = np.array([[to_number(text, is_decimal_comma) for text in column] for column in texts])
                samples[sensor] = (rows + self._rows, np.ascontiguousarray(values.T.reshape(-1, 3)))
                continue
            try:
                values = np.array([_to_numbers(column) for column in texts]).T
                rows = np.arange(count)
            except ValueError:
                rows = np.array([k for k, triple_cells in enumerate(zip(*texts, strict=True))
                                 if any(cell.strip() for cell in triple_cells)], np.int64)  # fmt: skip
                values = np.array(
                    [[to_number(column[k], is_decimal_comma) for k in rows.tolist()] for column in texts]
                ).T.reshape(-1, 3)
            samples[sensor] = (rows + self._rows, np.ascontiguousarray(values))
        self._times.append(times)
        for sensor, part in samples.items():
            self._samples[sensor].append(part)
        if layout.label is not None or layout.text is not None:
            self._labels.add(columns[layout.label if layout.label is not None else layout.text or 0])
        if layout.subject is not None:
            self._subjects.add(columns[layout.subject])

    def _raise_first_error(self, cells: list[list[str]], numbers: list[int]) -> None:
        for row, number in zip(cells, numbers, strict=True):
            before = {sensor: len(parts) for sensor, parts in self._samples.items()}
            lengths = (len(self._times), len(self._labels.rows), len(self._subjects.rows))
            try:
                self._add_cells(_columns([row]), 1)
            except ValueError as error:
                raise InputError(f"{self._where}, line {number}: {error}; repair or remove the line") from None
            for sensor, length in before.items():
                del self._samples[sensor][length:]
            del self._times[lengths[0] :]
            del self._labels.rows[lengths[1] :]
            del self._subjects.rows[lengths[2] :]
        raise InputError(f"{self._where}: the lines from {numbers[0]} on cannot be parsed")


def _to_numbers(column: Sequence[str] | Floats) -> Floats | list[float]:
    return column if isinstance(column, np.ndarray) else to_floats(column)


def _columns(cells: list[list[str]]) -> dict[int, tuple[str, ...]]:
    return dict(enumerate(zip(*cells, strict=True)))


def to_number(text: str, is_decimal_comma: bool) -> float:
    """Convert a cell, NaN where it is missing. Raises ValueError where it is not a number."""
    text = text.strip()
    if text.lower() in _MISSING:
        return float("nan")
    try:
        return to_float(text.replace(",", ".") if is_decimal_comma else text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a number") from None
