"""Layers as named arrays and plain JSON values, and back, for checkpoints."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from harexport.errors import InputError
from harexport.model import layers as kinds
from harexport.model.layers import Array

_TYPES = {"int": int, "float": float, "bool": bool, "str": str}
_MAX_DEPTH = 16  # of branches in branches


class MissingArrayError(Exception):
    """An array is missing; the message is its name."""


def collect(layer: Any, name: str) -> dict[str, Array]:
    """Return the arrays of a layer, including those of its branches, as "<name>.<field>"."""
    named: dict[str, Array] = {}
    for key, value in _fields(layer).items():
        if isinstance(value, np.ndarray):
            named[f"{name}.{key}" if name else key] = value
        elif key == "layer":
            named |= collect(value, name)
        elif key == "branches":
            for k, branch in enumerate(value):
                for j, part in enumerate(branch):
                    named |= collect(part, f"{name}.{k}.{j}")
    return named


def describe(layer: Any) -> dict[str, Any]:
    """Return what the arrays of a layer do not determine as plain JSON values."""
    plain: dict[str, Any] = {"layer_type": type(layer).__name__}
    for key, value in _fields(layer).items():
        if key == "layer":
            plain[key] = describe(value)
        elif key == "branches":
            plain[key] = [[describe(part) for part in branch] for branch in value]
        elif not isinstance(value, np.ndarray):
            plain[key] = list(value) if isinstance(value, tuple) else value
    return plain


def build(description: Any, arrays: dict[str, Array], name: str, depth: int = 0) -> Any:
    """Build a layer from its description.

    Args:
        description: Result of `describe`; missing fields have their default.
        arrays: Arrays by name; those of the layer are removed.
        name: First part of their names.
        depth: Number of layers around it.

    Raises:
        MissingArrayError: An array is missing.
        InputError: The kind of the layer is unknown, or it contains itself.
        KeyError, TypeError, ValueError: A field is missing or has a wrong type.
    """
    kind: Any = getattr(kinds, str(description["layer_type"]), None)
    expected = getattr(kind, "__dataclass_fields__", None)
    if expected is None or depth > _MAX_DEPTH:
        raise InputError(f"{name}: unknown kind of layer {description['layer_type']!r}; update harexport")
    values: dict[str, Any] = {}
    for field in expected.values():
        if field.type == "Array":
            full = f"{name}.{field.name}" if name else field.name
            if full not in arrays:
                raise MissingArrayError(full)
            values[field.name] = arrays.pop(full)
        elif field.name not in description:
            continue
        elif field.name == "layer":
            values["layer"] = build(description["layer"], arrays, name, depth + 1)
        elif field.name == "branches":
            values["branches"] = tuple(
                tuple(build(part, arrays, f"{name}.{k}.{j}", depth + 1) for j, part in enumerate(branch))
                for k, branch in enumerate(description["branches"])
            )
        else:
            values[field.name] = _convert(description[field.name], str(field.type))
    return kind(**values)


def _convert(value: Any, type_name: str) -> Any:
    if type_name == "tuple[int, int]":
        first, second = value
        return _convert(first, "int"), _convert(second, "int")
    choices = re.findall(r"['\"](\w+)['\"]", type_name)
    expected = _TYPES.get(type_name, str)
    if type(value) is not expected or (type_name.startswith("Literal") and value not in choices):
        raise ValueError(f"{value!r} instead of {type_name}")
    return value


def _fields(layer: Any) -> dict[str, Any]:
    return {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
