"""Values of an ONNX graph that depend on the input, and the nodes that only change their axes.

A value is a sequence of layers from the input, with a label for each axis: "b" batch, "t" time, "k" samples of a step,
"c" channels or features, "f" all samples of a step, "d" directions, "s" stacked values, "1" a unit axis. The batch has
the size 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harexport.model.layers import Branches, Conv1d, Flatten, Layer, Recurrent, Step, shape_after

Constant = NDArray[Any]


class UnsupportedError(Exception):
    """A node that cannot be imported; the message states why."""


@dataclass(frozen=True)
class Value:
    """A value that depends on the input.

    Attributes:
        window: Samples and channels of the input.
        layers: Layers from the input.
        axes: Label of each axis.
        directions: Size of the axis "d".
        frame: Samples per step and their distance, for a window that is cut into steps.
        order: Of a flattened sequence: for each feature of the ONNX value, its index in the output of the layers.
        padding: Zeros before and after the sequence, which the next convolution reads.
        is_reversed: Whether the time axis runs from the last step to the first.
        parts: Values stacked along the axis "s".
    """

    window: tuple[int, int]
    layers: tuple[Layer, ...]
    axes: tuple[str, ...]
    directions: int = 1
    frame: tuple[int, int] | None = None
    order: tuple[int, ...] | None = None
    padding: tuple[int, int] = (0, 0)
    is_reversed: bool = False
    parts: tuple[Value, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output of the layers."""
        return shape_after(self.layers, self.window)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels without unit axes."""
        return tuple(axis for axis in self.axes if axis != "1")

    @property
    def is_plain(self) -> bool:
        """Whether the features are those of the layers, in their order."""
        return self.directions == 1 and self.order is None and not self.parts

    def add_layer(self, layer: Layer, axes: tuple[str, ...] | None = None) -> Value:
        """Return the value after one more layer, by default with the same axes."""
        return Value(self.window, (*self.layers, layer), axes or self.axes, is_reversed=self.is_reversed)

    def sizes(self) -> list[int]:
        """Return the size of each axis."""
        shape = self.parts[0].shape if self.parts else self.shape
        sizes = {"b": 1, "1": 1, "d": self.directions, "c": shape[-1] // self.directions, "s": len(self.parts)}
        if len(shape) == 2:
            sizes["t"] = shape[0] + sum(self.padding)
        if self.frame:
            kernel_size, stride = self.frame
            sizes |= {"t": (shape[0] - kernel_size) // stride + 1, "k": kernel_size, "f": kernel_size * shape[1]}
        return [sizes[axis] for axis in self.axes]

    def join_samples(self) -> Value:
        """Return the value with the samples of each step as its channels."""
        if not self.frame:
            return self
        if "f" not in self.axes:
            raise UnsupportedError("the samples of a step are an axis of their own")
        (kernel_size, stride), channels = self.frame, self.shape[1]
        eye = np.eye(kernel_size * channels, dtype=np.float32).reshape(-1, kernel_size, channels)
        axes = tuple("c" if axis == "f" else axis for axis in self.axes)
        return self.add_layer(Conv1d(eye, np.zeros(len(eye), np.float32), stride), axes)


def join(kind: Literal["sum", "concat"], parts: tuple[Value, ...]) -> Value:
    """Return the sum ("sum") or concatenation ("concat") of values, as branches after their common layers."""
    prefix, first = 0, parts[0].layers
    while all(len(part.layers) > prefix and part.layers[prefix] is first[prefix] for part in parts):
        prefix += 1
    branches = Branches(kind, tuple(part.layers[prefix:] for part in parts))
    return dataclasses.replace(parts[0], layers=(*first[:prefix], branches))


def stack(values: list[Value], axis: int) -> Value:
    """Return the concatenation of values along the axis of directions or a unit axis."""
    parts: list[Value] = []
    for value in values:
        if value.parts:
            parts += value.parts
        else:
            parts += [select(value, axis, k, keep=False) for k in range(value.directions)]
    axes = list(parts[0].axes)
    axes.insert(axis, "s")
    return Value(parts[0].window, (), tuple(axes), parts=tuple(parts))


def select(value: Value, axis: int, index: int, keep: bool) -> Value:
    """Return one element of an axis, which becomes a unit axis or is removed."""
    label, size = value.axes[axis], value.sizes()[axis]
    if not -size <= index < size:
        raise UnsupportedError(f"the index {index} is outside of an axis of {size}")
    index %= size
    axes = (*value.axes[:axis], *(("1",) if keep else ()), *value.axes[axis + 1 :])
    if label == "s":
        part = value.parts[index]
        if [name for name in axes if name != "1"] != list(part.labels):
            raise UnsupportedError("it selects one of several values with different axes")
        return dataclasses.replace(part, axes=axes)
    if size == 1 and label != "t":
        return dataclasses.replace(value, axes=axes)
    if label == "t" and value.directions == 1 and not value.frame:
        last, is_first = value.layers[-1] if value.layers else None, index == (size - 1 if value.is_reversed else 0)
        if is_first and isinstance(last, Recurrent) and last.backward:  # its last state
            layers = (*value.layers[:-1], dataclasses.replace(last, sequence=False))
            return Value(value.window, layers, axes)
        index = size - 1 - index if value.is_reversed else index
        return dataclasses.replace(value.add_layer(Step(-1 if index == size - 1 else index), axes), is_reversed=False)
    if label == "d":
        branches = value.layers[-1]
        assert isinstance(branches, Branches)
        layers = (*value.layers[:-1], *branches.branches[index])
        return dataclasses.replace(value, layers=layers, axes=axes, directions=1)
    raise UnsupportedError(f"it selects a part of {_describe(label)}; supported are a step or a direction")


def take(value: Value, axis: int, indices: list[int]) -> Value:
    """Return some elements of an axis, in this order."""
    size = value.sizes()[axis]
    everything = list(range(size))
    if indices == everything:
        return value
    if len(indices) == 1:
        return select(value, axis, indices[0], keep=True)
    if value.axes[axis] == "s":
        return dataclasses.replace(value, parts=tuple(value.parts[k] for k in indices))
    if value.axes[axis] == "t" and indices == everything[::-1] and not value.frame and not any(value.padding):
        return dataclasses.replace(value, is_reversed=not value.is_reversed)
    raise UnsupportedError(
        f"it selects {len(indices)} of {size} elements of {_describe(value.axes[axis])}; supported are one or all"
    )


def cut(value: Value, axis: int, indices: NDArray[np.integer]) -> Value:
    """Return steps of consecutive samples; `indices` [steps, samples] are those of the time axis."""
    if value.axes[axis] != "t" or not value.is_plain or value.frame or value.is_reversed or any(value.padding):
        raise UnsupportedError(f"it selects a matrix of elements of {_describe(value.axes[axis])}")
    steps, kernel_size = indices.shape
    stride = int(indices[1, 0] - indices[0, 0]) if steps > 1 else kernel_size
    expected = np.arange(steps)[:, None] * stride + np.arange(kernel_size)
    count = (value.shape[0] - kernel_size) // stride + 1 if stride > 0 else 0
    if count != steps or not np.array_equal(indices, expected):
        raise UnsupportedError("its indices are not steps of consecutive samples")
    axes = (*value.axes[:axis], "t", "k", *value.axes[axis + 1 :])
    return dataclasses.replace(value, axes=axes, frame=(kernel_size, stride))


def transpose(value: Value, order: list[int]) -> Value:
    """Return the value with its axes in another order."""
    return dataclasses.replace(value, axes=tuple(value.axes[k] for k in order))


def squeeze(value: Value, axes: list[int] | None) -> Value:
    """Return the value without unit axes; None: without all of them."""
    sizes = value.sizes()
    removed = [k for k, size in enumerate(sizes) if size == 1] if axes is None else [k % len(sizes) for k in axes]
    if any(sizes[k] != 1 for k in removed):
        raise UnsupportedError("it removes an axis longer than 1")
    for k in sorted(removed, reverse=True):
        value = select(value, k, 0, keep=False)
    return value


def unsqueeze(value: Value, axes: list[int]) -> Value:
    """Return the value with more unit axes."""
    labels, size = list(value.axes), len(value.axes) + len(axes)
    for k in sorted(k % size for k in axes):
        labels.insert(k, "1")
    return dataclasses.replace(value, axes=tuple(labels))


def reshape(value: Value, target: list[int]) -> Value:
    """Return the value in another shape: adjacent axes may be merged, and the time axis cut into steps."""
    sizes = value.sizes()
    target = [sizes[k] if size == 0 and k < len(sizes) else size for k, size in enumerate(target)]
    if -1 in target:
        known = int(np.prod([size for size in target if size != -1]))
        target[target.index(-1)] = int(np.prod(sizes)) // max(known, 1)
    if int(np.prod(target)) != int(np.prod(sizes)):
        raise UnsupportedError(f"it reshapes {sizes} to {target}")
    labels, merged, value = _match_axes(value, target)
    axes = _place_batch(labels, value)
    if merged == ("s", "c"):
        joined = join("concat", value.parts)
        return dataclasses.replace(joined, axes=axes)
    if merged is None:
        return dataclasses.replace(value, axes=axes, directions=value.directions if "d" in axes else 1)
    if value.is_reversed or value.frame or any(value.padding):
        raise UnsupportedError("it flattens a sequence that is reversed, padded or cut into steps")
    steps, channels = value.shape
    per_direction = channels // value.directions
    flat = np.arange(steps * channels).reshape(steps, value.directions, per_direction)  # indices of the layers' output
    order = [("t", "d", "c").index(axis) for axis in merged]
    indices = flat.transpose(*order, *(k for k in range(3) if k not in order)).ravel()
    is_same = bool((indices == np.arange(len(indices))).all())
    layers = (*value.layers, Flatten())
    return Value(value.window, layers, axes, order=None if is_same else tuple(int(k) for k in indices))


def _match_axes(value: Value, target: list[int]) -> tuple[list[str], tuple[str, ...] | None, Value]:
    """Return the label of each target axis, the labels that were merged to features, and the value cut into steps."""
    rest = [(axis, size) for axis, size in zip(value.axes, value.sizes(), strict=True) if size > 1]
    axes: list[str] = []
    merged: tuple[str, ...] | None = None
    for size in target:
        if size == 1:
            axes.append("1")
            continue
        names: list[str] = []
        product = 1
        while product < size:
            axis, length = rest.pop(0)
            missing = size // product
            if length > missing and axis == "t" and value.is_plain and not value.frame and not length % missing:
                if value.is_reversed or any(value.padding):
                    raise UnsupportedError("it cuts a reversed or padded sequence into steps")
                rest.insert(0, ("k", length // missing))
                length, value = missing, dataclasses.replace(value, frame=(length // missing, length // missing))
            names.append(axis)
            product *= length
        if product != size:
            hint = ", as attention and GroupNorm do; neither is supported" if names[-1] == "c" else ""
            raise UnsupportedError(f"it splits {_describe(names[-1])}{hint}")
        if tuple(names) in (("t",), ("d",), ("k",), ("s",), ("f",)):
            axes += names
        elif names == ["k", "c"]:
            axes.append("f")
        else:
            axes.append("c")
            if set(names) not in ({"c"}, {"d", "c"}) or names == ["c", "d"]:
                merged = tuple(names)
    if merged and (len(set(merged)) < len(merged) or not (set(merged) <= {"t", "c", "d"} or merged == ("s", "c"))):
        raise UnsupportedError(f"it merges {' and '.join(_describe(name) for name in merged)}")
    return axes, merged, value


def _place_batch(axes: list[str], value: Value) -> tuple[str, ...]:
    """Choose the batch among unit axes: the first axis, else the place it had, else the first unit axis."""
    units = [k for k, axis in enumerate(axes) if axis == "1"]
    before = value.axes.index("b") if "b" in value.axes else -1
    if units:
        axes[0 if 0 in units else before if before in units else units[0]] = "b"
    return tuple(axes)


def _describe(label: str) -> str:
    names = {
        "b": "the batch", "t": "the time axis", "k": "the samples of a step", "f": "the samples of a step",
        "c": "the channels", "d": "the directions", "s": "stacked values", "1": "a unit axis",
    }  # fmt: skip
    return names[label]
