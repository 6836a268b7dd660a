"""LiteRT (TensorFlow Lite) on one thread."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from harexport.contract import LOGITS_NAME
from harexport.errors import InputError
from harexport.exporting.flat import keeps_state, read_facts
from harexport.layers import Array
from harexport.network import check_windows
from harexport.runtimes import Floats, one_by_one


class LiteRtRunner:
    """A .tflite model in memory. Raises InputError where it is damaged or not a model of windows."""

    def __init__(self, model: bytes, name: str) -> None:
        self.name = name
        self.runtime = "LiteRT"
        self._model = model
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
        if len(shape) != 3 or shape[0] != 1 or inputs[0]["dtype"] is not np.float32 or LOGITS_NAME not in named:
            raise InputError(
                f"{name}: reads {[(value['name'], value['shape'].tolist()) for value in inputs]} and answers "
                f"{sorted(named)}; expected one float32 input [1, window, channels] and an output {LOGITS_NAME}"
            )
        self.window_shape = (shape[1], shape[2])
        self._keeps_state = keeps_state(model)
        self._input, self._output = int(inputs[0]["index"]), int(named[LOGITS_NAME]["index"])
        self._labels = int(named[LOGITS_NAME]["shape"][-1])

    @property
    def metadata(self) -> dict[str, str]:
        """The strings that the export wrote into the file; empty for files that others made."""
        strings: dict[str, str] = read_facts(self._model, self.name)["metadata"]
        return strings

    def logits(self, windows: Array) -> Floats:
        """windows [n, window, channels] -> logits float32 [n, labels], one by one. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return one_by_one(self.one, windows, self._labels, self.name)

    def one(self, window: Floats) -> Floats:
        """One window [1, window, channels] float32 -> logits [1, labels]; checks nothing.

        Resets where the graph has variables: the fused LSTM keeps its state between invokes (FACTS, trap 1),
        and other people's files have no cure for it inside.
        """
        if self._keeps_state:
            self._interpreter.reset_all_variables()
        return self.without_reset(window)

    def without_reset(self, window: Floats) -> Floats:
        """`one` as an embedder runs it who never heard of variables: the proof that a graph is stateless."""
        self._interpreter.set_tensor(self._input, window)
        self._interpreter.invoke()
        answer: Floats = self._interpreter.get_tensor(self._output)
        return answer


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
