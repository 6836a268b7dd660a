"""harexport.toml: what somebody's own recordings are, and which windows are made of them. Every key has a default."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harexport.data.recordings.sensors import Units
from harexport.data.uci_har.reader import CUSTOM_CONFIG
from harexport.errors import InputError
from harexport.model.contract import CHANNELS, Contract, FilterChain, Lowpass
from harexport.preprocessing.filters import design_sos
from harexport.preprocessing.stream import ACC, GYRO, UNITS

CONFIG_NAME = CUSTOM_CONFIG
TIME_UNITS = ("s", "ms", "us", "ns")
SUBJECT = "{subject}"
_NOISE_SHARE = 0.4  # of the rate: the official 20 Hz at 50 Hz


@dataclass(frozen=True)
class Columns:
    """[columns]: the columns' names where they are none that `harexport predict` knows; acc and gyro are x, y, z."""

    time: str | None = None
    acc: tuple[str, ...] = ()
    gyro: tuple[str, ...] = ()
    label: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class CustomConfig:
    """A harexport.toml as read. `file` is its path; `subjects` says whose a file is, by the file's name.

    The contract's labels are empty where the file lists none: then they are those found, sorted.
    """

    file: Path
    contract: Contract
    columns: Columns = Columns()
    time_unit: str | None = None
    units: Units = field(default_factory=Units)
    subject_pattern: str | None = None
    subjects: dict[str, str] = field(default_factory=dict)
    test_subjects: tuple[str, ...] = ()
    validation_subjects: tuple[str, ...] = ()


def load_config(file: Path) -> CustomConfig:
    """Read a harexport.toml. Raises InputError for what is not TOML, unknown keys, and values that do not fit."""
    try:
        table = tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{file} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers and nesting beyond Python's limits
        raise InputError(f"{file} is not TOML: {error}") from error
    return parse_config(table, file)


def parse_config(table: dict[str, Any], file: Path) -> CustomConfig:
    """Settings from a TOML table; `file` names it in errors. Raises InputError."""
    top = _Keys(table, str(file), "")
    columns, units, filters, subjects = (
        _Keys(top.take(name, {}, _table), str(file), f"{name}.") for name in ("columns", "units", "filters", "subjects")
    )
    rate_hz = top.take("rate_hz", 50.0, _number(1.0, 1000.0))
    window = top.take("window", 128, _whole(4, 10_000))
    hop = top.take("hop", max(1, window // 2), _whole(1, window))
    settings = CustomConfig(
        file=file,
        contract=_contract(top, rate_hz, window, hop, _filters(filters, rate_hz)),
        columns=Columns(
            time=columns.take("time", None, _text),
            acc=columns.take("acc", (), _three),
            gyro=columns.take("gyro", (), _three),
            label=columns.take("label", None, _text),
            subject=columns.take("subject", None, _text),
        ),
        time_unit=units.take("time", None, _choice(TIME_UNITS)),
        units=Units(
            units.take("acc", None, _choice(tuple(UNITS[ACC]))),
            units.take("gyro", None, _choice(tuple(UNITS[GYRO]))),
            file.name,
        ),
        subject_pattern=top.take("subject_pattern", None, _pattern),
        subjects={name: subjects.take(name, "", _text) for name in subjects.table},
        test_subjects=top.take("test_subjects", (), _texts),
        validation_subjects=top.take("validation_subjects", (), _texts),
    )
    for keys in (columns, units, filters, top):
        keys.refuse_unknown()
    if both := sorted(set(settings.test_subjects) & set(settings.validation_subjects)):
        raise InputError(
            f"{file}: {', '.join(both)} cannot be in test_subjects and in validation_subjects: a test is of people "
            "that nothing was chosen by"
        )
    return settings


def _contract(top: _Keys, rate_hz: float, window: int, hop: int, filters: FilterChain) -> Contract:
    sensors = top.take("sensors", (ACC, GYRO), _some_of((ACC, GYRO)))
    channels = tuple(name for name in CHANNELS if (GYRO if "gyro" in name else ACC) in sensors)
    return Contract(
        rate_hz=rate_hz,
        window=window,
        hop=hop,
        channels=channels,
        units=tuple("rad/s" if "gyro" in name else "g" for name in channels),
        labels=top.take("labels", (), _texts),
        filters=filters,
    )


def _filters(keys: _Keys, rate_hz: float) -> FilterChain:
    """The official filters unless said otherwise; the noise filter's cutoff follows a rate below 50 Hz down."""
    usual = FilterChain()
    noise = Lowpass(usual.noise.order, min(usual.noise.cutoff_hz, _NOISE_SHARE * rate_hz))
    chain = FilterChain(
        median=keys.take("median", usual.median, _whole(1, 99)),
        noise=keys.take("noise", noise, _lowpass),
        gravity=keys.take("gravity", usual.gravity, _lowpass),
        drift=keys.take("drift", usual.drift, _lowpass),
    )
    if chain.median % 2 == 0:
        raise InputError(f"{keys.where}: filters.median {chain.median} has no middle: choose 1, 3, 5, ...")
    for name in ("noise", "gravity", "drift"):
        try:
            design_sos(getattr(chain, name), rate_hz)
        except InputError as error:
            raise InputError(f"{keys.where}: filters.{name}: {error}") from None
    return chain


class _Keys:
    """One table of the file: takes its keys one by one, and knows then which were not meant."""

    def __init__(self, table: dict[str, Any], where: str, prefix: str) -> None:
        self.table, self.where, self._prefix = table, where, prefix
        self._known: list[str] = []

    def take(self, name: str, default: Any, read: Callable[[Any], Any]) -> Any:
        """The key's value as `read` makes it, which raises ValueError with what was expected; or the default."""
        self._known.append(name)
        if name not in self.table:
            return default
        try:
            return read(self.table[name])
        except ValueError as error:
            raise InputError(f"{self.where}: {self._prefix}{name} must be {error}, got {self.table[name]!r}") from None

    def refuse_unknown(self) -> None:
        for name in self.table:
            if name not in self._known:
                close = difflib.get_close_matches(name, self._known, n=1)
                hint = f". Did you mean {self._prefix}{close[0]}?" if close else ""
                raise InputError(
                    f"{self.where}: unknown key {self._prefix}{name}; valid: {', '.join(self._known)}{hint}"
                )


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a table")
    return value


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if type(value) not in (int, float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return read


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return read


def _text(value: Any) -> str:
    """A word; a number is one too, as subjects often are."""
    word = str(value).strip() if type(value) in (str, int) else ""
    if not word or not word.isprintable():
        raise ValueError("a word of one line")
    return word


def _texts(value: Any) -> tuple[str, ...]:
    try:
        words = tuple(_text(word) for word in value) if isinstance(value, list) else ()
    except ValueError:
        words = ()
    if not words or len(set(words)) < len(words):
        raise ValueError("a list of different words")
    return words


def _three(value: Any) -> tuple[str, ...]:
    try:
        words = _texts(value)
    except ValueError:
        words = ()
    if len(words) != 3:
        raise ValueError("a list of three columns: x, y, z")
    return words


def _choice(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def _some_of(choices: tuple[str, ...]) -> Callable[[Any], tuple[str, ...]]:
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or any(one not in choices for one in value):
            raise ValueError(f"a list of some of {', '.join(choices)}")
        return tuple(choice for choice in choices if choice in value)

    return read


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or value.count(SUBJECT) != 1:
        raise ValueError(f"a file name with one {SUBJECT} in it and * for what does not matter, as in {SUBJECT}_*.csv")
    return value


def _lowpass(value: Any) -> Lowpass:
    if not isinstance(value, dict) or set(value) != {"order", "cutoff_hz"}:
        raise ValueError("a table { order = ..., cutoff_hz = ... }")
    order, cutoff_hz = value["order"], value["cutoff_hz"]
    if type(order) is not int or not 1 <= order <= 20 or type(cutoff_hz) not in (int, float):
        raise ValueError("a table { order = 1 to 20, cutoff_hz = a number }")
    if not math.isfinite(cutoff_hz):
        raise ValueError("a table with a finite cutoff_hz")
    return Lowpass(order, float(cutoff_hz))
