"""Recognition of the columns of a recording's CSV from its header: time, sensors, units, labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from harexport.data.recordings.column_names import (
    APPLE_SENSORS,
    GRAVITY,
    KIND_NAMES,
    LABEL_NAMES,
    LINEAR,
    SECOND_NAMES,
    SENSOR_NAMES,
    SHORT_NAMES,
    SUBJECT_NAMES,
    TIME_UNITS,
    UNIT_SPELLINGS,
    UNIT_TIMES,
    axis_name,
    classify_column,
    compact,
    kind_of,
    list_names,
    sensor_of_stem,
    split_unit,
    time_rank,
)
from harexport.data.recordings.text import to_float
from harexport.errors import InputError
from harexport.preprocessing.stream import ACC, GYRO

PLAIN = "the plain layout is timestamp_s, acc_x, acc_y, acc_z, gyro_x, gyro_y, gyro_z and optionally label"
LONGEST_HEADER = 20_000  # characters; AndroSensor's has about 1,500


class UnrecognizedError(InputError):
    """The columns of a CSV are not those of a recording; `is_logger`: it is another file of a sensor logger."""

    def __init__(self, message: str, is_logger: bool) -> None:
        super().__init__(message)
        self.is_logger = is_logger


@dataclass(frozen=True)
class SensorColumns:
    """Columns x, y, z of a sensor (from 0), its unit (None: unknown), and the rank of its name, 0 the best."""

    columns: tuple[int, int, int]
    unit: str | None
    rank: int = 0


@dataclass(frozen=True)
class ColumnNames:
    """Names of columns stated by the user; None or empty: recognized. `acc` and `gyro` are x, y, z."""

    time: str | None = None
    acc: tuple[str, ...] = ()
    gyro: tuple[str, ...] = ()
    label: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Units:
    """Units stated by the user; None: inferred.

    Attributes:
        acc: Unit of the accelerometer: g, m/s2, mg, or counts per g as in "16384/g".
        gyro: Unit of the gyroscope: rad/s, deg/s, mdps, or counts per degree per second as in "131/dps".
        time: Unit of the times: s, ms, us or ns.
        signs: Signs of the acceleration at rest: "android" (up is positive) or "apple" (up is negative).
        file: Configuration file that states them; empty: options of the command line.
    """

    acc: str | None = None
    gyro: str | None = None
    file: str = ""
    time: str | None = None
    signs: str | None = None

    def option_hint(self, name: str, value: str) -> str:
        """Describe how to state that `name` (acc, gyro, time, signs) is `value`."""
        if not self.file:
            return f"pass --signs {value}" if name == "signs" else f"pass --{name}-unit {value}"
        return f'write units.{name} = "{value}" in {self.file}'


@dataclass(frozen=True)
class Layout:
    """Columns of a CSV.

    Attributes:
        family: "Sensor Logger", "phyphox" or "plain layout".
        delimiter: Character between cells; " " stands for any white space.
        names: Names of all columns.
        time: Column of times.
        time_unit: Unit in its name, if any.
        extra_time: Column that is added to the times, and its unit.
        sensors: Columns by sensor: ACC, GYRO, LINEAR, GRAVITY.
        label: Column of labels.
        subject: Column of subjects.
        text: Column of the text of an annotation.
        kind: Column that names the sensor of each row (see `kind_of_row`), where all share the columns x, y and z.
        has_apple_signs: The accelerations are called as on iOS.
    """

    family: str
    delimiter: str
    names: tuple[str, ...]
    time: int
    time_unit: str | None
    sensors: dict[str, SensorColumns]
    label: int | None = None
    subject: int | None = None
    extra_time: tuple[int, str] | None = None
    text: int | None = None
    kind: int | None = None
    has_apple_signs: bool = False


@dataclass
class _Found:
    """Axes of a sensor name: column and unit by axis."""

    axes: dict[str, tuple[int, str | None]] = field(default_factory=dict)


def split_cells(text: str, delimiter: str) -> list[str]:
    """Split a line into cells. Raises ValueError for wrong quotes."""
    if delimiter == " ":
        return text.split()
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise ValueError(str(error)) from None


def read_separator(line: str) -> str:
    """Return the delimiter that a line such as `sep=;` states, as spreadsheets write it before the header; else ""."""
    text = line.strip('\ufeff \r\n"')
    return text[4] if len(text) == 5 and text.lower().startswith("sep=") else ""


def find_units(header: str, cells: Sequence[str], delimiter: str) -> str | None:
    """Return the header with the units that the line after it states; None where that line states none."""
    units = [cell.strip(' ()[]"').lower() for cell in cells]
    if not any(units) or not all(unit in UNIT_SPELLINGS or not unit for unit in units):
        return None
    names = split_cells(header, delimiter)
    if len(names) != len(units):
        return None
    named = [
        f"{name.strip()}({unit})" if unit and split_unit(name)[1] is None else name.strip()
        for name, unit in zip(names, units, strict=True)
    ]
    return delimiter.join(named)


def find_delimiter(header: str) -> str:
    """Return the delimiter of a header: comma, semicolon, tab, or white space."""
    delimiter = max(",;\t|", key=header.count)
    return delimiter if header.count(delimiter) else " "


def recognize_layout(
    header: str,
    where: str,
    stem: str = "",
    columns: ColumnNames | None = None,
    delimiter: str | None = None,
    rows: Sequence[Sequence[str]] = (),
) -> Layout:
    """Recognize the columns of a CSV.

    Args:
        header: Line with the names of the columns.
        where: Name of the file, for messages.
        stem: File name without suffix; it may name the sensor.
        columns: Names stated by the user.
        delimiter: Delimiter stated in the file.
        rows: First rows, for the suggestion in the error message.

    Raises:
        InputError: There is no column of times, or no sensor with three axes.
    """
    if len(header) > LONGEST_HEADER:
        raise InputError(f"{where}: the first line has {len(header):,} characters and is not a header; {PLAIN}")
    delimiter = delimiter or find_delimiter(header)
    try:
        names = tuple(cell.strip() for cell in split_cells(header, delimiter))
    except ValueError as error:
        raise InputError(f"{where}: the first line is not a header ({error}); {PLAIN}") from None
    while len(names) > 1 and not names[-1]:
        names = names[:-1]
    if 2 * sum(map(_is_number, names)) > len(names):
        raise UnrecognizedError(f"{where}: the first line has numbers and is not a header; {PLAIN}", False)
    columns = columns or ColumnNames()
    hidden: set[int] = set()
    stated = _stated_columns(names, columns, where, hidden)
    time, time_unit, extra = _find_time(names, columns, stated, where, rows)
    is_sensor_logger = compact(names[time]) == "secondselapsed"
    kind = None if columns.acc or columns.gyro else _find_kinds(names)
    if kind is not None:
        x, y, z = (next(k for k, name in enumerate(names) if axis_name(split_unit(name)[0]) == ("", a)) for a in "xyz")
        sensors = {sensor: SensorColumns((x, y, z), None) for sensor in (ACC, GYRO, LINEAR, GRAVITY)}
    else:
        sensors = _find_sensors(names, stem, is_sensor_logger, stated, hidden | {time}, where)
    label = stated.get("label") if columns.label else _find_named(names, LABEL_NAMES)
    subject = stated.get("subject") if columns.subject else _find_named(names, SUBJECT_NAMES)
    text = None
    if not sensors:
        text = next((k for k, name in enumerate(names) if name.lower() == "text"), None)
        if not (is_sensor_logger and text is not None and stem.lower().startswith("annotation")):
            raise UnrecognizedError(_unrecognized(f"{where}: no sensor is recognized", names, rows), is_sensor_logger)
    family = "Sensor Logger" if is_sensor_logger else "phyphox" if names[time].lower() == "time (s)" else "plain layout"
    has_apple_signs = any(axis_name(split_unit(name)[0])[0] in APPLE_SENSORS for name in names)
    return Layout(
        family, delimiter, names, time, time_unit, sensors, label, subject, extra, text, kind, has_apple_signs
    )


def _stated_columns(names: tuple[str, ...], columns: ColumnNames, where: str, hidden: set[int]) -> dict[str, int]:
    """Return the positions of stated columns; columns of the same kind that were not stated are hidden."""
    positions: dict[str, int] = {}

    def place(name: str, key: str) -> None:
        if names.count(name.strip()) != 1:
            problem = "several columns are called" if name in names else "no column is called"
            raise InputError(f"{where}: {problem} {name!r}, which [columns] names; there are {list_names(names)}")
        positions[key] = names.index(name.strip())

    for kind, given in ((ACC, columns.acc), (GYRO, columns.gyro)):
        for axis, name in zip("xyz", given, strict=False):
            place(name, f"{kind} {axis}")
        if given:
            hidden.update(k for k, name in enumerate(names) if classify_column(name)[0] == kind)
    for key, value in (("time", columns.time), ("label", columns.label), ("subject", columns.subject)):
        if value is not None:
            place(value, key)
    hidden.update(positions.values())
    return positions


def _find_time(
    names: tuple[str, ...], columns: ColumnNames, stated: dict[str, int], where: str, rows: Sequence[Sequence[str]]
) -> tuple[int, str | None, tuple[int, str] | None]:
    if columns.time is not None:
        unit = split_unit(names[stated["time"]])[1]
        return stated["time"], unit if unit in TIME_UNITS else None, None
    candidates = []
    for column, name in enumerate(names):
        base, unit = split_unit(name)
        rank = time_rank(base)
        if rank is not None:
            unit = "s" if compact(base) == "secondselapsed" else unit if unit in TIME_UNITS else None
            candidates.append((rank, unit is None, column, unit))
    compacts = [compact(name) for name in names]
    extra = next(((k, UNIT_TIMES[name]) for k, name in enumerate(compacts) if name in UNIT_TIMES), None)
    if not candidates:
        if extra is not None:
            return extra[0], extra[1], None
        if (seconds := next((k for k, name in enumerate(compacts) if name in SECOND_NAMES), None)) is not None:
            return seconds, "s", None
        raise UnrecognizedError(_unrecognized(f"{where}: no column of times is recognized", names, rows), False)
    _, _, column, unit = min(candidates)
    return column, unit, extra if unit is None else None


def _find_sensors(
    names: tuple[str, ...], stem: str, is_sensor_logger: bool, stated: dict[str, int], hidden: set[int], where: str
) -> dict[str, SensorColumns]:
    found: dict[str, dict[str, _Found]] = {}
    stem_kind = sensor_of_stem(stem)
    has_gravity = any(classify_column(name)[0] == GRAVITY for name in names)
    accelerations = {axis_name(split_unit(names[k])[0])[0] for k in range(len(names)) if k not in hidden} - {""}
    for column, name in enumerate(names):
        if column in hidden:
            continue
        base, unit = split_unit(name)
        sensor, axis = axis_name(base)
        if axis is None:
            continue
        kind = kind_of(sensor)
        if not sensor:
            kind, sensor = stem_kind or _kind_of_bare_axes(names), compact(stem)
        if (
            sensor in SHORT_NAMES
            and sensor == "g"
            and not accelerations & {*SENSOR_NAMES[ACC], *SENSOR_NAMES[LINEAR]}
            and "" not in {axis_name(split_unit(other)[0])[0] for other in names if axis_name(split_unit(other)[0])[1]}
        ):
            kind = None  # gx, gy, gz alone may be g-forces or a gyroscope
        if is_sensor_logger and (sensor.startswith("accelerometer") and "uncalibrated" not in sensor):
            kind = LINEAR
        if is_sensor_logger and has_gravity and kind == ACC and sensor == "acceleration":
            kind = LINEAR  # motion files of watches and headphones
        if kind is None:
            continue
        axes = found.setdefault(kind, {}).setdefault(sensor, _Found()).axes
        if axis in axes:
            raise InputError(f"{where}: two columns are the {axis} axis of {sensor!r}; remove one of them")
        if is_sensor_logger and unit is None and not has_gravity and "uncalibrated" not in sensor:
            unit = "rad/s" if kind == GYRO else "m/s2"
        if is_sensor_logger and kind == GYRO:
            unit = unit or "rad/s"
        axes[axis] = (column, unit)
    sensors = {}
    for kind, by_name in found.items():
        if (chosen := _choose(kind, by_name, where)) is not None:
            sensors[kind] = chosen
    for kind in (ACC, GYRO):
        if f"{kind} x" in stated:
            x, y, z = (stated[f"{kind} {axis}"] for axis in "xyz")
            sensors[kind] = SensorColumns((x, y, z), _sensor_unit(kind, split_unit(names[x])[1]))
    return sensors


def _find_kinds(names: tuple[str, ...]) -> int | None:
    """Return the column that names the sensor of each row, beside the columns x, y and z."""
    bare = [axis for sensor, axis in (axis_name(split_unit(name)[0]) for name in names) if axis and not sensor]
    return _find_named(names, KIND_NAMES) if sorted(bare) == ["x", "y", "z"] else None


def _kind_of_bare_axes(names: tuple[str, ...]) -> str | None:
    """Axes without a sensor are the accelerometer where the file has a gyroscope; gravity confirms it later."""
    kinds = {kind_of(axis_name(split_unit(name)[0])[0]) for name in names}
    return ACC if GYRO in kinds and ACC not in kinds else None


def _choose(kind: str, by_name: dict[str, _Found], where: str) -> SensorColumns | None:
    order = SENSOR_NAMES[kind]

    def rank(name: str) -> int:
        return order.index(name) if name in order else len(order)

    name = min(by_name, key=lambda name: (len(by_name[name].axes) < 3, rank(name)))
    axes = by_name[name].axes
    if missing := [axis for axis in "xyz" if axis not in axes]:
        if name in SHORT_NAMES or len(missing) == 2:
            return None
        raise InputError(f"{where}: the {kind} lacks the axis {' and '.join(missing)}; {PLAIN}")
    units = {unit for _, unit in axes.values()}
    if len(units) > 1:
        raise InputError(f"{where}: the axes of the {kind} have different units: {', '.join(sorted(map(str, units)))}")
    x, y, z = (axes[axis][0] for axis in "xyz")
    unit = units.pop()
    return SensorColumns((x, y, z), _sensor_unit(kind, unit), rank(name))


def _sensor_unit(kind: str, unit: str | None) -> str | None:
    if unit in TIME_UNITS:
        return None
    return unit


def _find_named(names: tuple[str, ...], known: tuple[str, ...]) -> int | None:
    return next((k for k, name in enumerate(names) if compact(name) in known), None)


def _unrecognized(problem: str, names: tuple[str, ...], rows: Sequence[Sequence[str]]) -> str:
    """Describe unrecognized columns, with the lines of harexport.toml that name them."""
    message = f"{problem} among its columns ({list_names(names)}); {PLAIN}"
    rows = rows[:20]
    named = [k for k in range(len(names)) if names[k] and rows and all(k < len(row) for row in rows)]
    numeric = [k for k in named if all(_is_number(row[k]) for row in rows)]
    time = next((k for k in range(len(names)) if classify_column(names[k])[0] == "time"), None)
    if time is None:
        increasing = [k for k in numeric if _increases([to_float(row[k].replace(",", ".")) for row in rows])]
        clocks = [k for k in named if k not in numeric and all(row[k].count(":") > 1 for row in rows)]
        increasing.sort(key=lambda k: "time" not in names[k].lower())
        time = next(iter([*clocks, *increasing]), None)
    axes = [k for k in numeric if k != time and classify_column(names[k])[0] != "time"]
    if time is None or len(axes) < 3:
        return message
    lines = ["[columns]", f"time = {_quote(names[time])}"]
    recognized = {kind_of(sensor) for sensor, axis in map(axis_name, names) if axis} & {ACC, GYRO}
    if not recognized:
        lines.append(f"acc = [{', '.join(_quote(names[k]) for k in axes[:3])}]")
        if len(axes) >= 6:
            lines.append(f"gyro = [{', '.join(_quote(names[k]) for k in axes[3:6])}]")
    listed = "\n".join(lines)
    return (
        f"{message}. Name the columns in a file harexport.toml and pass its folder with --data, for example:\n{listed}"
    )


def _quote(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_number(text: str) -> bool:
    try:
        to_float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _increases(values: list[float]) -> bool:
    return len(values) > 2 and all(a <= b for a, b in pairwise(values)) and values[0] < values[-1]
