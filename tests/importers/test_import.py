"""ONNX models and torch modules are imported, exported and checked; unsupported ones are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from harexport.data import Dataset, Windows
from harexport.errors import InputError
from harexport.exporters.checks import synthetic_windows
from harexport.exporters.export import export
from harexport.formats.structure import read_structure
from harexport.importers.onnx import import_model, load_onnx
from harexport.importers.torch import from_torch
from harexport.model.contract import Contract
from harexport.model.layers import Activation, Branches, Conv1d, Layer, Linear, Normalize, Reduce
from harexport.model.network import Network
from tests.helpers.networks import random_network

torch = pytest.importorskip("torch")
nn = torch.nn


class _Recurrent(nn.Module):  # type: ignore[misc]
    """A recurrent layer and a linear layer of its last step, or of its final states."""

    def __init__(self, layer: Any, features: int, final_states: bool = False) -> None:
        super().__init__()
        self.layer, self.head, self.final_states = layer, nn.Linear(features, 6), final_states

    def forward(self, x: Any) -> Any:
        sequence, states = self.layer(x)
        if not self.final_states:
            return self.head(sequence[:, -1])
        h = states[0] if isinstance(states, tuple) else states
        return self.head(torch.cat([h[-2], h[-1]], dim=1))


class _ConvLstm(nn.Module):  # type: ignore[misc]
    """DeepConvLSTM: convolutions, LSTM layers, and a linear layer of the last step."""

    def __init__(self, channels: int = 8, hidden: int = 12) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(9, channels, 5), nn.ReLU(), nn.Conv1d(channels, channels, 5, stride=4), nn.ReLU()
        )
        self.lstm = nn.LSTM(channels, hidden, 2, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(hidden, 10), nn.ReLU(), nn.Linear(10, 6))

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))[0][:, -1])


class _Residual(nn.Module):  # type: ignore[misc]
    """Residual bidirectional LSTM layers with probabilities as output."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv1d(9, width, 16, stride=16)
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.norm, self.head = nn.BatchNorm1d(width), nn.Linear(width, 6)

    def forward(self, x: Any) -> Any:
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        x = self.norm((x + self.lstm(x)[0]).transpose(1, 2)).transpose(1, 2)
        return torch.softmax(self.head(torch.relu(x[:, -1])), dim=1)


def _cnn() -> Any:
    """Convolutions with batch normalization and pooling, for [channels, time]."""
    layers: list[Any] = []
    for k in range(2):
        layers += [nn.Conv1d(8 if k else 9, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 6))


def _flattening_cnn() -> Any:
    return nn.Sequential(
        nn.Conv1d(9, 4, 5, stride=2),
        nn.ELU(),
        nn.AvgPool1d(4),
        nn.Flatten(),
        nn.Linear(60, 8),
        nn.LeakyReLU(),
        nn.Linear(8, 6),
    )


# name -> module and whether its input is [channels, time]
_MODULES: dict[str, tuple[Any, bool]] = {
    "conv-lstm": (_ConvLstm(), False),
    "bilstm": (_Recurrent(nn.LSTM(9, 6, 2, batch_first=True, bidirectional=True), 12), False),
    "bilstm-final-states": (_Recurrent(nn.LSTM(9, 6, 2, batch_first=True, bidirectional=True), 12, True), False),
    "residual": (_Residual(), False),
    "cnn": (_cnn(), True),
    "flattening-cnn": (_flattening_cnn(), True),
    "gru": (_Recurrent(nn.GRU(9, 8, batch_first=True), 8), False),
}


def _network(name: str) -> Network:
    module, channels_first = _MODULES[name]
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    example = torch.randn(1, *((9, 128) if channels_first else (128, 9)))
    return from_torch(module.eval(), example, 9)


@pytest.mark.parametrize("name", _MODULES)
def test_import_matches_torch(name: str) -> None:
    module, channels_first = _MODULES[name]
    network = _network(name)
    windows = synthetic_windows(Contract(), 5, seed=3)
    with torch.no_grad():
        x = torch.from_numpy(windows)
        expected = module(x.transpose(1, 2) if channels_first else x).numpy()
    logits = network.logits(windows)
    if name == "residual":
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        logits = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8-weights"])
@pytest.mark.parametrize(("fmt", "lowering"), [("onnx", "auto"), ("tflite", "fused"), ("tflite", "unrolled")])
@pytest.mark.parametrize("name", _MODULES)
def test_every_file_passes_its_checks(tmp_path: Path, name: str, fmt: str, lowering: str, scheme: str) -> None:
    network = _network(name)
    if name.startswith("bilstm") and lowering == "unrolled":
        pytest.skip("a graph of 6000 operators; the residual network covers it")
    if lowering == "fused" and not network.lstm:
        with pytest.raises(InputError, match="fused"):
            export(network, tmp_path / "m.tflite", lowering=lowering, scheme=scheme)
        return
    result = export(
        network, tmp_path / f"m.{fmt}", lowering=lowering, scheme=scheme, dataset=_labeled(network), max_drop=100
    )
    assert result.parity is not None
    if scheme == "float32":
        assert result.parity.agreement == 1.0


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["conv-lstm", "residual", "cnn", "flattening-cnn", "gru"])
def test_dynamic_batch(tmp_path: Path, name: str, fmt: str) -> None:
    network = _network(name)
    result = export(network, tmp_path / f"m.{fmt}", batch=None, dataset=_labeled(network))
    assert result.batch is None


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "gelu"])
def test_activations(tmp_path: Path, kind: str, fmt: str) -> None:
    random = np.random.default_rng(0)
    first = Linear(random.normal(size=(8, 9)).astype(np.float32), np.zeros(8, np.float32))
    head = Linear(random.normal(size=(6, 8)).astype(np.float32), np.zeros(6, np.float32))
    network = Network(128, 9, (first, Activation(kind), Reduce("max"), head))
    result = export(network, tmp_path / f"m.{fmt}", dataset=_labeled(network))
    assert result.parity is not None
    assert result.parity.agreement == 1.0
    if fmt == "tflite":
        assert read_structure(result.path.read_bytes(), "tflite", "m").min_runtime == (
            "2.9" if kind == "gelu" else "2.6"
        )


def _labeled(network: Any) -> Dataset:
    windows = synthetic_windows(Contract(), 16, seed=5)
    part = Windows(windows, network.logits(windows).argmax(axis=1), np.arange(16) % 4)
    return Dataset(part, part, "synthetic", "0" * 64, Contract())


def _model(nodes: list[Any], arrays: dict[str, np.ndarray], shape: tuple[Any, ...] = (1, 128, 9)) -> Any:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def _lstm(**inputs: np.ndarray) -> Any:
    arrays = {"W": np.zeros((1, 8, 9), np.float32), "R": np.zeros((1, 8, 2), np.float32), **inputs}
    names = ["t", "W", "R", "", "", "h" if "h" in inputs else "", "", "P" if "P" in inputs else ""]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", names, ["", "y"], name="lstm", hidden_size=2),
    ]
    return _model(nodes, arrays)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_model([helper.make_node("LayerNormalization", ["x", "s"], ["y"], name="ln")], {"s": np.ones(9, np.float32)}),
         "the LayerNormalization node ln is not supported"),
        (_lstm(h=np.ones((1, 1, 2), np.float32)), "its initial state is not zero"),
        (_lstm(P=np.ones((1, 6), np.float32)), "it has peepholes"),
        (_model([helper.make_node("Relu", ["x"], ["y"])], {}), "a classifier has one logit per label"),
        (_model([helper.make_node("Relu", ["x"], ["y"])], {}, (1, "time", 9)), "needs a fixed number of steps"),
        (_model([helper.make_node("Relu", ["x"], ["y"])], {}, (1, 9)), "windows have three"),
        (_model([helper.make_node("MatMul", ["x", "x"], ["y"], name="attention")], {}), "attention is not supported"),
        (_model([helper.make_node("Softmax", ["x"], ["y"], axis=1)], {}), "it normalizes the axis t"),
        (_model([helper.make_node("Softmax", ["x"], ["p"]), helper.make_node("Relu", ["p"], ["y"])], {}),
         "the Relu node is not supported: its input is a Softmax"),
        (_model([helper.make_node("Slice", ["x", "a", "b", "k", "a"], ["y"])],
                {"a": np.array([-1]), "b": np.array([-1000]), "k": np.array([1])}), "it reverses an axis"),
        (_model([helper.make_node("DequantizeLinear", ["x", "s"], ["y"])], {"s": np.float32(1)}), "quantized models"),
        (_model([helper.make_node("Gemm", ["x"], ["y"])], {}), "its inputs or attributes are invalid"),
    ],
)  # fmt: skip
def test_unsupported_models_are_rejected(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_model(model, "model")


def test_unusable_files_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"not a \.onnx file"):
        load_onnx(path)
    with pytest.raises(InputError, match="not found"):
        load_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin"])
def test_weights_outside_the_folder_are_rejected(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(36))
    tensor = TensorProto(name="s", dims=[9], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    model = _model([helper.make_node("Mul", ["x", "s"], ["y"])], {})
    model.graph.initializer.append(tensor)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="not a file in its folder"):
        load_onnx(folder / "model.onnx")


def test_harexport_file_with_separate_steps(tmp_path: Path) -> None:
    """Its Reshape moves the batch axis behind the time axis."""
    network = random_network(units=8, hidden=(8, 8))
    path = export(network, tmp_path / "m.onnx", dataset=_labeled(network)).path
    windows = synthetic_windows(Contract(), 4)
    np.testing.assert_allclose(load_onnx(path).logits(windows), network.logits(windows), atol=1e-6)


def test_modules_in_training_mode_or_with_hooks_are_rejected() -> None:
    module, example = nn.Sequential(nn.Flatten(), nn.Linear(1152, 6)), torch.zeros(1, 128, 9)
    with pytest.raises(InputError, match="training mode"):
        from_torch(module.train(), example)
    module.eval().register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="hooks"):
        from_torch(module, example)


_LAYERS: list[tuple[Layer, tuple[int, ...], tuple[int, ...]]] = [
    (Normalize(np.zeros(3), np.ones(3)), (8, 3), (8, 3)),
    (Conv1d(np.ones((4, 3, 3)), np.zeros(4), 2, padding=(1, 1)), (8, 3), (4, 4)),
    (Linear(np.ones((5, 3)), np.zeros(5)), (8, 3), (8, 5)),
    (Activation("gelu"), (8, 3), (8, 3)),
    (Reduce("max"), (8, 3), (3,)),
    (Branches("concat", ((), (Activation("relu"),))), (8, 3), (8, 6)),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), _LAYERS, ids=lambda value: type(value).__name__)
def test_output_shapes(layer: Layer, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert layer.output_shape(shape) == expected
    assert layer.forward(np.ones((2, *shape))).shape == (2, *expected)
