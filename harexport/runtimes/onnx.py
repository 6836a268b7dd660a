"""ONNX Runtime on one thread."""

from __future__ import annotations

import onnxruntime

from harexport.errors import InputError
from harexport.model.contract import LOGITS_NAME
from harexport.model.layers import Array
from harexport.model.network import check_windows
from harexport.runtimes import Floats, in_batches

_ERRORS_ONLY = 3  # onnxruntime's log severity


class OnnxRunner:
    """A .onnx model in memory. Raises InputError where it is damaged or not a model of windows."""

    def __init__(self, model: bytes, name: str) -> None:
        self.name = name
        self.runtime = "ONNX Runtime"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            inputs = self._session.get_inputs()
            outputs = {output.name: output.shape for output in self._session.get_outputs()}
        except Exception as error:  # ONNX Runtime's kinds of error share no base class
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise InputError(f"{name}: ONNX Runtime cannot load it ({reason}); export it again") from error
        shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        if len(shape) != 3 or not all(isinstance(size, int) for size in shape[1:]) or LOGITS_NAME not in outputs:
            raise InputError(
                f"{name}: reads {[(value.name, value.type, value.shape) for value in inputs]} and answers "
                f"{sorted(outputs)}; expected one float input [windows, window, channels] and an output {LOGITS_NAME}"
            )
        self.window_shape = (int(shape[1]), int(shape[2]))
        self.batch = shape[0] if isinstance(shape[0], int) else None
        self._input, self._labels = inputs[0].name, int(outputs[LOGITS_NAME][-1])

    @property
    def metadata(self) -> dict[str, str]:
        """The strings of the file's metadata_props."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def logits(self, windows: Array) -> Floats:
        """windows [n, window, channels] -> logits float32 [n, labels], by batches. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return in_batches(self.one, windows, self._labels, self.batch, self.name)

    def one(self, window: Floats) -> Floats:
        """One batch [batch, window, channels] float32 -> logits [batch, labels]; checks nothing."""
        answer: Floats = self._session.run([LOGITS_NAME], {self._input: window})[0]
        return answer

    def outputs(self, window: Floats) -> dict[str, Floats]:
        """`one` with every output, by name."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {self._input: window}), strict=True))
