"""Training recipes: all hyperparameters of a network in one TOML file.

The shipped recipes are in `recipes/`. Every key has a default. The layers are a list, `[[model.layers]]`, or in the
short form the keys of a convolution with LSTM or GRU layers after it.
"""

from __future__ import annotations

import difflib
import re
import stat
import tomllib
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert, to_builtins

from harexport.errors import InputError
from harexport.model.contract import are_vectors
from harexport.model.layer_config import Conv1dConfig, DropoutConfig, GruConfig, LayerConfig, LstmConfig

Channel = Literal[
    "body_acc_x", "body_acc_y", "body_acc_z",
    "body_gyro_x", "body_gyro_y", "body_gyro_z",
    "total_acc_x", "total_acc_y", "total_acc_z",
]  # fmt: skip
Name = Annotated[str, Meta(pattern="^[a-z0-9_-]{1,60}$")]


class DataConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[data]: the input of the network."""

    channels: Annotated[
        tuple[Channel, ...], Meta(description="input channels in this order; empty: all channels of the data set")
    ] = ()
    mount: Annotated[
        Literal["none", "standing", "walking"],
        Meta(
            description="rotate each training recording so that its gravity in windows labeled STANDING, or while "
            "walking (found without labels), is along +x; other windows always by walking"
        ),
    ] = "none"


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[model]: the architecture of the network.

    An output layer with one unit per label follows the layers.
    """

    frame: Annotated[int, Meta(ge=1, description="samples per step: kernel size of the input convolution")] = 32
    hop: Annotated[int, Meta(ge=1, description="samples from one step to the next: stride of the convolution")] = 16
    input_units: Annotated[int, Meta(ge=1, le=4096, description="output channels of the input convolution")] = 48
    relu: Annotated[bool, Meta(description="apply ReLU after the input convolution")] = True
    cell: Annotated[
        Literal["lstm", "gru"],
        Meta(description="recurrent cell; gru: TensorFlow 1's GRUCell, reset gate before the matrix product"),
    ] = "lstm"
    candidate: Annotated[Literal["tanh", "relu"], Meta(description="activation of the candidate state (gru only)")] = (
        "tanh"
    )
    hidden: Annotated[int, Meta(ge=1, le=4096, description="hidden units per recurrent layer")] = 48
    layers: Annotated[
        Annotated[int, Meta(ge=1, le=8)] | tuple[LayerConfig, ...],
        Meta(
            description="number of recurrent layers, or the list `[[model.layers]]` of all layers, which replaces the "
            "other keys of the short form"
        ),
    ] = 2
    head_units: Annotated[
        int,
        Meta(ge=0, le=4096, description="units of an additional linear layer before the output layer; 0: none"),
    ] = 0
    coarse: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=255)], ...],
        Meta(description="coarse label of each label, predicted by a second head; empty: no second head"),
    ] = ()
    dropout: Annotated[
        float,
        Meta(ge=0, le=0.95, description="dropout after the input layer, between recurrent layers, before the head"),
    ] = 0.4
    init: Annotated[
        Literal["torch", "tf1", "normal"],
        Meta(
            description="initial values; tf1: N(0, 1) for linear layers, uniform unit scaling for recurrent layers; "
            "normal: N(0, 0.2) for the weights of linear layers and N(0.3, 0.2) for their biases"
        ),
    ] = "torch"
    forget_bias: Annotated[float, Meta(description="constant added to the forget gate (lstm only); not trained")] = 1.0
    normalize: Annotated[
        bool, Meta(description="standardize inputs with mean and standard deviation of the training windows")
    ] = True

    def layer_list(self) -> tuple[LayerConfig, ...]:
        """Return the layers before the output layer, those of the short form as well."""
        if not isinstance(self.layers, int):
            return self.layers
        activation: Literal["relu", "none"] = "relu" if self.relu else "none"
        layers: list[LayerConfig] = [Conv1dConfig(self.input_units, self.frame, self.hop, activation=activation)]
        for k in range(self.layers):
            is_last = k == self.layers - 1
            cell = (
                GruConfig(self.hidden, last=is_last, reset_after=False, candidate=self.candidate)
                if self.cell == "gru"
                else LstmConfig(self.hidden, last=is_last, forget_bias=self.forget_bias)
            )
            layers += [DropoutConfig(self.dropout), cell]
        return *layers, DropoutConfig(self.dropout)


# The largest numbers. Those of the optimizer are float32 and end a training whose loss overflows, with a message; other
# numbers beyond 10^9 overflow elsewhere.
_LARGEST, _LARGEST_OF_OPTIMIZER = 9, 38  # powers of 10
# keys of ModelConfig that [[model.layers]] replaces
_SHORT_FORM = ("frame", "hop", "input_units", "relu", "cell", "candidate", "hidden", "dropout", "forget_bias")


class AugmentConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[augment]: random changes of training windows. All zero: no augmentation."""

    shift: Annotated[int, Meta(ge=0, description="maximum random shift within the segment, in samples")] = 0
    speed: Annotated[float, Meta(ge=0, le=0.5, description="maximum relative change of playback speed")] = 0.0
    rotation_deg: Annotated[
        float, Meta(ge=0, description="standard deviation of the angle of a rotation about a random axis, in degrees")
    ] = 0.0
    heading_deg: Annotated[
        float,
        Meta(ge=0, le=180, description="maximum angle of a random rotation about the x axis, in degrees; 180: any"),
    ] = 0.0
    gravity_swap: Annotated[
        float,
        Meta(ge=0, le=1, description="share of windows rotated to the gravity of another window of the same label"),
    ] = 0.0
    noise: Annotated[
        float, Meta(ge=0, description="white noise, relative to the standard deviation of each channel")
    ] = 0.0
    gain: Annotated[float, Meta(ge=0, description="standard deviation of a random gain per axis")] = 0.0


class OptimizerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[optimizer]: loss and update rule."""

    name: Annotated[
        Literal["adam", "adamw", "rmsprop"],
        Meta(description="update rule; rmsprop: TensorFlow 1's, decay 0.9, epsilon 1e-10 inside the square root"),
    ] = "adamw"
    learning_rate: Annotated[float, Meta(ge=1e-9, le=1000, description="peak learning rate")] = 0.005
    weight_decay: Annotated[float, Meta(ge=0, description="decoupled weight decay (adamw only)")] = 0.01
    l2: Annotated[
        float, Meta(ge=0, description="factor of half the sum of squares of all parameters, added to the loss")
    ] = 0.0
    l2_biases: Annotated[bool, Meta(description="whether this sum includes the biases")] = True
    label_smoothing: Annotated[float, Meta(ge=0, le=0.9, description="label smoothing of the cross-entropy")] = 0.0
    clip_norm: Annotated[float, Meta(ge=0, description="maximum gradient norm; 0: no limit")] = 0.0
    average: Annotated[
        float,
        Meta(ge=0, le=0.99999, description="decay of the exponential moving average of the weights; 0: no average"),
    ] = 0.0


class ScheduleConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[schedule]: number and order of the training steps."""

    coarse_epochs: Annotated[
        int, Meta(ge=0, le=10**6, description="epochs of stage 1, which trains the coarse head only")
    ] = 0
    epochs: Annotated[
        int,
        Meta(ge=1, le=10**6, description="epochs; with a coarse head, a step on its loss, then one on the main loss"),
    ] = 300
    batch: Annotated[int, Meta(ge=1, le=10**5, description="batch size in windows")] = 128
    order: Annotated[
        Literal["shuffled", "file"], Meta(description="shuffled every epoch, or in file order, wrapping around")
    ] = "shuffled"
    rate: Annotated[Literal["one-cycle", "constant"], Meta(description="learning rate schedule")] = "one-cycle"
    report_windows: Annotated[int, Meta(ge=0, description="windows between two log lines; 0: one epoch")] = 0


class ValidationConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[validation]: training subjects held out in the first of two passes. The second pass trains on all."""

    subjects: Annotated[tuple[int, ...], Meta(description="held-out training subjects; empty: no first pass")] = ()


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A complete recipe. `name` is the stem of the names of all files written for it."""

    name: Name
    description: str = ""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that `parse` reads."""
        plain: dict[str, Any] = to_builtins(self)
        plain["data"]["channels"] = list(self.data.channels)
        plain["model"]["coarse"] = list(self.model.coarse)
        plain["validation"]["subjects"] = list(self.validation.subjects)
        if not isinstance(self.model.layers, int):
            plain["model"] = {key: value for key, value in plain["model"].items() if key not in _SHORT_FORM}
        if self.optimizer.l2_biases:  # checkpoints of recipes without this key keep their bytes
            del plain["optimizer"]["l2_biases"]
        return plain


# keys of recipes before version 0.2 -> keys of today
_RENAMED = {"optimiser": "optimizer", "model.normalise": "model.normalize"}


def from_legacy(table: dict[str, Any]) -> dict[str, Any]:
    """Rename the keys of a recipe in a checkpoint of version 0.1."""
    new = {_RENAMED.get(key, key): value for key, value in table.items()}
    if isinstance(new.get("model"), dict):
        model = {_RENAMED.get(f"model.{key}", f"model.{key}")[6:]: value for key, value in new["model"].items()}
        new["model"] = model | ({"init": "tf1"} if model.get("init") == "seed" else {})
    return new


def list_shipped() -> list[str]:
    """Return the names of the recipes that are part of the package."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def load(name_or_path: str) -> Recipe:
    """Load a shipped recipe by name or any recipe by the path of its .toml file.

    Raises:
        InputError: There is no such recipe, or it is not valid.
    """
    if name_or_path in list_shipped():
        return parse(tomllib.loads((_folder() / f"{name_or_path}.toml").read_text("utf-8")), name_or_path)
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise InputError(
            f"no recipe named {name_or_path!r}; valid: {', '.join(list_shipped())}, or the path of a .toml file."
            + _suggestion(name_or_path, list_shipped())
        )
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"recipe {path} is not a regular file; give a .toml file")
        return parse(tomllib.loads(path.read_text("utf-8-sig")), str(path))
    except FileNotFoundError:
        raise InputError(f"recipe not found: {path}; shipped recipes are {', '.join(list_shipped())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read recipe {path}: {error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers and nesting beyond Python's limits
        raise InputError(f"recipe {path} is not TOML: {error}") from error


def parse(table: Any, source: str) -> Recipe:
    """Validate a recipe.

    Args:
        table: Its TOML table, or what `Recipe.to_dict` returned.
        source: Name of the file, for error messages and as default of `name`.

    Raises:
        InputError: A key is unknown, or a value has the wrong type or is out of range.
    """
    if isinstance(table, dict):
        table = {"name": Path(source).stem, **table}
    try:
        recipe = convert(table, Recipe)
    except ValidationError as error:
        raise InputError(f"recipe {source}: {_explain(str(error), table)}") from None
    if not isinstance(recipe.model.layers, int) and (unused := [key for key in _SHORT_FORM if key in table["model"]]):
        raise InputError(
            f"recipe {source}: model.{unused[0]} has no effect with [[model.layers]]; remove it, and set it in a layer"
        )
    for path, value in _numbers(recipe.to_dict()):
        power = _LARGEST_OF_OPTIMIZER if path.startswith("optimizer.") else _LARGEST
        if not abs(value) <= 10**power:  # NaN compares as false
            raise InputError(
                f"recipe {source}: {path} must be a number from -10^{power} to 10^{power}, got {value!r:.60}"
            )
    _check_consistency(recipe, source)
    return recipe


def _explain(message: str, table: Any) -> str:
    """Turn msgspec's message into one that names key, value and valid options."""
    text, _, path = message.partition(" - at `$")
    key = path.removeprefix(".").removesuffix("`")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        full = f"{key}.{unknown[1]}" if key else unknown[1]
        if full in _RENAMED:
            return f"unknown key {full}; it is now called {_RENAMED[full]}"
        valid = _struct_at(table, key).__struct_fields__
        prefix = f"{key}." if key else ""
        return f"unknown key {full}; valid: {', '.join(valid)}." + _suggestion(unknown[1], valid, prefix)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text, re.DOTALL):
        return f"{key} needs the key {missing[1]}"
    value = _value_at(table, key)
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
    if key == "name":
        return f"name {shown} must be 1 to 60 lower-case letters, digits, - and _, because it is part of file names"
    if key == "model.init" and value == "seed":
        return "model.init 'seed' is now called 'tf1'"
    if text.startswith("Invalid enum value") or key.endswith(".kind"):
        section, _, leaf = key.rpartition(".")
        leaf, is_item, _ = leaf.partition("[")
        if leaf == "kind":
            choices = tuple(_LAYER_KINDS)
        else:
            hint = typing.get_type_hints(_struct_at(table, section))[leaf]
            choices = typing.get_args(typing.get_args(hint)[0] if is_item else hint)
        return f"{key} must be one of {', '.join(choices)}, got {shown}"
    expected = text.partition(",")[0].replace("`", "").removeprefix("Expected ")
    names = {
        "array": "a list", "bool": "true or false", "float": "a number", "int": "a whole number",
        "int | array": "a whole number or a list",
        "object": "a table", "str": "text", "Number out of range": "a number within the range of float64",
    }  # fmt: skip
    kind, limit, bound = expected.partition(" >= ") if ">=" in expected else expected.partition(" <= ")
    words = {"": "", " >= ": " of at least ", " <= ": " of at most "}[limit]
    what = f"{names.get(kind, kind)}{words}{f'{float(bound):g}' if bound else ''}"
    return f"{key or 'the recipe'} must be {what}, got {shown}"


_LAYER_KINDS: dict[str, type[Struct]] = {
    str(layer.__struct_config__.tag): layer for layer in typing.get_args(LayerConfig)
}


def _value_at(table: Any, key: str) -> Any:
    """Return the value at a path like model.layers[2].units."""
    for part in re.findall(r"[^.\[\]]+", key):
        table = table[int(part)] if isinstance(table, list | tuple) else table[part]
    return table


def _struct_at(table: Any, key: str) -> type[Struct]:
    """Return the type of the table at a path."""
    if not key:
        return Recipe
    if "[" in key:
        return _LAYER_KINDS[_value_at(table, key)["kind"]]
    struct: type[Struct] = typing.get_type_hints(Recipe)[key]
    return struct


def _suggestion(name: str, valid: typing.Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return f" Did you mean {prefix}{close[0]}?" if close else ""


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in a table and the tables in it, with their paths."""
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            yield from _numbers(item, f"{path}[{k}]")


def _check_consistency(recipe: Recipe, source: str) -> None:
    """Raise InputError for keys that contradict each other or have no effect."""
    model, channels = recipe.model, recipe.data.channels
    problem = ""
    rotated = [key for key in ("rotation_deg", "heading_deg", "gravity_swap") if getattr(recipe.augment, key)]
    if model.hop > model.frame:
        problem = f"model.hop {model.hop} is larger than model.frame {model.frame}; samples in between would be skipped"
    elif model.cell == "lstm" and model.candidate != "tanh":
        problem = f"model.candidate {model.candidate} applies to the GRU only; set model.cell to gru"
    elif model.cell == "gru" and model.forget_bias != 1.0:
        problem = f"model.forget_bias {model.forget_bias:g} applies to the LSTM only; remove it, or set cell to lstm"
    elif len(set(model.coarse)) == 1:
        problem = f"model.coarse assigns the coarse label {model.coarse[0]} to every label; it needs at least two"
    elif recipe.schedule.coarse_epochs and not model.coarse:
        problem = (
            f"schedule.coarse_epochs {recipe.schedule.coarse_epochs} trains a coarse head, but there is none; "
            "list a coarse label for each label in model.coarse"
        )
    elif len(set(channels)) < len(channels):
        problem = f"data.channels contains a channel twice: {', '.join(channels)}"
    elif rotated and not are_vectors(channels):
        problem = (
            f"augment.{rotated[0]} rotates whole vectors; list x, y, z of each sensor in data.channels, "
            f"got {', '.join(channels)}"
        )
    if problem:
        raise InputError(f"recipe {source}: {problem}")


def _folder() -> Any:
    return resources.files("harexport.model") / "recipes"
