"""Run a model of unknown shape on a few windows, in the child process: state, randomness, NaN, probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.formats.model_file import ModelFile, to_printable
from harexport.runtimes.runner import describe_error
from harexport.runtimes.sandbox import STATE_TOLERANCE

# Tried for axes of open length, after the lengths that the weights' shapes suggest. The first axis is a batch of 1.
_OPEN_LENGTHS = (16, 1, 128, 32, 50, 64, 100, 200, 256)
_MAX_DERIVED_LENGTHS = 24
_SOFTMAX = ("SOFTMAX", "Softmax")
# Operators that keep the values of a tensor up to rounding, and how many of them are skipped.
_COPYING = (
    "QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "QuantizeLinear", "DequantizeLinear",
    "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast",
)  # fmt: skip
_MAX_COPIES = 8
_LARGEST_INPUT = 1 << 26  # values of an input
_RELATIVE_ROUNDING = 1e-6  # outputs that differ by less are equal
_STILLNESS = 0.05  # factor that turns a window into one of hardly any motion
_WINDOWS_AFTER_NAN = 3
_MAX_MESSAGE = 400  # characters

_Values = dict[str, NDArray[Any]]


class _RuntimeFailure(Exception):
    """The runtime cannot load or run the model."""


def _run(model: Any, inputs: list[NDArray[Any]]) -> _Values:
    """The outputs that are arrays of numbers; others (strings, sequences, maps) are left out."""
    try:
        outputs = model.run(inputs)
    except Exception as error:  # the runtimes' errors share no base class
        raise _RuntimeFailure(f"loads it but cannot run it: {describe_error(error)}") from error
    return {
        name: values
        for name, values in outputs.items()
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
    }


def _derive_lengths(file: ModelFile | None) -> list[int]:
    """Lengths of an open axis that a weight matrix fits, such as time in Flatten and Gemm."""
    if file is None or not file.inputs:
        return []
    known = 1
    for size in file.inputs[0].shape[1:]:
        known *= size if isinstance(size, int) and size > 0 else 1
    sizes = {size for weight in file.weights for size in weight.shape if isinstance(size, int)}
    return [size // known for size in sorted(sizes) if size > known and size % known == 0][:_MAX_DERIVED_LENGTHS]


def _random_inputs(inputs: list[tuple[tuple[int, ...], Any]], open_length: int, seed: int) -> list[NDArray[Any]]:
    """Random values for every input: N(0, 1), for seed 1 three times as wide; small integers."""
    random = np.random.default_rng(seed)
    values = []
    for shape, dtype in inputs:
        sizes = [(1 if k == 0 else open_length) if size < 0 else size for k, size in enumerate(shape)]
        if np.prod(sizes, dtype=object) > _LARGEST_INPUT:
            raise _RuntimeFailure(f"loads it, but an input of shape {sizes} is too large to be tried")
        if dtype.kind == "f":
            values.append((random.normal(size=sizes) * (1 + 2 * seed)).astype(dtype))
        elif dtype.itemsize == 1 and dtype.kind in "iu":  # quantized
            bounds = np.iinfo(dtype)
            values.append(random.integers(bounds.min, bounds.max, sizes, endpoint=True).astype(dtype))
        elif dtype.kind in "iub":  # 0 and 1 are valid for most indices and masks
            values.append(random.integers(0, 2, sizes).astype(dtype))
        else:
            raise TypeError(f"an input of dtype {dtype} cannot be generated")
    return values


def _first_run(model: Any, derived: list[int]) -> tuple[list[NDArray[Any]], list[NDArray[Any]], _Values]:
    """Two windows A and B and the outputs to A, with a length for open axes that the model accepts."""
    has_open_axes = any(size < 0 for shape, _ in model.inputs for size in shape[1:])
    lengths = list(dict.fromkeys([*derived, *_OPEN_LENGTHS])) if has_open_axes else [1]
    for length in lengths:
        a, b = (_random_inputs(model.inputs, length, seed) for seed in (0, 1))
        try:
            return a, b, _run(model, a)
        except _RuntimeFailure as error:
            if not has_open_axes:
                raise
            reason = describe_error(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)
    tried = ", ".join(map(str, lengths))
    raise _RuntimeFailure(f"loads it but cannot run it (lengths tried for its open axes: {tried}): {reason}")


def examine(load: Callable[[], Any], file: ModelFile | None) -> dict[str, Any]:
    """Load and run a model.

    Args:
        load: Loads the model: an object with the attributes of OnnxModel.
        file: The parsed file; None if it could not be read.

    Returns:
        Fields of a SandboxResult; "error" alone where the model cannot be run.
    """
    try:
        try:
            model = load()
        except Exception as error:  # the runtimes' errors share no base class
            raise _RuntimeFailure(f"cannot load it: {describe_error(error)}") from error
        return _examine(model, load, file)
    except _RuntimeFailure as error:
        return {"error": to_printable(str(error))[:_MAX_MESSAGE]}
    except Exception as error:  # the model runs, but it cannot be examined
        return {"unexamined": to_printable(describe_error(error))[:_MAX_MESSAGE]}


def _examine(model: Any, reload: Callable[[], Any], file: ModelFile | None) -> dict[str, Any]:
    """The fields of a SandboxResult for a loaded model; `reload` loads it a second time."""
    a, b, first = _first_run(model, _derive_lengths(file))
    softmax = _softmax_outputs(file)
    _run(model, b)
    residual = model.state_residual()
    change = _difference(first, _run(model, a))
    # A window of hardly any motion forgets least.
    still = [value * np.asarray(_STILLNESS, value.dtype) if value.dtype.kind == "f" else value for value in a]
    _run(model, still)
    alone = _run(model, still)
    _run(model, b)
    change = max(change, _difference(alone, _run(model, still)))
    nan_persists = None
    if model.inputs and all(dtype.kind == "f" for _, dtype in model.inputs):
        before = [_run(model, a) for _ in range(_WINDOWS_AFTER_NAN)][-1]
        _run(model, [np.full_like(value, np.nan) for value in a])
        after = [_run(model, a) for _ in range(_WINDOWS_AFTER_NAN)][-1]
        nan_persists = _difference(before, after) > STATE_TOLERANCE * max(1.0, _largest(before))
    # Without state every change is random; with state a second load distinguishes the two.
    is_random = change > 0 and (model.is_stateless or _difference(first, _run(reload(), a)) > 0)
    return {
        "change": _replace_infinity(change),
        "state_residual": None if residual is None else _replace_infinity(residual),
        "nan_persists": nan_persists,
        "is_random": is_random,
        "is_finite": all(bool(np.isfinite(values).all()) for values in first.values() if values.dtype.kind == "f"),
        "probabilities": [
            name
            for name, values in first.items()
            if _are_probabilities(values, name in softmax, model.output_scales.get(name, 0.0))
        ],
    }


def _difference(first: _Values, second: _Values) -> float:
    """The largest difference of a value, 0 within rounding; infinite where values became NaN."""
    largest = 0.0
    for name, values in first.items():
        a, b = (np.asarray(array, dtype=np.float64) for array in (values, second[name]))
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        difference = float(np.abs(a - b)[np.isfinite(a)].max(initial=0.0))
        if difference > _RELATIVE_ROUNDING * max(1.0, _largest(first)):
            largest = max(largest, difference)
    return largest


def _largest(outputs: _Values) -> float:
    finite = (np.abs(values[np.isfinite(values)]).max(initial=0) for values in outputs.values())
    return float(max(finite, default=0.0))


def _replace_infinity(value: float) -> float:
    """The value, or a huge number in place of infinity, which JSON lacks."""
    return value if np.isfinite(value) else float(np.finfo(np.float32).max)


def _are_probabilities(values: NDArray[Any], is_softmax: bool, scale: float) -> bool:
    """Whether an output holds probabilities: nonnegative values that sum to 1 within rounding, or a softmax."""
    if values.dtype.kind != "f" or values.ndim < 2 or values.shape[-1] < 2 or not (values >= 0).all():
        return False
    rounding = scale * values.shape[-1] / 2  # integer outputs, see SOFTMAX with a scale of 1/256
    return is_softmax or bool(np.allclose(values.sum(axis=-1), 1.0, atol=1e-3 + rounding))


def _softmax_outputs(file: ModelFile | None) -> set[str]:
    """Outputs that a softmax computes, with nothing behind it that changes the values."""
    if file is None:
        return set()
    found, graph = set(), file.main
    for index in graph.outputs:
        op = graph.producer(index)
        for _ in range(_MAX_COPIES):
            if op and op.kind in _COPYING and op.inputs:
                op = graph.producer(op.inputs[0])
        if op and op.kind in _SOFTMAX:
            found.add(graph.tensors[index].name)
    return found
