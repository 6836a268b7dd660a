"""Run in a process of its own by `probe.survives`: loads a model and asks it a few windows.

    python -P -m harexport.runtimes.sandbox_worker SUFFIX [PATH]

Without PATH the model comes on standard input. Prints {"stage": ...} before what may end the process, and at the end
{"verdict": ...} with the fields of a Verdict, or with "error" alone.
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

from harexport.formats.model_file import readable
from harexport.runtimes.sandbox import FELT

_MEMORY = 8 << 30  # bytes of address space; a flipped bit may ask for terabytes
_TRIED = (16, 1, 128)  # for axes whose length only the caller knows; the first axis is a batch of 1
_LARGEST = 1 << 26  # numbers of an input that are still worth making up
_SAME = 1e-6  # relative: an answer within this is the same answer
_STILL = 0.05  # what a window is multiplied with to hold hardly any motion
_LATER = 3  # windows after one of NaN, of which the last is looked at


class _LiteRt:
    stateless = False

    def __init__(self, model: bytes | str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        from harexport.formats.tflite_builder import kept

        data = Path(model).read_bytes() if isinstance(model, str) else model  # never mapped: FACTS, trap 6
        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()
        self._variables = kept(data)
        self._scales = {d["index"]: d["quantization"][0] for d in self._interpreter.get_tensor_details()}
        self._fresh = self._state()
        self._details = self._interpreter.get_input_details()
        self._answers = self._interpreter.get_output_details()
        self.inputs = [(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"])) for d in self._details]

    def run(self, values: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for detail, value in zip(self._details, values, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return {answer["name"]: self._answer(answer) for answer in self._answers}

    def left(self) -> float | None:
        """How far the variable tensors are from where they began, at most."""
        moved = [
            float(np.abs(now - then).max(initial=0.0)) for now, then in zip(self._state(), self._fresh, strict=True)
        ]
        return max(moved, default=None)

    def _state(self) -> list[NDArray[np.float64]]:
        """The variable tensors' numbers; of integers, what they mean."""
        scales = {k: self._scales[k] or 1.0 for k in self._variables}
        return [self._interpreter.get_tensor(k).astype(np.float64) * scale for k, scale in scales.items()]

    def _answer(self, detail: dict[str, Any]) -> NDArray[Any]:
        integers = self._interpreter.get_tensor(detail["index"])
        scale, zero = detail["quantization"]
        answer: NDArray[Any] = (integers.astype(np.float32) - zero) * np.float32(scale) if scale else integers.copy()
        return answer


class _OnnxRuntime:
    stateless = True

    def __init__(self, model: bytes | str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]
        self._answers = [value.name for value in self._session.get_outputs()]
        self.inputs = [
            (tuple(n if isinstance(n, int) else -1 for n in value.shape), _numpy(value.type))
            for value in self._session.get_inputs()
        ]

    def run(self, values: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        answers = self._session.run(self._answers, dict(zip(self._names, values, strict=True)))
        return dict(zip(self._answers, answers, strict=True))

    def left(self) -> None:
        """Nothing lives on between two runs of an ONNX graph."""


def _numpy(kind: str) -> np.dtype[Any]:
    """The dtype of ONNX Runtime's "tensor(float)". Raises TypeError where NumPy has none."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _made_up(inputs: list[tuple[tuple[int, ...], np.dtype[Any]]], unknown: int, seed: int) -> list[NDArray[Any]]:
    """Random numbers for every input: N(0, 1), the second window three times as wide; small whole numbers."""
    random = np.random.default_rng(seed)
    made = []
    for shape, dtype in inputs:
        sizes = [(1 if k == 0 else unknown) if size < 0 else size for k, size in enumerate(shape)]
        if np.prod(sizes, dtype=object) > _LARGEST:
            raise ValueError(f"an input of shape {sizes} is too large to be tried")
        if dtype.kind == "f":
            made.append((random.normal(size=sizes) * (1 + 2 * seed)).astype(dtype))
        elif dtype.itemsize == 1 and dtype.kind in "iu":  # quantised
            bounds = np.iinfo(dtype)
            made.append(random.integers(bounds.min, bounds.max, sizes, endpoint=True).astype(dtype))
        elif dtype.kind in "iub":  # indices and masks: 0 or 1 is in range of most
            made.append(random.integers(0, 2, sizes).astype(dtype))
        else:
            raise TypeError(f"an input of dtype {dtype} cannot be made up")
    return made


def _distance(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> float:
    """The largest difference of a number; infinite where numbers turned into NaN. Rounding counts as none."""
    largest = 0.0
    for name, answer in one.items():
        a, b = (np.asarray(values, dtype=np.float64) for values in (answer, other[name]))
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        difference = float(np.abs(a - b)[np.isfinite(a)].max(initial=0.0))
        if difference > _SAME * max(1.0, _largest(one)):
            largest = max(largest, difference)
    return largest


def _largest(answers: dict[str, NDArray[Any]]) -> float:
    finite = (np.abs(values[np.isfinite(values)]).max(initial=0) for values in answers.values())
    return float(max(finite, default=0.0))


def _first_answer(model: Any) -> tuple[list[NDArray[Any]], list[NDArray[Any]], dict[str, NDArray[Any]]]:
    """Two windows and the answer to the first, with lengths for the open axes that the model takes."""
    tried = _TRIED if any(size < 0 for shape, _ in model.inputs for size in shape[1:]) else _TRIED[:1]
    for unknown in tried:
        a, b = (_made_up(model.inputs, unknown, seed) for seed in (0, 1))
        try:
            return a, b, model.run(a)
        except Exception:
            if unknown == tried[-1]:
                raise
    raise AssertionError("nothing was tried")


def _judge(loaded: Any, again: Callable[[], Any]) -> dict[str, Any]:
    """The fields of a Verdict for a model that was loaded; `again` loads it once more."""
    a, b, first = _first_answer(loaded)
    loaded.run(b)
    left = loaded.left()
    change = _distance(first, loaded.run(a))
    # a window of almost nothing forgets least
    still = [value * np.asarray(_STILL, value.dtype) if value.dtype.kind == "f" else value for value in a]
    loaded.run(still)
    alone = loaded.run(still)
    loaded.run(b)
    change = max(change, _distance(alone, loaded.run(still)))
    stuck = None
    if loaded.inputs and all(dtype.kind == "f" for _, dtype in loaded.inputs):
        before = [loaded.run(a) for _ in range(_LATER)][-1]
        loaded.run([np.full_like(value, np.nan) for value in a])
        after = [loaded.run(a) for _ in range(_LATER)][-1]
        stuck = _distance(before, after) > FELT * max(1.0, _largest(before))
    # ONNX has no state, so what changes there is thrown; elsewhere a second load tells memory from dice
    random = change > 0 and (loaded.stateless or _distance(first, again().run(a)) > 0)
    return {
        "change": change if np.isfinite(change) else float(np.finfo(np.float32).max),
        "left": left if left is None or np.isfinite(left) else float(np.finfo(np.float32).max),
        "nan_sticks": stuck,
        "random": random,
        "finite": all(bool(np.isfinite(answer).all()) for answer in first.values() if answer.dtype.kind == "f"),
        "probabilities": [name for name, answer in first.items() if _sums_to_one(answer)],
    }


def _sums_to_one(answer: NDArray[Any]) -> bool:
    if answer.dtype.kind != "f" or answer.ndim < 2 or answer.shape[-1] < 2:
        return False
    return bool((answer >= 0).all() and np.allclose(answer.sum(axis=-1), 1.0, atol=1e-3))


def _tell(fact: dict[str, Any]) -> None:
    print(json.dumps(fact), flush=True)


def _main(suffix: str, path: str | None) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    model = path or sys.stdin.buffer.read()
    runtime = _LiteRt if suffix == ".tflite" else _OnnxRuntime
    failing = "cannot load it"
    try:
        _tell({"stage": "load"})
        loaded = runtime(model)
        failing = "loads it but cannot run it"
        _tell({"stage": "run"})
        verdict = _judge(loaded, lambda: runtime(model))
    except Exception as error:  # the runtimes' kinds of error share no base class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        verdict = {"error": f"{failing}: {readable(lines[-1])[:300]}"}
    _tell({"verdict": verdict})


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
