"""What the columns of a phone's CSV mean, told from their header; and a line of it as numbers.

Three families are known: Sensor Logger (x, y, z and seconds_elapsed; the file's name is the sensor's), phyphox
("Acceleration x (m/s^2)"), and the plain layout of the README (timestamp_s, acc_x, ..., units as a suffix if any).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from harexport.errors import InputError
from harexport.preprocessing.resampler import SECOND, Values
from harexport.preprocessing.stream import ACC, GYRO

LINEAR, GRAVITY = "linear acceleration", "gravity"
PLAIN = (
    "the plain layout is timestamp_s (or _ms, _us, _ns), acc_x, acc_y, acc_z, gyro_x, gyro_y, gyro_z and, if you like, "
    "label; units may follow as in acc_x_g, acc_x_m/s2, gyro_x_rad/s, gyro_x_deg/s"
)
# Names without spaces, underscores and case, best first: a total acceleration is preferred to a doubtful one.
_NAMES = {
    ACC: (
        "totalacceleration",
        "totalacc",
        "acceleration",
        "acc",
        "accel",
        "accelerometer",
        "accelerometeruncalibrated",
    ),
    LINEAR: ("linearacceleration", "linearacc", "linacc", "useracceleration", "bodyacc", "accelerationwithoutg"),
    GRAVITY: ("gravity",),
    GYRO: ("gyroscope", "gyro", "gyr", "rotationrate", "angularvelocity", "gyroscopeuncalibrated"),
}
_UNITS = {
    "m/s2": ("m/s2", "m/s^2", "m/s²", "ms2", "m_s2", "mps2", "ms-2"),
    "g": ("g",),
    "rad/s": ("rad/s", "rad_s", "rads", "radps"),
    "deg/s": ("deg/s", "deg_s", "degs", "dps", "°/s"),
    **{unit: (unit,) for unit in ("s", "ms", "us", "ns")},
}
_TIMES = ("secondselapsed", "timestamp", "time", "t")  # best first: Sensor Logger has two
_LABELS = ("label", "activity")
_NANOSECONDS = {"s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}
_BRACKETED = re.compile(r"(.*?)\s*[(\[]\s*(.*?)\s*[)\]]")
_AXIS = re.compile(r"(.*?)[ _.-]*([xyz])")


@dataclass(frozen=True)
class SensorColumns:
    """The three columns of a sensor (x, y, z) and its unit; None where the file does not say."""

    columns: tuple[int, int, int]
    unit: str | None


@dataclass(frozen=True)
class Row:
    """One line of data: the time, the three axes of each sensor that has a sample in it, and the label, if any."""

    time_ns: int
    values: dict[str, Values]
    label: str | None


@dataclass(frozen=True)
class Layout:
    """Where everything is: `family` for people; `triples` by ACC, GYRO, LINEAR, GRAVITY; column numbers from 0."""

    family: str
    delimiter: str
    names: tuple[str, ...]
    time: int
    time_unit: str
    triples: dict[str, SensorColumns]
    label: int | None

    def line(self, cells: list[str]) -> Row:
        """One line's cells as numbers. Raises ValueError, in words, where they are not.

        A sensor whose three cells are empty has no sample in this line; a decimal comma is one where commas do not
        separate the columns.
        """
        if len(cells) != len(self.names):
            raise ValueError(f"it has {len(cells)} columns, the header {len(self.names)}")
        time_ns = self._time(cells[self.time].strip())
        values = {}
        for sensor, triple in self.triples.items():
            texts = [cells[column].strip() for column in triple.columns]
            if any(texts):
                values[sensor] = tuple(self._number(text) if text else float("nan") for text in texts)
        label = cells[self.label].strip() if self.label is not None else ""
        return Row(time_ns, values, label or None)

    def _time(self, text: str) -> int:
        if self.time_unit == "ns" and text.lstrip("-").isdigit():
            return int(text)  # nanoseconds since 1970 do not fit into a double
        seconds = self._number(text) * _NANOSECONDS[self.time_unit]
        if not abs(seconds) < 2**63:
            raise ValueError(f"{text!r} is no time")
        return round(seconds)

    def _number(self, text: str) -> float:
        try:
            return float(text if self.delimiter == "," else text.replace(",", "."))
        except ValueError:
            raise ValueError(f"{text[:40]!r} is not a number") from None


def split_cells(text: str, delimiter: str) -> list[str]:
    """The cells of one line. Raises ValueError where quotes are wrong."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise ValueError(str(error)) from None


def recognize_layout(header: str, where: str, stem: str = "") -> Layout:
    """The layout that a header line announces; `stem` is the file's name without suffix, `where` names it in errors.

    Raises InputError where time, unit of time, or all three axes of at least one sensor cannot be told.
    """
    delimiter = max(",;\t", key=header.count)
    try:
        names = tuple(cell.strip() for cell in split_cells(header, delimiter))
    except ValueError as error:
        raise InputError(f"{where}: the first line is no header ({error}); {PLAIN}") from None
    time, time_unit = _time_column(names, where)
    elapsed = _compact(names[time]) == "secondselapsed"
    found: dict[str, dict[str, dict[str, tuple[int, str | None]]]] = {}
    for column, name in enumerate(names):
        base, unit = _unit(name)
        match = _AXIS.fullmatch(base.lower())
        if match is None:
            continue
        sensor_name = _compact(match[1]) or _compact(stem)
        kind = LINEAR if elapsed and sensor_name == "accelerometer" else _kind(sensor_name)
        if kind is None:
            continue
        axes = found.setdefault(kind, {}).setdefault(sensor_name, {})
        if match[2] in axes:
            raise InputError(f"{where}: two columns are the {match[2]} axis of {sensor_name!r}; leave one of them out")
        if elapsed and unit is None and sensor_name != "accelerometeruncalibrated":
            unit = "rad/s" if kind == GYRO else "m/s2"  # Sensor Logger's, but for the uncalibrated ones
        axes[match[2]] = (column, unit)
    triples = {kind: _triple(kind, by_name, where) for kind, by_name in found.items()}
    if not triples:
        shown = ", ".join(names[:12])[:200]
        raise InputError(f"{where}: no sensor among its columns ({shown}); {PLAIN}")
    label = next((k for k, name in enumerate(names) if name.lower() in _LABELS), None)
    family = "Sensor Logger" if elapsed else "phyphox" if names[time].lower() == "time (s)" else "plain layout"
    return Layout(family, delimiter, names, time, time_unit, triples, label)


def classify_column(name: str) -> tuple[str | None, str | None]:
    """What a column is by its name: "time", "label", a kind of sensor, or None; and the unit in the name, if any."""
    base, unit = _unit(name)
    if _compact(base) in _TIMES:
        return "time", unit
    if name.lower() in _LABELS:
        return "label", None
    match = _AXIS.fullmatch(base.lower())
    return (_kind(_compact(match[1])) if match else None), unit


def normalize_label(label: str) -> str:
    """A label in the one spelling that all of its spellings share: Walking upstairs, walking-upstairs, ..."""
    return label.strip().upper().replace(" ", "_").replace("-", "_")


def sensor_priority(layout: Layout, kind: str, stem: str) -> int:
    """How good a source of `kind` the file is, 0 the best: several files of a folder may hold the same sensor."""
    base = _unit(layout.names[layout.triples[kind].columns[0]])[0]
    match = _AXIS.fullmatch(base.lower())
    name = (_compact(match[1]) if match else "") or _compact(stem)
    return _NAMES[kind].index(name) if name in _NAMES[kind] else len(_NAMES[kind])


def _time_column(names: tuple[str, ...], where: str) -> tuple[int, str]:
    undecided = None
    candidates = []
    for column, name in enumerate(names):
        base, unit = _unit(name)
        if (compact := _compact(base)) in _TIMES:
            unit = "s" if compact == "secondselapsed" else unit
            if unit in _NANOSECONDS:
                candidates.append((_TIMES.index(compact), column, unit))
            else:
                undecided = name
    if candidates:
        _, column, unit = min(candidates)
        return column, unit
    if undecided:
        raise InputError(
            f"{where}: the column {undecided!r} does not say its unit; rename it timestamp_s, _ms, _us or _ns"
        )
    shown = ", ".join(names[:12])[:200]
    raise InputError(f"{where}: no column of times among its columns ({shown}); {PLAIN}")


def _triple(kind: str, by_name: dict[str, dict[str, tuple[int, str | None]]], where: str) -> SensorColumns:
    name = min(by_name, key=_NAMES[kind].index if kind != LINEAR else lambda name: (name == "accelerometer", name))
    axes = by_name[name]
    if missing := [axis for axis in "xyz" if axis not in axes]:
        raise InputError(f"{where}: of the {kind} the axis {' and '.join(missing)} is missing; {PLAIN}")
    units = {unit for _, unit in axes.values()}
    if len(units) > 1:
        raise InputError(f"{where}: the axes of the {kind} have different units: {sorted(map(str, units))}")
    x, y, z = (axes[axis][0] for axis in "xyz")
    return SensorColumns((x, y, z), units.pop())


def _kind(sensor_name: str) -> str | None:
    return next((kind for kind, names in _NAMES.items() if sensor_name in names), None)


def _unit(name: str) -> tuple[str, str | None]:
    """A column's name without its unit, and the unit as we spell it: "Time (s)", "acc_x_m/s2", "timestamp_ns"."""
    if match := _BRACKETED.fullmatch(name):
        base, text = match[1], match[2].lower()
        return base, next((unit for unit, spellings in _UNITS.items() if text in spellings), text or None)
    lower = name.lower()
    for unit, spellings in _UNITS.items():
        for text in spellings:
            if lower.endswith(("_" + text, " " + text)):
                return name[: -len(text) - 1], unit
    return name, None


def _compact(name: str) -> str:
    return re.sub(r"[ _.-]", "", name).lower()
