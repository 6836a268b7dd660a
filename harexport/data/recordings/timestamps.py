"""Timestamps of recordings: numbers of any unit, dates, and times of day, as integer nanoseconds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.text import to_float, to_floats
from harexport.errors import InputError
from harexport.preprocessing.resampler import SECOND

Times = NDArray[np.int64]

NANOSECONDS = {"s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1, "min": 60 * SECOND}
_INFERRED = ("s", "ms", "us", "ns")  # units that values can show
_PLAUSIBLE_HZ = (4.0, 2500.0)  # rows per second of a recording without a unit of time
_CONTRADICTION_HZ = (0.2, 20_000.0)  # outside, the unit in the header cannot be right
_DAY = 86_400 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()
_LONGEST = 60  # characters of a timestamp


@dataclass(frozen=True)
class TimeFormat:
    """How to read the column of times.

    Attributes:
        unit: Unit of numbers; None: dates or times of day.
        extra_unit: Unit of a second column that is added, such as milliseconds beside a date.
        is_elapsed: The second column counts on beyond a second: it is the time, and the dates are not used.
        origin: How the unit is known: "" (header or option) or a description for messages.
        days_first: In dates like 05/01/2024 the day comes first.
    """

    unit: str | None
    extra_unit: str | None = None
    origin: str = ""
    days_first: bool = True
    is_elapsed: bool = False


def detect_format(
    texts: Sequence[str],
    header_unit: str | None,
    stated_unit: str | None,
    where: str,
    hint: Callable[[str], str],
    extra_unit: str | None = None,
    extra: Sequence[str] = (),
    is_checked: bool = True,
) -> TimeFormat:
    """Determine the format of a column of times from its first values.

    Args:
        texts: First values of the column.
        header_unit: Unit in the column's name, if any.
        stated_unit: Unit stated by the user, if any.
        where: Name of the file, for messages.
        hint: Describes how to state a unit.
        extra_unit: Unit of a column that is added to the times, if any.
        extra: First values of that column.
        is_checked: Check that a stated unit gives a possible rate.

    Raises:
        InputError: The unit is unknown or contradicts the values.
    """
    values = [number for text in texts if (number := _to_float(text)) is not None and math.isfinite(number)]
    if not values:
        dates = [_with_digits(text[:_LONGEST]) for text in texts if text.strip()]
        if dates and any(_to_clock(dates[0], days_first) is not None for days_first in (True, False)):
            second_numbers = {int(groups[1]) for text in dates if len(groups := _DIGITS.findall(text)) > 5}
            origin = "dates" if len(_DIGITS.findall(dates[0])) > 5 else "times of day"
            numbers = [number for text in extra if (number := _to_float(text)) is not None and math.isfinite(number)]
            is_elapsed = bool(extra_unit and numbers) and max(numbers) * NANOSECONDS[str(extra_unit)] >= SECOND
            days_first = max(second_numbers, default=0) <= 12
            return TimeFormat(None, extra_unit, origin, days_first, is_elapsed)
        return TimeFormat(stated_unit or header_unit or "s", extra_unit)  # the first row reports the error
    rows_per_unit = _count_rows_per_unit(np.array(values))
    if (named_unit := stated_unit or header_unit) is not None:
        rate = rows_per_unit * SECOND / NANOSECONDS[named_unit]
        likely = _likely_unit(rows_per_unit)
        if (
            is_checked
            and rate
            and not _CONTRADICTION_HZ[0] <= rate <= _CONTRADICTION_HZ[1]
            and likely not in (None, named_unit)
        ):
            step = 1 / rows_per_unit
            raise InputError(
                f"{where}: the times are stated to be in {named_unit}, but increase by {step:.3g} per row, "
                f"which would be {_describe_rate(rate)}. The values are probably in {likely}: {hint(str(likely))}"
            )
        return TimeFormat(named_unit)
    unit = _likely_unit(rows_per_unit) or _unit_of_epoch(values[0])
    if unit is None:
        raise InputError(f"{where}: the unit of the column of times is unknown; {hint('ms')}, or s, us or ns")
    return replace(TimeFormat(unit), origin="inferred from the number of rows per second")


def _describe_rate(rate_hz: float) -> str:
    return f"{rate_hz:,.0f} rows per second" if rate_hz >= 1 else f"a row every {1 / rate_hz:,.0f} s"


def parse_times(texts: Sequence[str] | NDArray[np.float64], form: TimeFormat, extra: Sequence[str] = ()) -> Times:
    """Parse times to nanoseconds.

    Args:
        texts: Values of the column, or its numbers.
        form: Format of the column.
        extra: Values of the second column, if the format has one.

    Returns:
        int64 [n]. Dates count from 1970, times of day from midnight.

    Raises:
        ValueError: A value is not a time.
    """
    if isinstance(texts, np.ndarray):
        return _scale(texts, str(form.unit))
    if form.unit is None:
        added = _scale(np.array([_number(text) for text in extra]), form.extra_unit) if form.extra_unit else 0
        if form.is_elapsed:
            return np.asarray(added, np.int64)
        return np.array([_clock(text, form.days_first) for text in texts], np.int64) + added
    if form.unit == "ns" and all(map(_is_integer, texts)):
        values = [int(text) for text in texts]  # nanoseconds since 1970 exceed the precision of float64
        if values and not max(map(abs, values)) < 2**62:
            raise ValueError(f"{max(values, key=abs)} is not a time")
        return np.array(values, np.int64)
    try:
        numbers = np.array(to_floats(texts), np.float64)
    except ValueError:
        numbers = np.array([_number(text) for text in texts])
    return _scale(numbers, form.unit)


def unwrap_midnight(times: Times) -> Times:
    """Add a day wherever times of day jump back by more than 12 hours."""
    wraps = np.cumsum(np.diff(times, prepend=times[:1]) < -_DAY // 2)
    return times + wraps * _DAY


def _scale(numbers: NDArray[np.float64], unit: str) -> Times:
    with np.errstate(over="ignore"):
        scaled = numbers * NANOSECONDS[unit]
    if not (np.abs(scaled) < 2**62).all():  # NaN compares as false
        bad = numbers[int(np.argmin(np.abs(scaled) < 2**62))]
        raise ValueError(f"{bad} is not a time")
    return np.rint(scaled).astype(np.int64)


def _is_integer(text: str) -> bool:
    return text.isascii() and text.strip().lstrip("-").isdecimal() and len(text) < 25


def _to_float(text: str) -> float | None:
    try:
        return to_float(text)
    except ValueError:
        try:
            return to_float(text.replace(",", ".", 1))
        except ValueError:
            return None


def _number(text: str) -> float:
    number = _to_float(text)
    if number is None:
        raise ValueError(f"{text[:40]!r} is not a time")
    return number


def _count_rows_per_unit(values: NDArray[np.float64]) -> float:
    """Return the rows per unit of time, without gaps, in any order; 0 where all times are equal."""
    steps = np.diff(np.sort(values))
    if not (steps > 0).any():
        return 0.0
    usual = steps[steps <= 50 * np.median(steps[steps > 0])]
    return float(len(usual) / usual.sum())


def _likely_unit(rows_per_unit: float) -> str | None:
    low, high = _PLAUSIBLE_HZ
    return next((unit for unit in _INFERRED if low <= rows_per_unit * SECOND / NANOSECONDS[unit] <= high), None)


def _unit_of_epoch(value: float) -> str | None:
    """Return the unit in which a number is a time between 1990 and 2100, if any."""
    return next((unit for unit in _INFERRED if 6.3e8 <= value * NANOSECONDS[unit] / SECOND <= 4.1e9), None)


def _clock(text: str, days_first: bool) -> int:
    time = _to_clock(text, days_first)
    if time is None:
        raise ValueError(f"{text[:40]!r} is not a time")
    return time


_DIGITS = re.compile(r"\d+", re.ASCII)
_ZONE = re.compile(r"(?:[Tt ]\d\d?[:.-]\d\d.*?)([+-]\d\d):?(\d\d)?$", re.ASCII)


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = re.compile(rf"[ /.-]({'|'.join(_MONTHS)})[a-z]{{0,6}}[ /.-]", re.IGNORECASE)  # 31-Mar-2024
_BASIC = re.compile(r"^(\d{4})(\d\d)(\d\d)[Tt _-]?(\d\d)(\d\d)(\d\d)", re.ASCII)  # 20240331T010203
_MINUTES = re.compile(r"^\d\d?:\d\d[.,]\d+$", re.ASCII)


def _with_digits(text: str) -> str:
    """Write months as numbers, and separate the parts of dates without separators."""
    text = _MONTH.sub(lambda name: f"-{_MONTHS.index(name[1].lower()) + 1}-", text)
    return _BASIC.sub(r"\1-\2-\3 \4:\5:\6", text)


def _to_clock(text: str, days_first: bool) -> int | None:
    """Parse a date with a time, or a time of day, to nanoseconds; None if it is neither."""
    text = _with_digits(text.strip())
    if not 5 <= len(text) <= _LONGEST:
        return None
    zone_ns = 0
    if (zone := _ZONE.search(text)) and len(_DIGITS.findall(text)) >= 7:
        sign = -1 if zone[1][0] == "-" else 1
        zone_ns = sign * (abs(int(zone[1])) * 60 + int(zone[2] or 0)) * 60 * SECOND
        text = text[: zone.start(1)]
    groups = _DIGITS.findall(text)
    if _MINUTES.match(text):  # 01:23.450
        day, clock = 0, ["0", *groups]
    elif len(groups) in (3, 4) and len(groups[0]) <= 2:  # 10:30:00.020
        day, clock = 0, groups
    elif len(groups) in (6, 7) or (len(groups) == 3 and len(text) == 10):  # a date alone is its midnight
        first = [int(group) for group in groups[:3]]
        if len(groups[0]) == 4:
            year, month, dom = first
        elif len(groups[2]) == 4:
            dom, month, year = first if days_first else (first[1], first[0], first[2])
        else:
            return None
        try:
            day, clock = date(year, month, dom).toordinal() - _EPOCH, groups[3:] or ["0", "0", "0"]
        except ValueError:
            return None
    else:
        return None
    hour, minute, second = (int(group) for group in clock[:3])
    if text[-2:].lower() in ("am", "pm"):
        hour = hour % 12 + 12 * (text[-2:].lower() == "pm")
    if hour > 24 or minute > 59 or second > 60:
        return None
    fraction = int(f"{clock[3][:9]:0<9}") if len(clock) == 4 else 0
    return day * _DAY + ((hour * 60 + minute) * 60 + second) * SECOND + fraction - zone_ns
