"""LiteRT (TensorFlow Lite) on one thread."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.formats import tflite_metadata
from harexport.formats.tflite_builder import keeps_state, kept, read_facts
from harexport.model.contract import LOGITS_NAME
from harexport.model.layers import Array
from harexport.model.network import check_windows
from harexport.runtimes import Floats, in_batches


class LiteRtRunner:
    """A .tflite model in memory. Raises InputError where it is damaged or not a model of windows."""

    def __init__(self, model: bytes, name: str) -> None:
        self.name = name
        self.runtime = "LiteRT"
        try:
            with _without_info_lines():
                # bytes, never a path: a truncated file would kill the process (FACTS, trap 6)
                self._interpreter = Interpreter(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{name}: LiteRT cannot load it ({error}); export it again") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        named = {output["name"]: output for output in outputs}
        shape = [int(size) for size in inputs[0]["shape"]] if len(inputs) == 1 else []
        if len(shape) != 3 or inputs[0]["dtype"] not in (np.float32, np.int8) or LOGITS_NAME not in named:
            raise InputError(
                f"{name}: reads {[(value['name'], value['shape'].tolist()) for value in inputs]} and answers "
                f"{sorted(named)}; expected one input [windows, window, channels], float32 or int8, and an output "
                f"{LOGITS_NAME}"
            )
        self.window_shape = (shape[1], shape[2])
        is_open = list(inputs[0]["shape_signature"])[:1] == [-1]
        self.batch = None if is_open else shape[0]
        self._windows = shape[0]
        self._keeps_state, self._kept = keeps_state(model), kept(model)
        facts = read_facts(model, name)
        self.metadata: dict[str, str] = facts["metadata"]  # the export's strings; empty for files that others made
        if facts["contract"] is not None and not tflite_metadata.is_whole(model):  # LiteRT would not notice
            raise InputError(f"{name} is cut off: the labels behind the model are missing; export it again")
        self._input, self._output = int(inputs[0]["index"]), int(named[LOGITS_NAME]["index"])
        self._labels = int(named[LOGITS_NAME]["shape"][-1])
        self._reads, self._answers = _Scale.of(inputs[0]), _Scale.of(named[LOGITS_NAME])

    def logits(self, windows: Array) -> Floats:
        """windows [n, window, channels] -> logits float32 [n, labels], by batches. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return in_batches(self.one, windows, self._labels, self.batch, self.name)

    def one(self, window: Floats) -> Floats:
        """One batch [batch, window, channels] float32 -> logits [batch, labels]; checks nothing.

        Resets where the graph has variables: the fused LSTM keeps its state between invokes (FACTS, trap 1),
        and other people's files have no cure for it inside.
        """
        if self._keeps_state:
            self._interpreter.reset_all_variables()
        return self.without_reset(window)

    def without_reset(self, window: Floats) -> Floats:
        """`one` as an embedder runs it who never heard of variables: the proof that a graph is stateless."""
        if len(window) != self._windows and self.batch is None:
            self._interpreter.resize_tensor_input(self._input, window.shape)
            self._interpreter.allocate_tensors()
            self._windows = len(window)
        self._interpreter.set_tensor(self._input, window if self._reads is None else self._reads.rounded(window))
        self._interpreter.invoke()
        answer = self._interpreter.get_tensor(self._output)
        floats: Floats = answer if self._answers is None else self._answers.widened(answer)
        return floats

    def outputs(self, window: Floats) -> dict[str, Floats]:
        """`without_reset` with every output, by name."""
        self.without_reset(window)
        answers = {}
        for detail in self._interpreter.get_output_details():
            scale, answer = _Scale.of(detail), self._interpreter.get_tensor(detail["index"])
            answers[detail["name"]] = answer if scale is None else scale.widened(answer)
        return answers

    def left(self) -> float:
        """The largest number that the last window left in the state, for the next to begin with."""
        return max((float(np.abs(self._interpreter.get_tensor(k)).max()) for k in self._kept), default=0.0)


@dataclass(frozen=True)
class _Scale:
    """How an int8 tensor holds real values: scale * (integer - zero)."""

    scale: float
    zero: int

    @staticmethod
    def of(tensor: dict[str, Any]) -> _Scale | None:
        """The scale of an interpreter's tensor; None where it holds floats."""
        return None if tensor["dtype"] is np.float32 else _Scale(*tensor["quantization"])

    def rounded(self, values: Floats) -> NDArray[np.int8]:
        whole = np.nan_to_num(np.rint(values / self.scale) + self.zero)  # NaN has no integer: the middle
        integers: NDArray[np.int8] = np.clip(whole, -128, 127).astype(np.int8)
        return integers

    def widened(self, integers: NDArray[np.int8]) -> Floats:
        return ((integers.astype(np.float32) - self.zero) * self.scale).astype(np.float32)


@contextlib.contextmanager
def _without_info_lines() -> Iterator[None]:
    """Keep LiteRT's INFO lines off standard error: the Python package has no switch for them.

    They are written by C++ to file descriptor 2. Everything else written meanwhile is passed on.
    """
    try:
        original = os.dup(2)
    except OSError:  # no standard error at all (a windowed program): nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as caught:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            caught.seek(0)
            for line in caught.read().splitlines(keepends=True):
                if not line.startswith(b"INFO: "):
                    os.write(2, line)
