"""Models out of scope are rejected in one sentence that names the node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from harexport import cli
from harexport.errors import InputError
from harexport.importers.onnx import from_onnx, import_model
from harexport.importers.torch import from_torch

torch = pytest.importorskip("torch")
nn = torch.nn


def _model(nodes: list[Any], arrays: dict[str, np.ndarray], shape: tuple[Any, ...] = (1, 128, 9)) -> Any:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _recurrent(kind: str = "LSTM", *, attributes: dict[str, Any] | None = None, **inputs: np.ndarray) -> Any:
    gates = 4 if kind == "LSTM" else 3
    arrays = {"W": np.zeros((1, 2 * gates, 9), np.float32), "R": np.zeros((1, 2 * gates, 2), np.float32), **inputs}
    names = ["t", *(name if name in arrays else "" for name in ("W", "R", "B", "n", "h", "c", "P"))]
    while not names[-1]:
        names.pop()
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(kind, names, ["", "y"], name="cell", hidden_size=2, **(attributes or {})),
    ]
    return _model(nodes, arrays)


def _loop() -> Any:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Relu", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=body)]
    return _model(nodes, {"n": np.array(2)})


def _two_inputs() -> Any:
    model = _model([helper.make_node("Add", ["x", "h0"], ["y"])], {})
    model.graph.input.append(helper.make_tensor_value_info("h0", TensorProto.FLOAT, (1, 128, 9)))
    return model


def _node(kind: str, inputs: tuple[str, ...] = ("x",), arrays: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """A model of one node."""
    return _model([helper.make_node(kind, list(inputs), ["y"], name="node", **attributes)], arrays or {})


_ONES = np.ones(9, np.float32)
_LSTM = "the LSTM node cell is not supported: "
_REJECTED: dict[str, tuple[Any, str]] = {
    "peepholes": (_recurrent(P=np.ones((1, 6), np.float32)), f"{_LSTM}it has peepholes"),
    "projection": (_recurrent(R=np.zeros((1, 8, 3), np.float32)), f"{_LSTM}it has a projection"),
    "clip": (_recurrent(attributes={"clip": 3.0}), f"{_LSTM}it has a clip"),
    "activations": (
        _recurrent(attributes={"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
        f"{_LSTM}it has the activations hardsigmoid, tanh, tanh",
    ),
    "initial state": (_recurrent(h=np.ones((1, 1, 2), np.float32)), f"{_LSTM}its initial state is not zero"),
    "initial cell": (_recurrent(c=np.ones((1, 1, 2), np.float32)), f"{_LSTM}its initial state is not zero"),
    "lengths": (_recurrent("GRU", n=np.array([5], np.int32)), "the GRU node cell .* sequence length"),
    "attention": (_node("MatMul", ("x", "x")), "the MatMul node node is not supported: its input 2 depends on the"),
    "layer normalization": (
        _node("LayerNormalization", ("x", "s"), {"s": _ONES}),
        "the LayerNormalization node node is not supported: supported are Conv, Gemm",
    ),
    "own normalization": (_node("ReduceMean", axes=[2]), "it reduces channels; only the time can be reduced"),
    "loop": (_loop(), "the Loop node loop is not supported: the only supported loop is a GRU of Keras"),
    "groups": (
        _model(
            [
                helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
                helper.make_node("Conv", ["t", "W"], ["y"], name="depthwise", group=9),
            ],
            {"W": np.ones((9, 1, 3), np.float32)},
        ),
        "the Conv node depthwise is not supported: it has 9 groups",
    ),
    "dynamic time": (_model([], {}, (1, "time", 9)), "needs a fixed number of steps"),
    "dynamic channels": (_model([], {}, (1, 128, "channels")), "needs a fixed number of steps"),
    "batch": (_model([], {}, (32, 128, 9)), "a batch of 1 or a dynamic one"),
    "two axes": (_model([], {}, (1, 9)), "the input x has 2 axes; windows have three"),
    "several inputs": (_two_inputs(), r"has 2 inputs \(x, h0\)"),
    "quantized": (_node("DequantizeLinear", ("x", "s"), {"s": np.float32(1)}), "quantized models cannot be imported"),
    "quantized weights": (
        _model(
            [helper.make_node("DequantizeLinear", ["W", "s"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])],
            {"W": np.ones((9, 6), np.int8), "s": np.float32(1)},
        ),
        "quantized models cannot be imported",
    ),
    "domain": (_node("Attention", domain="com.microsoft"), "its domain is com.microsoft"),
    "not a classifier": (_node("Relu"), "a classifier has one logit per label"),
    "constant output": (
        _model([helper.make_node("Identity", ["s"], ["y"])], {"s": _ONES}),
        "does not depend on the input; a classifier is needed",
    ),
    "mean over channels": (
        _model(
            [
                helper.make_node("ReduceMean", ["x"], ["m"], axes=[2], keepdims=0, name="mean"),
                helper.make_node("MatMul", ["m", "W"], ["y"]),
            ],
            {"W": np.ones((128, 6), np.float32)},
        ),
        "the ReduceMean node mean is not supported: it reduces channels; only the time can be reduced",
    ),
    "softmax over time": (_node("Softmax", axis=1), "it normalizes time; only the logits can be normalized"),
    "softmax inside": (
        _model(
            [
                helper.make_node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0),
                helper.make_node("Softmax", ["m"], ["p"]),
                helper.make_node("Relu", ["p"], ["y"], name="after"),
            ],
            {},
        ),
        "the Relu node after is not supported: its input is a Softmax",
    ),
    "part of a window": (
        _node("Slice", ("x", "a", "b", "k"), {"a": np.array([0]), "b": np.array([64]), "k": np.array([1])}),
        "it selects 64 of 128 elements of the time axis",
    ),
    "product": (_node("Mul", ("x", "x")), "both inputs depend on the input of the network"),
    "no matrix": (_node("Gemm"), "its input is transposed, or it has no matrix"),
    "no attributes": (_node("MaxPool"), "its input has the axes batch, time, channels"),
}  # fmt: skip


@pytest.mark.parametrize("name", _REJECTED)
def test_unsupported_models_are_rejected(name: str) -> None:
    model, message = _REJECTED[name]
    with pytest.raises(InputError, match=message):
        import_model(model, "model", 9)


@pytest.mark.parametrize("name", ["peepholes", "loop", "several inputs", "not a classifier", "mean over channels"])
def test_the_command_writes_nothing(tmp_path: Path, name: str) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "out"
    path.write_bytes(_REJECTED[name][0].SerializeToString())
    result = CliRunner().invoke(cli.main, ["export", str(path), "--out", str(out)])
    assert result.exit_code == 2
    assert re.search(_REJECTED[name][1], result.output.replace("\n", " "))
    assert not out.exists()


def test_unusable_files_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"not a \.onnx file"):
        from_onnx(path)
    with pytest.raises(InputError, match="not found"):
        from_onnx(tmp_path / "none.onnx")


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
        from_onnx(folder / "model.onnx")


def test_layers_of_modules_are_named() -> None:
    example, attention = torch.zeros(1, 128, 9), nn.TransformerEncoderLayer(9, 3, 16, batch_first=True)
    with pytest.raises(InputError, match=r"self_attn.* it splits the channels, as attention and GroupNorm do"):
        from_torch(nn.Sequential(attention, nn.Flatten(), nn.Linear(1152, 6)).eval(), example)
    with pytest.raises(InputError, match=r"ONNX by PyTorch: Unsupported: .*projections$"):
        from_torch(nn.Sequential(nn.LSTM(9, 8, proj_size=4)).eval(), example)


def test_modules_in_training_mode_or_with_hooks_are_rejected() -> None:
    module, example = nn.Sequential(nn.Flatten(), nn.Linear(1152, 6)), torch.zeros(1, 128, 9)
    with pytest.raises(InputError, match="training mode"):
        from_torch(module.train(), example)
    module.eval().register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="hooks"):
        from_torch(module, example)
