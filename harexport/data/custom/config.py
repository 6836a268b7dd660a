"""Configuration of a custom dataset (harexport.toml). Every key has a default."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from harexport.data.recordings.csv_format import ColumnNames, Units
from harexport.data.uci_har.reader import CUSTOM_CONFIG
from harexport.errors import InputError
from harexport.model.contract import CHANNELS, LABELS, Contract, FilterChain, Lowpass
from harexport.preprocessing.filters import design_sos
from harexport.preprocessing.stream import ACC, GYRO, unit_divisor

CONFIG_NAME = CUSTOM_CONFIG
SUBJECT, LABEL = "{subject}", "{label}"
_NOISE_CUTOFF = 0.4  # of the rate: the 20 Hz of UCI HAR at 50 Hz

Word = str | int  # subjects and labels may be numbers
Axes = Annotated[tuple[str, ...], Meta(min_length=3, max_length=3)]


class ColumnsTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[columns]: names of columns that `harexport predict` does not recognize."""

    time: str | UnsetType = UNSET
    acc: Axes | UnsetType = UNSET
    gyro: Axes | UnsetType = UNSET
    label: str | UnsetType = UNSET
    subject: str | UnsetType = UNSET


class UnitsTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[units]: units that the columns do not contain."""

    time: Literal["s", "ms", "us", "ns"] | UnsetType = UNSET
    acc: str | UnsetType = UNSET  # g, m/s2, mg, or counts such as 16384/g
    gyro: str | UnsetType = UNSET  # rad/s, deg/s, mdps, or counts such as 131/dps
    signs: Literal["android", "apple"] | UnsetType = UNSET


class LowpassTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A Butterworth low-pass."""

    order: Annotated[int, Meta(ge=1, le=20)]
    cutoff_hz: float


class FiltersTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[filters]: filters of the preprocessing; default: those of UCI HAR."""

    median: Annotated[int, Meta(ge=1, le=99)] = 3
    noise: LowpassTable | UnsetType = UNSET
    gravity: LowpassTable | UnsetType = UNSET
    drift: LowpassTable | UnsetType = UNSET


class ConfigTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Top level of harexport.toml."""

    columns: ColumnsTable = ColumnsTable()
    units: UnitsTable = UnitsTable()
    filters: FiltersTable = FiltersTable()
    subjects: dict[str, Word] = {}
    rate_hz: Annotated[float, Meta(ge=1, le=1000)] = 50.0
    window: Annotated[int, Meta(ge=4, le=10_000)] = 128
    hop: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    sensors: Annotated[tuple[Literal["accelerometer", "gyroscope"], ...], Meta(min_length=1)] = (
        "accelerometer",
        "gyroscope",
    )
    labels: tuple[Word, ...] = ()
    subject_pattern: str | UnsetType = UNSET
    label_pattern: str | UnsetType = UNSET
    test_subjects: tuple[Word, ...] = ()
    validation_subjects: tuple[Word, ...] = ()


@dataclass(frozen=True)
class CustomConfig:
    """A validated harexport.toml.

    Attributes:
        file: Path of the file.
        contract: Contract of the windows, with the labels of UCI HAR where the file lists none.
        labels: Labels to use; empty: all.
        columns: Names of columns.
        time_unit: Unit of the time column.
        units: Units of the sensors.
        subject_pattern: Pattern of paths with {subject}.
        label_pattern: Pattern of paths with {label}.
        subjects: Subject of a file, by file name.
        test_subjects: Subjects of the test set.
        validation_subjects: Training subjects held out for validation.
    """

    file: Path
    contract: Contract
    labels: tuple[str, ...] = ()
    columns: ColumnNames = field(default_factory=ColumnNames)
    time_unit: str | None = None
    units: Units = field(default_factory=Units)
    subject_pattern: str | None = None
    label_pattern: str | None = None
    subjects: dict[str, str] = field(default_factory=dict)
    test_subjects: tuple[str, ...] = ()
    validation_subjects: tuple[str, ...] = ()


def load_config(file: Path) -> CustomConfig:
    """Load harexport.toml.

    Raises:
        InputError: The file is missing or not TOML, a key is unknown, or a value is not valid.
    """
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
    """Validate the table of harexport.toml.

    Args:
        table: TOML table.
        file: Path of the file, for messages.

    Raises:
        InputError: A key is unknown, or a value is not valid.
    """
    try:
        config = convert(table, ConfigTable)
    except ValidationError as error:
        raise InputError(f"{file}: {_explain(str(error), table)}") from None
    if config.hop is not UNSET and config.hop > config.window:
        raise InputError(f"{file}: hop must be a whole number from 1 to {config.window} (window), got {config.hop}")
    for key, placeholder in (("subject_pattern", SUBJECT), ("label_pattern", LABEL)):
        if (pattern := getattr(config, key)) is not UNSET:
            _check_pattern(pattern, key, placeholder, file)
    test, validation = (_words(config, key, file) for key in ("test_subjects", "validation_subjects"))
    if both := sorted(set(test) & set(validation)):
        raise InputError(f"{file}: {', '.join(both)} is in test_subjects and in validation_subjects; remove one")
    columns = config.columns
    return CustomConfig(
        file=file,
        contract=_contract(config, file),
        labels=_words(config, "labels", file),
        columns=ColumnNames(
            time=columns.time or None,
            acc=columns.acc or (),
            gyro=columns.gyro or (),
            label=columns.label or None,
            subject=columns.subject or None,
        ),
        time_unit=config.units.time or None,
        units=_units(config.units, file),
        subject_pattern=config.subject_pattern or None,
        label_pattern=config.label_pattern or None,
        subjects={name: _word(subject, f"subjects.{name}", file) for name, subject in config.subjects.items()},
        test_subjects=test,
        validation_subjects=validation,
    )


def _units(table: UnitsTable, file: Path) -> Units:
    for sensor, name in ((ACC, "acc"), (GYRO, "gyro")):
        if unit := getattr(table, name) or None:
            unit_divisor(sensor, unit, f"{file}: units.{name}: ", 'for example "{}"'.format)
    return Units(table.acc or None, table.gyro or None, file.name, signs=table.signs or None)


def _contract(config: ConfigTable, file: Path) -> Contract:
    channels = tuple(name for name in CHANNELS if (GYRO if "gyro" in name else ACC) in config.sensors)
    return Contract(
        rate_hz=float(config.rate_hz),
        window=config.window,
        hop=config.hop or max(1, config.window // 2),
        channels=channels,
        units=tuple("rad/s" if "gyro" in name else "g" for name in channels),
        labels=_words(config, "labels", file) or LABELS,
        filters=_filters(config.filters, float(config.rate_hz), file),
    )


def _filters(table: FiltersTable, rate_hz: float, file: Path) -> FilterChain:
    """Return the filters; below 50 Hz the default cutoff of the noise filter decreases with the rate."""
    default = FilterChain()
    noise = Lowpass(default.noise.order, min(default.noise.cutoff_hz, _NOISE_CUTOFF * rate_hz))
    if table.median % 2 == 0:
        raise InputError(f"{file}: filters.median must be odd (1, 3, 5, ...), got {table.median}")

    def lowpass(name: str, usual: Lowpass) -> Lowpass:
        given = getattr(table, name)
        chosen = usual if given is UNSET else Lowpass(given.order, float(given.cutoff_hz))
        if not math.isfinite(chosen.cutoff_hz):
            raise InputError(f"{file}: filters.{name}.cutoff_hz must be a finite number, got {chosen.cutoff_hz}")
        try:
            design_sos(chosen, rate_hz)
        except InputError as error:
            raise InputError(f"{file}: filters.{name}: {error}") from None
        return chosen

    return FilterChain(
        table.median, lowpass("noise", noise), lowpass("gravity", default.gravity), lowpass("drift", default.drift)
    )


def _word(value: Word, key: str, file: Path) -> str:
    word = str(value).strip()
    if not word or not word.isprintable():
        raise InputError(f"{file}: {key} must be text of one line, got {value!r}")
    return word


def _words(config: ConfigTable, key: str, file: Path) -> tuple[str, ...]:
    words = tuple(_word(value, key, file) for value in getattr(config, key))
    if len(set(words)) < len(words):
        raise InputError(f"{file}: {key} must be a list of different words, got {', '.join(words)}")
    return words


def _check_pattern(pattern: str, key: str, placeholder: str, file: Path) -> None:
    if pattern.count(placeholder) != 1 or len(pattern) > 200 or pattern.count("*") > 8:
        raise InputError(
            f"{file}: {key} must be a file name with one {placeholder}, and * for any text, such as "
            f"{placeholder}_*.csv; got {pattern[:60]!r}"
        )


_KINDS = {
    "array": "a list", "bool": "true or false", "float": "a number", "int": "a whole number", "object": "a table",
    "str": "text", "int | str": "text or a number",
}  # fmt: skip


def _explain(message: str, table: Any) -> str:
    """Convert msgspec's message to one that names the key, its value and what is valid."""
    text, _, path = message.partition(" - at `$")
    key = path.removeprefix(".").removesuffix("`").removesuffix("[...]")
    struct = _find_struct(key)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        prefix = f"{key}." if key else ""
        valid = struct.__struct_fields__
        close = difflib.get_close_matches(unknown[1], valid, n=1)
        hint = f". Did you mean {prefix}{close[0]}?" if close else ""
        return f"unknown key {prefix}{unknown[1]}; valid: {', '.join(valid)}{hint}"
    value = table
    for part in re.findall(r"[^.\[\]]+", key):
        if not isinstance(value, dict | list) or (isinstance(value, dict) and part not in value):
            break
        value = value[int(part)] if isinstance(value, list) else value[part]
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"{key} lacks the key {missing[1]}"
    return f"{key or 'the file'} must be {_describe_type(key, text)}, got {shown}"


def _find_struct(key: str) -> Any:
    struct: Any = ConfigTable
    for part in re.findall(r"[^.\[\]]+", key):
        hint = typing.get_type_hints(struct).get(part)
        nested = [kind for kind in (hint, *typing.get_args(hint)) if hasattr(kind, "__struct_fields__")]
        if not nested:
            break
        struct = nested[0]
    return struct


def _describe_type(key: str, text: str) -> str:
    leaf = key.rpartition(".")[2].partition("[")[0]
    hints = typing.get_type_hints(_find_struct(key.rpartition(".")[0]), include_extras=True)
    hint = hints.get(leaf)
    if leaf in ("acc", "gyro") and key.startswith("columns"):
        return "a list of three columns: x, y, z"
    if choices := _choices(hint):
        return ("a list of some of " if leaf == "sensors" and "[" not in key else "one of ") + ", ".join(choices)
    bounds = [
        meta for part in (hint, *typing.get_args(hint)) for meta in typing.get_args(part) if isinstance(meta, Meta)
    ]
    bounds += [meta for meta in typing.get_args(hint) if isinstance(meta, Meta)]
    expected = text.partition(",")[0].replace("`", "").removeprefix("Expected ")
    kind = re.split(r" [<>]=? ", expected)[0]
    described = _KINDS.get(kind.removesuffix(" | null"), kind)
    if bounds and bounds[0].ge is not None and "number" in described:
        if bounds[0].le is not None:
            return f"{described} from {bounds[0].ge} to {bounds[0].le}"
        return f"{described} of at least {bounds[0].ge}"
    return described


def _choices(hint: Any) -> tuple[str, ...]:
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return next((found for part in typing.get_args(hint) if (found := _choices(part))), ())


def match_pattern(pattern: str, placeholder: str, path: str) -> str | None:
    """Match a pattern against a path, or against its last part where the pattern has no slash.

    `*` stands for any text, as long as possible, and each placeholder for at least one character, as short as possible;
    neither contains a slash.

    Args:
        pattern: Pattern such as "{subject}_*.csv" or "{subject}/{label}/*".
        placeholder: SUBJECT or LABEL.
        path: Path of a recording in the folder.

    Returns:
        The text at the placeholder, None where the pattern does not match.
    """
    text = path if "/" in pattern else path.rpartition("/")[2]
    tokens = [token for token in re.split(r"(\*|\{subject\}|\{label\})", pattern) if token]
    # matches[k][i]: tokens[k:] match text[i:]; computed from the end, so that time is linear in the length
    count = len(text)
    matches = [[False] * count + [True]]
    for token in reversed(tokens):
        later, row = matches[0], [False] * (count + 1)
        for i in range(count, -1, -1):
            if token in ("*", SUBJECT, LABEL):
                is_longer = i < count and text[i] != "/" and (row[i + 1] or (token != "*" and later[i + 1]))
                row[i] = is_longer or (token == "*" and later[i])
            else:
                row[i] = text.startswith(token, i) and later[i + len(token)]
        matches.insert(0, row)
    if not matches[0][0]:
        return None
    position = 0
    for k, token in enumerate(tokens):
        if token not in ("*", SUBJECT, LABEL):
            position += len(token)
            continue
        if token == "*":  # as long as possible
            limit = next((i for i in range(position, count) if text[i] == "/"), count)
            end = next(i for i in range(limit, position - 1, -1) if matches[k + 1][i])
        else:
            end = next(i for i in range(position + 1, count + 1) if matches[k + 1][i])
        if token == placeholder:
            return text[position:end]
        position = end
    return None


def list_some(names: Sequence[str]) -> str:
    """List up to 12 names."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
