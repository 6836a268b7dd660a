"""Search space of a sweep: parses `--grid section.key=values` and makes the variants of a recipe."""

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

MAX_RECIPES = 10_000
_MAX_DRAWS_PER_RECIPE = 100  # draws may repeat, or violate constraints of the recipe
_FIXED_SECTIONS = ("validation",)
_RANGE = re.compile(r"([^\s:\[\],]+?)\.\.([^\s:\[\],]+)(:log)?")
_EXAMPLE = "model.hidden=32,48,64"
Value = Any  # any TOML value; the recipe validates it


@dataclass(frozen=True)
class Variant:
    """A recipe and its changes from the base recipe, by "section.key"."""

    changes: dict[str, Value]
    recipe: Recipe


@dataclass(frozen=True)
class Choice:
    """A list of values."""

    values: tuple[Value, ...]

    def draw(self, random: np.random.Generator) -> Value:
        """Draw one value."""
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True)
class Uniform:
    """A uniform distribution.

    Attributes:
        low, high: Limits, both included.
        whole: Draw integers.
        log: Uniform on a logarithmic scale.
    """

    low: float
    high: float
    whole: bool
    log: bool

    def draw(self, random: np.random.Generator) -> Value:
        """Draw one value, with four significant digits."""
        if self.whole and not self.log:
            return int(random.integers(int(self.low), int(self.high) + 1))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = float(random.uniform(low, high))
        value = min(self.high, max(self.low, math.exp(drawn) if self.log else drawn))
        if self.whole:
            return round(value)
        return min(self.high, max(self.low, float(f"{value:.4g}")))


def make_variants(base: Recipe, grid: Sequence[str], draws: int | None = None) -> list[Variant]:
    """Make the variants of a recipe: all combinations, or random ones.

    Args:
        base: Recipe to vary.
        grid: "section.key=value,value,..." or, with `draws`, "section.key=low..high" (":log" at the end: logarithmic).
        draws: Number of random variants; None: all combinations. The first ones of a larger number are the same, so a
            search can be extended.

    Raises:
        InputError: A specification cannot be parsed, the recipe rejects a key or value, or there are too many variants.
    """
    axes: dict[str, Choice | Uniform] = {}
    for spec in grid:
        key, axis = _axis(base, spec)
        if key in axes:
            raise InputError(f"--grid contains {key} twice; give all its values in one")
        axes[key] = axis
    if not axes:
        raise InputError(f"nothing to search: give --grid section.key=values, for example --grid {_EXAMPLE}")
    if draws is not None:
        return _draw_variants(base, axes, draws)
    listed: dict[str, tuple[Value, ...]] = {}
    for key, axis in axes.items():
        if isinstance(axis, Uniform):
            raise InputError(f"--grid {key} is a range; give the number of recipes to draw with --random N")
        listed[key] = axis.values
    count = math.prod(len(values) for values in listed.values())
    if count > MAX_RECIPES:
        raise InputError(
            f"--grid makes {count} recipes, at most {MAX_RECIPES} are allowed. Use fewer values, or --random N"
        )
    made = [_variant(base, dict(zip(listed, values, strict=True))) for values in itertools.product(*listed.values())]
    return list({variant.recipe: variant for variant in made}.values())  # 32 and 32, 1 and 1.0 are one recipe


def _draw_variants(base: Recipe, axes: dict[str, Choice | Uniform], draws: int) -> list[Variant]:
    if not 1 <= draws <= MAX_RECIPES:
        raise InputError(f"--random {draws}: give a number of recipes from 1 to {MAX_RECIPES}")
    random = np.random.default_rng(0)
    found: dict[Recipe, Variant] = {}
    refused: InputError | None = None
    for _ in range(_MAX_DRAWS_PER_RECIPE * draws):
        changes = {key: axis.draw(random) for key, axis in axes.items()}
        try:
            variant = _variant(base, changes)
        except InputError as error:  # for example a hop longer than the frame: draw again
            refused = error
            continue
        found.setdefault(variant.recipe, variant)
        if len(found) == draws:
            return list(found.values())
    if not found and refused:
        raise refused
    raise InputError(
        f"--random {draws}: --grid allows only {len(found)} different recipes; use a smaller number or wider ranges"
    )


def _variant(base: Recipe, changes: dict[str, Value]) -> Variant:
    table = base.to_dict()
    for key, value in changes.items():
        section, _, leaf = key.partition(".")
        table[section] = {**table[section], leaf: value}
    recipe = parse(table, base.name)
    plain = recipe.to_dict()
    return Variant({key: plain[key.partition(".")[0]][key.partition(".")[2]] for key in changes}, recipe)


def _axis(base: Recipe, spec: str) -> tuple[str, Choice | Uniform]:
    key, equals, text = (part.strip() for part in spec.partition("="))
    sections = [
        name for name, value in base.to_dict().items() if isinstance(value, dict) and name not in _FIXED_SECTIONS
    ]
    section, _, leaf = key.partition(".")
    if not equals or not leaf or not text:
        raise InputError(
            f"--grid {spec!r}: give section.key=values, for example {_EXAMPLE}; sections are {', '.join(sections)}"
        )
    if section in _FIXED_SECTIONS:
        raise InputError(f"--grid {key}: [{section}] cannot be searched; --folds chooses the held-out subjects")
    if section not in sections:
        raise InputError(f"--grid {key}: a recipe has no section {section}; valid: {', '.join(sections)}")
    if found := _RANGE.fullmatch(text):
        axis: Choice | Uniform = _range(spec, *found.groups())
    else:
        axis = Choice(tuple(_values(spec, text)))
    if leaf not in base.to_dict()[section]:
        _variant(base, {key: 0})  # raises: the recipe lists its valid keys
    return key, axis


def _range(spec: str, low_text: str, high_text: str, log: str | None) -> Uniform:
    low, high = _scalar(low_text), _scalar(high_text)
    if not (type(low) in (int, float) and type(high) in (int, float)):
        raise InputError(f"--grid {spec}: a range has two numbers, for example 0.001..0.01 or 16..64")
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or max(abs(low), abs(high)) > 1e15:
        raise InputError(f"--grid {spec}: the first number of a range must be smaller than the second")
    if log and low <= 0:
        raise InputError(f"--grid {spec}: the first number of a logarithmic range must be greater than zero")
    return Uniform(low, high, type(low) is int and type(high) is int, log is not None)


def _values(spec: str, text: str) -> Iterator[Value]:
    """Yield the comma-separated values: TOML values or bare words."""
    whole = _toml(f"[{text}]")
    if isinstance(whole, list) and whole:
        yield from whole
        return
    for part in text.split(","):
        if not part.strip():
            raise InputError(f"--grid {spec!r}: there is an empty value")
        yield _scalar(part.strip())


def _scalar(text: str) -> Value:
    value = _toml(text)
    return text if value is None else value


def _toml(text: str) -> Value:
    """Parse one TOML value; None if it is not one."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # TOMLDecodeError, and numbers and nesting beyond Python's limits
        return None
    return table["value"] if len(table) == 1 and "\n" not in text else None
