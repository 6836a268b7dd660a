"""Recipes: everything that decides how a network is trained, in one TOML file.

The shipped recipes stand in `recipes/`. Every key has a default; an unknown key, a wrong type or a value
out of range is an InputError that lists what is valid.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from harexport.errors import InputError
from harexport.model.contract import CHANNELS


def _key(
    default: Any, doc: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    meta = {"doc": doc, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class DataKeys:
    """[data]: what the network gets to see."""

    channels: tuple[str, ...] = _key(
        (), "the channels the network reads, in this order; empty is all of the data", choices=CHANNELS
    )


@dataclass(frozen=True)
class ModelKeys:
    """[model]: the network's shape."""

    frame: int = _key(32, "samples that one step sees", low=1)
    hop: int = _key(16, "samples between the starts of two steps; less than frame makes steps overlap", low=1)
    input_units: int = _key(48, "width of the input layer", low=1, high=4096)
    relu: bool = _key(True, "a ReLU after the input layer")
    cell: str = _key(
        "lstm",
        "what the recurrent layers are made of; the GRU is TensorFlow 1's, its reset gate before the product",
        choices=("lstm", "gru"),
    )
    candidate: str = _key("tanh", "the GRU's activation of the candidate", choices=("tanh", "relu"))
    hidden: int = _key(48, "hidden units of each recurrent layer", low=1, high=4096)
    layers: int = _key(2, "recurrent layers", low=1, high=8)
    head_units: int = _key(
        0, "units of a linear layer between the last state and the labels, no activation after it; 0 is none",
        low=0, high=4096,
    )  # fmt: skip
    coarse: tuple[int, ...] = _key(
        (),
        "a coarse label for each label, from 0, which a second head answers; empty is no second head",
        low=0,
        high=255,
    )
    dropout: float = _key(
        0.4, "share dropped after the input layer, between recurrent layers and before the head", low=0, high=0.95
    )
    init: str = _key(
        "torch",
        "initial values: torch's own, or seed (SEEDS: N(0,1) linear, uniform unit scaling)",
        choices=("torch", "seed"),
    )
    forget_bias: float = _key(1.0, "constant added to the LSTM's forget gates, outside the trained arrays")
    normalise: bool = _key(True, "divide by the training windows' standard deviation after taking off their mean")


@dataclass(frozen=True)
class AugmentKeys:
    """[augment]: what a training window may become; all zero means the windows as they are."""

    shift: int = _key(0, "samples: cut the window at a random offset of up to this, inside its own stretch", low=0)
    speed: float = _key(0.0, "play the window up to this share faster or slower", low=0, high=0.5)
    rotation_deg: float = _key(0.0, "degrees: rotate all three vectors together, axis uniform, angle N(0, this)", low=0)
    gravity_swap: float = _key(
        0.0, "share of windows turned so that gravity lies where another window of the same label has it", low=0, high=1
    )
    noise: float = _key(0.0, "white noise on every sample, as a share of the channel's standard deviation", low=0)
    gain: float = _key(0.0, "scale each sensor axis by 1 + N(0, this)", low=0)


@dataclass(frozen=True)
class OptimiserKeys:
    """[optimiser]: loss and update rule."""

    name: str = _key(
        "adamw",
        "update rule; rmsprop is TensorFlow 1's, decay 0.9, epsilon 1e-10 inside the root",
        choices=("adam", "adamw", "rmsprop"),
    )
    learning_rate: float = _key(0.005, "peak learning rate", low=1e-9, high=1000)
    weight_decay: float = _key(0.01, "AdamW's decoupled weight decay", low=0)
    l2: float = _key(0.0, "times half the sum of squares of all trainable arrays, added to the loss", low=0)
    label_smoothing: float = _key(0.0, "share of the target spread over all labels", low=0, high=0.9)
    clip_norm: float = _key(0.0, "largest gradient norm; 0 is no limit", low=0)
    average: float = _key(
        0.0, "decay per update of the running weight average that becomes the model; 0 is none", low=0, high=0.99999
    )


@dataclass(frozen=True)
class ScheduleKeys:
    """[schedule]: how long, in what order."""

    coarse_epochs: int = _key(0, "passes before these that train the coarse head only", low=0, high=10**6)
    epochs: int = _key(
        300, "passes: epochs x training windows are seen; with a coarse head, each batch trains that, then the other",
        low=1, high=10**6,
    )  # fmt: skip
    batch: int = _key(128, "windows a step", low=1, high=10**5)
    order: str = _key(
        "shuffled", "shuffled each epoch, or file (in file order, wrapping round)", choices=("shuffled", "file")
    )
    rate: str = _key("one-cycle", "learning rate over time", choices=("one-cycle", "constant"))
    report_windows: int = _key(0, "windows between two lines of the log; 0 is one epoch", low=0)


@dataclass(frozen=True)
class ValidationKeys:
    """[validation]: training subjects held out in a first pass; the model that ships is then trained on all."""

    subjects: tuple[int, ...] = _key((), "held-out training subjects; empty skips the first pass")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; `name` is also the stem of every file made from it."""

    name: str
    description: str = ""
    data: DataKeys = DataKeys()
    model: ModelKeys = ModelKeys()
    augment: AugmentKeys = AugmentKeys()
    optimiser: OptimiserKeys = OptimiserKeys()
    schedule: ScheduleKeys = ScheduleKeys()
    validation: ValidationKeys = ValidationKeys()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `parse` reads them."""
        plain = dataclasses.asdict(self)
        plain["data"]["channels"] = list(self.data.channels)
        plain["model"]["coarse"] = list(self.model.coarse)
        plain["validation"]["subjects"] = list(self.validation.subjects)
        return plain


_SECTIONS: dict[str, type] = {
    "data": DataKeys,
    "model": ModelKeys,
    "augment": AugmentKeys,
    "optimiser": OptimiserKeys,
    "schedule": ScheduleKeys,
    "validation": ValidationKeys,
}


def shipped() -> list[str]:
    """The names of the recipes that travel with the package."""
    return sorted(p.name[: -len(".toml")] for p in _folder().iterdir() if p.name.endswith(".toml"))


def load(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or any recipe by its path (it ends in .toml). Raises InputError."""
    if name_or_path in shipped():
        return parse(tomllib.loads((_folder() / f"{name_or_path}.toml").read_text("utf-8")), name_or_path)
    path = Path(name_or_path)
    if path.suffix != ".toml":
        close = difflib.get_close_matches(name_or_path, shipped(), n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InputError(
            f"no recipe named {name_or_path!r}; there are {', '.join(shipped())}, or give a .toml file.{hint}"
        )
    try:
        return parse(tomllib.loads(path.read_text("utf-8-sig")), str(path))
    except FileNotFoundError:
        raise InputError(f"recipe not found: {path}; shipped recipes are {', '.join(shipped())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read recipe {path}: {error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers and nesting beyond Python's limits
        raise InputError(f"recipe {path} is not TOML: {error}") from error


def parse(table: Any, where: str) -> Recipe:
    """A recipe from its TOML table (or `to_dict`); `where` names the source in errors. Raises InputError."""
    if not isinstance(table, dict):
        raise InputError(f"recipe {where}: expected a table of sections {', '.join(_SECTIONS)}")
    _refuse_unknown(table, ("name", "description", *_SECTIONS), where, "")
    name = table.get("name", Path(where).stem)
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    if not isinstance(name, str) or not 1 <= len(name) <= 60 or set(name) - allowed:
        raise InputError(
            f"recipe {where}: name {name!r} must be 1 to 60 lower-case letters, digits, - and _; it names files"
        )
    description = table.get("description", "")
    if not isinstance(description, str):
        raise InputError(f"recipe {where}: description must be text")
    sections = {key: _section(kind, table.get(key, {}), f"{where}", key) for key, kind in _SECTIONS.items()}
    recipe = Recipe(name, description, **sections)
    if recipe.model.hop > recipe.model.frame:
        raise InputError(
            f"recipe {where}: model.hop {recipe.model.hop} is larger than model.frame {recipe.model.frame}: "
            "samples in between would never be seen"
        )
    _check_cell(recipe, where)
    if len(set(recipe.data.channels)) < len(recipe.data.channels):
        raise InputError(f"recipe {where}: data.channels names a channel twice: {', '.join(recipe.data.channels)}")
    turning = [key for key in ("rotation_deg", "gravity_swap") if getattr(recipe.augment, key)]
    if turning and not _vectors(recipe.data.channels):
        raise InputError(
            f"recipe {where}: augment.{turning[0]} turns whole vectors; data.channels must list x, y, z of each, "
            f"got {', '.join(recipe.data.channels)}"
        )
    return recipe


def _check_cell(recipe: Recipe, where: str) -> None:
    """Keys of the other cell, and of a second head that is not there, would do nothing: said, not ignored."""
    keys = recipe.model
    if keys.cell == "lstm" and keys.candidate != "tanh":
        raise InputError(f"recipe {where}: model.candidate {keys.candidate} is the GRU's; set model.cell to gru")
    if keys.cell == "gru" and keys.forget_bias != 1.0:
        raise InputError(
            f"recipe {where}: model.forget_bias {keys.forget_bias:g} is the LSTM's, a GRU has no forget gate; "
            "leave it out, or set model.cell to lstm"
        )
    if len(set(keys.coarse)) == 1:
        raise InputError(
            f"recipe {where}: model.coarse gives every label the coarse label {keys.coarse[0]}; "
            "there is nothing to tell apart"
        )
    if recipe.schedule.coarse_epochs and not keys.coarse:
        raise InputError(
            f"recipe {where}: schedule.coarse_epochs {recipe.schedule.coarse_epochs} trains a coarse head, and there "
            "is none; list a coarse label for each label in model.coarse"
        )


def _vectors(channels: tuple[str, ...]) -> bool:
    """Whether the channels come as x, y, z of one sensor after the other."""
    sensors = [channel.removesuffix("_x") for channel in channels[::3]]
    return channels == tuple(f"{sensor}_{axis}" for sensor in sensors for axis in "xyz")


def _section(kind: type, table: Any, where: str, section: str) -> Any:
    if not isinstance(table, dict):
        raise InputError(f"recipe {where}: [{section}] must be a table of keys")
    known = {f.name: f for f in fields(kind)}
    _refuse_unknown(table, tuple(known), where, section + ".")
    values = {key: _value(value, known[key], f"recipe {where}: {section}.{key}") for key, value in table.items()}
    return kind(**values)


def _value(value: Any, key: dataclasses.Field[Any], where: str) -> Any:
    meta = key.metadata
    if key.type == "tuple[int, ...]":
        if not isinstance(value, list | tuple) or any(type(v) is not int for v in value):
            raise InputError(f"{where} must be a list of whole numbers ({meta['doc']}), got {value!r}")
        if any(not _within(v, meta) for v in value):
            raise InputError(f"{where} must be whole numbers, each {_limits(meta)} ({meta['doc']}), got {value!r}")
        return tuple(value)
    if key.type == "tuple[str, ...]":
        if not isinstance(value, list | tuple) or any(v not in meta["choices"] for v in value):
            raise InputError(f"{where} must be a list of some of {', '.join(meta['choices'])}, got {value!r}")
        return tuple(value)
    if key.type == "float" and type(value) is int:
        value = float(value)
    if type(value).__name__ != key.type:
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
        raise InputError(f"{where} must be {kinds[str(key.type)]} ({meta['doc']}), got {value!r}")
    if meta["choices"] and value not in meta["choices"]:
        raise InputError(f"{where} must be one of {', '.join(meta['choices'])}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} must be a finite number ({meta['doc']}), got {value!r}")
    if not _within(value, meta):
        raise InputError(f"{where} must be {_limits(meta)} ({meta['doc']}), got {value!r}")
    return value


def _within(value: Any, meta: Mapping[str, Any]) -> bool:
    low, high = meta["low"], meta["high"]
    return not ((low is not None and not value >= low) or (high is not None and not value <= high))


def _limits(meta: Mapping[str, Any]) -> str:
    named = (("at least", meta["low"]), ("at most", meta["high"]))
    return " and ".join(f"{words} {limit:g}" for words, limit in named if limit is not None)


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str, prefix: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {prefix}{close[0]}?" if close else ""
            raise InputError(f"recipe {where}: unknown key {prefix}{key}; valid: {', '.join(known)}.{hint}")


def _folder() -> Any:
    return resources.files("harexport.model") / "recipes"
