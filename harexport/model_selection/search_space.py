"""The recipes of a search: `--grid section.key=values` in words, combined or drawn, judged by the recipe itself."""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harexport.errors import InputError
from harexport.model.recipe import Recipe, parse

MOST = 10_000  # recipes in one search
_TRIES = 100  # draws for each recipe asked for, where draws may repeat or not fit together
_NO_PART = ("validation",)
_RANGE = re.compile(r"([^\s:\[\],]+?)\.\.([^\s:\[\],]+)(:log)?")
_EXAMPLE = "model.hidden=32,48,64"
Value = Any  # whatever TOML knows: the recipe says whether it fits


@dataclass(frozen=True)
class Variant:
    """A recipe and what sets it apart from the one that the search began with, by "section.key"."""

    changes: dict[str, Value]
    recipe: Recipe


@dataclass(frozen=True)
class _Listed:
    values: tuple[Value, ...]

    def draw(self, random: np.random.Generator) -> Value:
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True)
class _Range:
    """From low to high, both included; whole numbers where both are; `log`: evenly on a logarithmic scale."""

    low: float
    high: float
    whole: bool
    log: bool

    def draw(self, random: np.random.Generator) -> Value:
        if self.whole and not self.log:
            return int(random.integers(int(self.low), int(self.high) + 1))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = float(random.uniform(low, high))
        value = min(self.high, max(self.low, math.exp(drawn) if self.log else drawn))
        if self.whole:
            return round(value)
        return min(self.high, max(self.low, float(f"{value:.4g}")))  # short enough for a table and a recipe file


def variants(base: Recipe, grid: Sequence[str], draws: int | None = None) -> list[Variant]:
    """The recipes that `grid` describes: all combinations, or `draws` of them at random.

    Each of `grid` is "section.key=value,value,..." or, to draw from, "section.key=low..high" (":log" at the end for a
    logarithmic scale). Draws are the same each time, and more of them begin with the same ones, so that a search can
    be extended. Raises InputError for what cannot be read, keys and values that the recipe refuses, and too many.
    """
    axes: dict[str, _Listed | _Range] = {}
    for spec in grid:
        key, axis = _axis(base, spec)
        if key in axes:
            raise InputError(f"--grid names {key} twice; put all its values into one")
        axes[key] = axis
    if not axes:
        raise InputError(f"nothing to search over: give --grid section.key=values, such as --grid {_EXAMPLE}")
    if draws is not None:
        return _drawn(base, axes, draws)
    listed: dict[str, tuple[Value, ...]] = {}
    for key, axis in axes.items():
        if isinstance(axis, _Range):
            raise InputError(f"--grid {key} is a range: say how many recipes to draw from it with --random N")
        listed[key] = axis.values
    count = math.prod(len(values) for values in listed.values())
    if count > MOST:
        raise InputError(f"--grid makes {count} recipes, at most {MOST}: take fewer values, or draw with --random N")
    made = [_variant(base, dict(zip(listed, values, strict=True))) for values in itertools.product(*listed.values())]
    return list({variant.recipe: variant for variant in made}.values())  # 32 and 32, 1 and 1.0 are one recipe


def _drawn(base: Recipe, axes: dict[str, _Listed | _Range], draws: int) -> list[Variant]:
    if not 1 <= draws <= MOST:
        raise InputError(f"--random {draws}: give a number of recipes from 1 to {MOST}")
    random = np.random.default_rng(0)
    found: dict[Recipe, Variant] = {}
    refused: InputError | None = None
    for _ in range(_TRIES * draws):
        changes = {key: axis.draw(random) for key, axis in axes.items()}
        try:
            variant = _variant(base, changes)
        except InputError as error:  # values that do not go together, such as a hop longer than its frame: draw again
            refused = error
            continue
        found.setdefault(variant.recipe, variant)
        if len(found) == draws:
            return list(found.values())
    if not found and refused:
        raise refused
    raise InputError(
        f"--random {draws}: --grid allows only {len(found)} different recipes; take fewer, or wider ranges"
    )


def _variant(base: Recipe, changes: dict[str, Value]) -> Variant:
    table = base.to_dict()
    for key, value in changes.items():
        section, _, leaf = key.partition(".")
        table[section] = {**table[section], leaf: value}
    recipe = parse(table, base.name)
    plain = recipe.to_dict()
    return Variant({key: plain[key.partition(".")[0]][key.partition(".")[2]] for key in changes}, recipe)


def _axis(base: Recipe, spec: str) -> tuple[str, _Listed | _Range]:
    key, equals, text = (part.strip() for part in spec.partition("="))
    sections = [name for name, value in base.to_dict().items() if isinstance(value, dict) and name not in _NO_PART]
    section, _, leaf = key.partition(".")
    if not equals or not leaf or not text:
        raise InputError(
            f"--grid {spec!r}: give section.key=values, such as {_EXAMPLE}; sections are {', '.join(sections)}"
        )
    if section in _NO_PART:
        raise InputError(f"--grid {key}: [{section}] has no part in a search, --folds says who is held out")
    if section not in sections:
        raise InputError(f"--grid {key}: a recipe has no section {section}; valid: {', '.join(sections)}")
    if found := _RANGE.fullmatch(text):
        axis: _Listed | _Range = _range(spec, *found.groups())
    else:
        axis = _Listed(tuple(_values(spec, text)))
    if leaf not in base.to_dict()[section]:
        _variant(base, {key: 0})  # raises: the recipe lists its valid keys
    return key, axis


def _range(spec: str, low_text: str, high_text: str, log: str | None) -> _Range:
    low, high = _scalar(low_text), _scalar(high_text)
    if not (type(low) in (int, float) and type(high) in (int, float)):
        raise InputError(f"--grid {spec}: a range goes from one number to another, such as 0.001..0.01 or 16..64")
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or max(abs(low), abs(high)) > 1e15:
        raise InputError(f"--grid {spec}: a range goes from a smaller number to a larger one")
    if log and low <= 0:
        raise InputError(f"--grid {spec}: a logarithmic range begins above zero")
    return _Range(low, high, type(low) is int and type(high) is int, log is not None)


def _values(spec: str, text: str) -> Iterator[Value]:
    """What stands between the commas: TOML values, or bare words."""
    whole = _toml(f"[{text}]")
    if isinstance(whole, list) and whole:
        yield from whole
        return
    for part in text.split(","):
        if not part.strip():
            raise InputError(f"--grid {spec!r}: there is an empty value between the commas")
        yield _scalar(part.strip())


def _scalar(text: str) -> Value:
    value = _toml(text)
    return text if value is None else value


def _toml(text: str) -> Value:
    """The one TOML value that `text` is; None where it is none."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # TOMLDecodeError, and numbers and nesting beyond Python's limits
        return None
    return table["value"] if len(table) == 1 and "\n" not in text else None
