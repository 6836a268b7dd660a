"""Imports ONNX models of recurrent and convolutional classifiers.

The imported network is compared with the original in ONNX Runtime.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import external_data_helper

from harexport.errors import InputError
from harexport.formats import identify_format, read_model_bytes
from harexport.importers.graph import Graph, read_graph
from harexport.model.contract import CONTRACT_KEY
from harexport.model.layers import Conv1d, Layer, Linear, Normalize, Recurrent, Step
from harexport.model.network import Network, softmax
from harexport.utils.console import info

_TOLERANCE = 1e-4  # of the logits, relative to the largest one (at least 1)
_RANDOM_WINDOWS = 8
Run = Callable[[NDArray[np.float32]], NDArray[np.floating]]
_TURNED = {("b", "c", "t"): "[batch, channels, time]", ("t", "b", "c"): "[time, batch, channels]"}


@dataclass(frozen=True)
class ImportedModel:
    """An imported network and the original.

    Attributes:
        network: The network.
        name: Name of the original in error messages.
        axes: Labels of the axes of its input, "b", "t" and "c".
        output: What its output is: "logits", "probabilities" or "log-probabilities".
        run: Runs the original on windows [n, time, channels], and returns one row of its output per window.
        notes: What differs between the original and exported files.
        contract: The contract in the file, as JSON values; None if it has none.
    """

    network: Network
    name: str
    axes: tuple[str, ...]
    output: str
    run: Run
    notes: tuple[str, ...]
    contract: dict[str, Any] | None

    def compare(self, windows: NDArray[np.float32], run: Run | None = None) -> None:
        """Compare the network with the original on windows [n, time, channels].

        Args:
            windows: The windows.
            run: Runs another form of the original. Default: `self.run`.

        Raises:
            InputError: Their outputs differ.
        """
        expected = self.network.logits(windows)
        if self.output != "logits":
            expected = softmax(expected)
        if self.output == "log-probabilities":
            expected = np.log(np.maximum(expected, np.finfo(np.float32).tiny))
        found = (run or self.run)(windows)
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
        if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise InputError(
                f"{self.name}: the imported network differs from the original by {difference:.2g}; please report it"
            )


def from_onnx(path: Path | str, num_channels: int | None = None) -> Network:
    """Import a .onnx file as a network.

    Args:
        path: The file.
        num_channels: Number of channels. Default: the order of the input's axes is found from the layers; if several
            fit, it is [batch, time, channels].

    Raises:
        InputError: The file cannot be read, has an unsupported node, or differs from the imported network.
    """
    imported = load_onnx(path, num_channels)
    for note in imported.notes:
        info(note)
    return imported.network


def load_onnx(path: Path | str, num_channels: int | None = None) -> ImportedModel:
    """Import a .onnx file with its notes; arguments and errors as for `from_onnx`."""
    path = Path(path)
    content = read_model_bytes(path)
    if identify_format(content, str(path)) != "onnx":
        raise InputError(f"{path} is a .tflite file; only .onnx files can be imported")
    try:
        model = onnx.load_from_string(content)
        for tensor in external_data_helper._get_all_tensors(model):
            if external_data_helper.uses_external_data(tensor):
                _check_external(tensor, path)
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except InputError:
        raise
    except Exception as error:  # protobuf's DecodeError, weights that do not fit their file
        raise InputError(f"{path} is damaged or not a .onnx file with its weights; export it again") from error
    return import_model(model, str(path), num_channels)


def _check_external(tensor: Any, path: Path) -> None:
    """Check that weights outside of the file are in a regular file beside it. Raises InputError."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    if Path(location).name != location or not (path.parent / location).is_file():
        raise InputError(f"{path} has weights in {location or 'another file'}, which is not a file in its folder")


def import_model(model: Any, where: str, num_channels: int | None = None) -> ImportedModel:
    """Import an onnx.ModelProto; arguments and errors as for `from_onnx`."""
    graph = read_graph(model, where, num_channels)
    network = _import_layers(graph)
    notes = []
    if graph.axes in _TURNED:
        notes.append(
            f"The input of the original is {_TURNED[graph.axes]}; exported files read [batch, time, channels]."
        )
    if len(model.graph.output) > 1:
        notes.append(f"Of the outputs of the original, {graph.output_name} was imported.")
    run = _run_in_onnxruntime(model, where, graph)
    contract = _stored_contract(model)
    imported = ImportedModel(network, where, graph.axes, graph.output, run, tuple(notes), contract)
    imported.compare(random_windows(network))
    return imported


def random_windows(network: Network) -> NDArray[np.float32]:
    """Return windows of normal noise for a comparison."""
    shape = (_RANDOM_WINDOWS, network.window, network.num_channels)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _import_layers(graph: Graph) -> Network:
    """Return the network: as a stack if it can be one, since the exporters have more compact forms for stacks."""
    window, channels = graph.window
    layers: list[Layer] = []
    for layer in graph.value.layers:
        last = layers[-1] if layers else None
        if isinstance(layer, Step) and layer.index == -1 and isinstance(last, Recurrent) and not last.backward:
            layers[-1] = dataclasses.replace(last, sequence=False)
        else:
            layers.append(layer)
    network = Network(window, channels, tuple(layers))
    if not layers or not isinstance(layers[0], Normalize):
        layers.insert(0, Normalize(np.zeros(channels, np.float32), np.ones(channels, np.float32)))
    second = layers[1] if len(layers) > 1 else None
    if isinstance(second, Recurrent):
        eye = np.eye(channels, dtype=np.float32)[:, None]
        layers.insert(1, Conv1d(eye, np.zeros(channels, np.float32)))
    elif isinstance(second, Linear):
        layers[1] = Conv1d(second.weight[:, None], second.bias, relu=second.relu)
    stack = Network(window, channels, tuple(layers))
    return stack if stack.is_stack else network


def _stored_contract(model: Any) -> dict[str, Any] | None:
    """Return the contract in a file of harexport; None if there is none."""
    if model.producer_name != "harexport":
        return None
    try:
        found = json.loads(next(entry.value for entry in model.metadata_props if entry.key == CONTRACT_KEY))
    except (StopIteration, ValueError):
        return None
    # of two heads, only the first one is imported
    return {**found, "coarse_labels": []} if isinstance(found, dict) else None


def _run_in_onnxruntime(model: Any, where: str, graph: Graph) -> Run:
    """Return a function that runs the original in ONNX Runtime, window by window, in a process of its own."""
    from harexport.runtimes.sandbox import run_first_output

    order = [("b", "t", "c").index(axis) for axis in graph.axes]
    original = onnx.ModelProto()
    original.CopyFrom(model)
    outputs = [output for output in model.graph.output if output.name == graph.output_name]
    del original.graph.output[:]
    original.graph.output.extend(outputs)

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = [window[None].transpose(order) for window in windows]
        results = run_first_output(original.SerializeToString(), ".onnx", where, inputs)
        return np.stack([np.ravel(result) for result in results])

    return run
