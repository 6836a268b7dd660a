"""Anybody's model file, ready to be asked: our own runners want our names, and one thread.

Asked as a careful caller asks: variables reset before every window where there are any (FACTS, trap 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import Array
from harexport.runtimes import Floats, in_batches

RUNTIMES = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
_ERRORS_ONLY = 4  # onnxruntime's log severity: what it warns of is not this command's to say
_INTEGERS = (np.int8, np.uint8, np.int16)


@dataclass(frozen=True)
class File:
    """What must be known to ask a file: its format ("tflite" or "onnx"), which of its outputs holds the answer, and
    where it lies if its weights lie in files beside it (ONNX)."""

    name: str
    format: str
    output: int
    path: Path | None = None


class Asked:
    """A model in its runtime. `batch`: the windows that it takes at once, None for any number.

    `one` hands it a batch [batch, window, channels] float32 and answers [batch, labels] float32; it checks nothing.
    Raises InputError where the runtime refuses the file.
    """

    def __init__(self, model: bytes, file: File, threads: int = 1) -> None:
        self.runtime = RUNTIMES[file.format]
        self._name = file.name
        try:
            load = _onnx if file.format == "onnx" else _tflite
            self.one, self.batch = load(model, file, threads)
        except InputError:
            raise
        except Exception as error:  # the runtimes' kinds of error share no base class
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InputError(f"{file.name}: {self.runtime} cannot load it ({reason}); export it again") from error

    def logits(self, windows: Array, labels: int) -> Floats:
        """windows [n, window, channels] -> answers float32 [n, labels], by batches. Raises InputError."""
        return in_batches(self._flat, windows, labels, self.batch, self._name)

    def _flat(self, window: Floats) -> Floats:
        answer: Floats = self.one(window).reshape(len(window), -1)
        return answer


_Ask = Callable[[Floats], Floats]


def _tflite(model: bytes, file: File, threads: int) -> tuple[_Ask, int | None]:
    from ai_edge_litert.interpreter import Interpreter

    from harexport.formats.tflite_builder import keeps_state
    from harexport.runtimes.litert import _without_info_lines

    with _without_info_lines():
        # bytes, never a path: a truncated file would kill the process (FACTS, trap 6)
        interpreter = Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    (reads,) = interpreter.get_input_details()
    answers = interpreter.get_output_details()[file.output]
    index, output = int(reads["index"]), int(answers["index"])
    batch = None if list(reads["shape_signature"])[:1] == [-1] else int(reads["shape"][0])
    held = int(reads["shape"][0])

    def plain(window: Floats) -> Floats:
        interpreter.set_tensor(index, window)
        interpreter.invoke()
        answer: Floats = interpreter.get_tensor(output)
        return answer

    ask: _Ask = plain
    if reads["dtype"] in _INTEGERS or answers["dtype"] in _INTEGERS:
        ask = _with_integers(plain, reads, answers)
    if keeps_state(model):
        ask = _after(interpreter.reset_all_variables, ask)
    if batch is None:
        ask = _resizing(interpreter, index, held, ask)
    return ask, batch


def _with_integers(ask: _Ask, reads: dict[str, Any], answers: dict[str, Any]) -> _Ask:
    """Around tensors that hold value = scale * (integer - zero)."""
    scale, zero = reads["quantization"]
    answer_scale, answer_zero = answers["quantization"]

    def rounded(window: Floats) -> NDArray[Any]:
        bounds = np.iinfo(reads["dtype"])
        integers: NDArray[Any] = np.clip(np.rint(window / scale) + zero, bounds.min, bounds.max).astype(reads["dtype"])
        return integers

    def asked(window: Floats) -> Floats:
        answer = ask(rounded(window) if reads["dtype"] in _INTEGERS else window)
        if answers["dtype"] in _INTEGERS:
            answer = ((answer.astype(np.float32) - answer_zero) * answer_scale).astype(np.float32)
        return answer

    return asked


def _after(reset: Callable[[], object], ask: _Ask) -> _Ask:
    def asked(window: Floats) -> Floats:
        reset()
        return ask(window)

    return asked


def _resizing(interpreter: Any, index: int, held: int, ask: _Ask) -> _Ask:
    def asked(window: Floats) -> Floats:
        nonlocal held
        if len(window) != held:
            interpreter.resize_tensor_input(index, window.shape)
            interpreter.allocate_tensors()
            held = len(window)
        return ask(window)

    return asked


def _onnx(model: bytes, file: File, threads: int) -> tuple[_Ask, int | None]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    # ONNX Runtime finds weights beside a file by the file's path only
    session = onnxruntime.InferenceSession(str(file.path) if file.path else model, options, ["CPUExecutionProvider"])
    (reads,) = session.get_inputs()
    name, answers = reads.name, [session.get_outputs()[file.output].name]

    def ask(window: Floats) -> Floats:
        answer: Floats = session.run(answers, {name: window})[0]
        return answer

    return ask, reads.shape[0] if isinstance(reads.shape[0], int) else None


def arena_bytes(model: bytes) -> int:
    """Memory under a .tflite model's tensors that are no constants, with TensorFlow Lite's built-in kernels, as the
    tensors' addresses show.

    Tensors that are never needed at the same time share memory, so it is less than their sum. What kernels allocate
    for themselves is not in it; XNNPACK, which plans memory of its own, is left out.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    file = np.frombuffer(model, np.uint8).__array_interface__["data"][0]  # constants are used where they lie in it
    spans = []
    for detail in interpreter.get_tensor_details():
        try:
            view = interpreter.tensor(int(detail["index"]))()
        except ValueError:  # an operator that allocates its output when it runs
            continue
        start = view.__array_interface__["data"][0]
        if not file <= start < file + len(model):
            spans.append((start, start + view.nbytes))
    covered = end = 0
    for start, stop in sorted(spans):
        covered += max(0, stop - max(start, end))
        end = max(end, stop)
    return covered
