"""The child process of `sandbox.run_sandboxed`: loads a model and runs a few windows.

    python -P -m harexport.runtimes.sandbox_worker SUFFIX [PATH]

Without PATH the model is read from standard input. Prints {"stage": ...} before each step that may end the process, and
at the end {"result": ...} with the fields of a SandboxResult, or with "error" alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.formats.model_file import sanitize
from harexport.runtimes.sandbox import STATE_TOLERANCE

_MEMORY = 8 << 30  # bytes of address space: one wrong length in a file can request terabytes
_OPEN_LENGTHS = (16, 1, 128)  # tried for axes of open length; the first axis is a batch of 1
_LARGEST_INPUT = 1 << 26  # values of an input
_RELATIVE_ROUNDING = 1e-6  # outputs that differ by less are equal
_STILLNESS = 0.05  # factor that turns a window into one of hardly any motion
_WINDOWS_AFTER_NAN = 3

_Values = dict[str, NDArray[Any]]


def _load(suffix: str, model: bytes | Path) -> Any:
    # Imported here: the resource limits must be in effect before a runtime is loaded.
    if suffix == ".tflite":
        from harexport.runtimes.litert import LiteRtModel

        return LiteRtModel(model if isinstance(model, bytes) else model.read_bytes())
    from harexport.runtimes.onnx import OnnxModel

    return OnnxModel(model)


def _random_inputs(inputs: list[tuple[tuple[int, ...], Any]], open_length: int, seed: int) -> list[NDArray[Any]]:
    """Random values for every input: N(0, 1), for seed 1 three times as wide; small integers."""
    random = np.random.default_rng(seed)
    values = []
    for shape, dtype in inputs:
        sizes = [(1 if k == 0 else open_length) if size < 0 else size for k, size in enumerate(shape)]
        if np.prod(sizes, dtype=object) > _LARGEST_INPUT:
            raise ValueError(f"an input of shape {sizes} is too large to be tried")
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


def _first_run(model: Any) -> tuple[list[NDArray[Any]], list[NDArray[Any]], _Values]:
    """Two windows A and B and the outputs to A, with a length for open axes that the model accepts."""
    has_open_axes = any(size < 0 for shape, _ in model.inputs for size in shape[1:])
    lengths = _OPEN_LENGTHS if has_open_axes else _OPEN_LENGTHS[:1]
    for length in lengths:
        a, b = (_random_inputs(model.inputs, length, seed) for seed in (0, 1))
        try:
            return a, b, model.run(a)
        except Exception:
            if length == lengths[-1]:
                raise
    raise AssertionError("unreachable")


def _examine(model: Any, reload: Callable[[], Any]) -> dict[str, Any]:
    """The fields of a SandboxResult for a loaded model; `reload` loads it a second time."""
    a, b, first = _first_run(model)
    model.run(b)
    residual = model.state_residual()
    change = _difference(first, model.run(a))
    # A window of hardly any motion forgets least.
    still = [value * np.asarray(_STILLNESS, value.dtype) if value.dtype.kind == "f" else value for value in a]
    model.run(still)
    alone = model.run(still)
    model.run(b)
    change = max(change, _difference(alone, model.run(still)))
    nan_persists = None
    if model.inputs and all(dtype.kind == "f" for _, dtype in model.inputs):
        before = [model.run(a) for _ in range(_WINDOWS_AFTER_NAN)][-1]
        model.run([np.full_like(value, np.nan) for value in a])
        after = [model.run(a) for _ in range(_WINDOWS_AFTER_NAN)][-1]
        nan_persists = _difference(before, after) > STATE_TOLERANCE * max(1.0, _largest(before))
    # Without state every change is random; with state a second load tells the two apart.
    is_random = change > 0 and (model.is_stateless or _difference(first, reload().run(a)) > 0)
    return {
        "change": _finite(change),
        "state_residual": None if residual is None else _finite(residual),
        "nan_persists": nan_persists,
        "is_random": is_random,
        "is_finite": all(bool(np.isfinite(values).all()) for values in first.values() if values.dtype.kind == "f"),
        "probabilities": [name for name, values in first.items() if _sums_to_one(values)],
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


def _finite(value: float) -> float:
    """The value, or a huge number in place of infinity, which JSON lacks."""
    return value if np.isfinite(value) else float(np.finfo(np.float32).max)


def _sums_to_one(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "f" or values.ndim < 2 or values.shape[-1] < 2:
        return False
    return bool((values >= 0).all() and np.allclose(values.sum(axis=-1), 1.0, atol=1e-3))


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _main(suffix: str, path: str | None) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not available on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    model = Path(path) if path else sys.stdin.buffer.read()
    failure = "cannot load it"
    try:
        _print({"stage": "load"})
        loaded = _load(suffix, model)
        failure = "loads it but cannot run it"
        _print({"stage": "run"})
        result = _examine(loaded, lambda: _load(suffix, model))
    except Exception as error:  # the runtimes' errors share no base class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        result = {"error": f"{failure}: {sanitize(lines[-1])[:300]}"}
    _print({"result": result})


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
