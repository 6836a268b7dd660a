"""State between invocations, NaN, cell clips, weight types and damaged files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from harexport.errors import CheckFailedError, InputError
from harexport.exporters import checks, tflite, tflite_lstm
from harexport.exporters.options import ExportOptions
from harexport.formats import tflite_metadata, tflite_reader
from harexport.model.layers import Conv1d, LstmLayer
from harexport.model.network import Network
from harexport.runtimes.litert import LiteRtRunner
from tests.helpers.networks import SHAPES, contract_of, random_network, variable_state

SCHEMES = ("float32", "float16", "int8-weights")
# A forget-gate bias of 6: small random weights forget fast enough to hide a persistent state.
REMEMBERING = {
    "128 steps": random_network(forget_bias=6.0),
    "7 steps": random_network(frame=32, hop=16, units=48, hidden=(48, 48), relu=True, forget_bias=6.0),
    "three layers": random_network(frame=16, hop=16, hidden=(24, 32, 16), forget_bias=6.0),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
every_memory = pytest.mark.parametrize("memory", REMEMBERING)


def emitted(network: Network, lowering: str, scheme: str = "float32") -> bytes:
    return tflite.build(network, contract_of(network), {}, lowering, scheme)


class Embedder:
    """Run windows in order without a reset."""

    def __init__(self, model: bytes) -> None:
        self.interpreter = Interpreter(model_content=model, num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        outputs = self.interpreter.get_output_details()
        self.output = next(output["index"] for output in outputs if output["name"] == "logits")

    def __call__(self, window: np.ndarray) -> np.ndarray:
        self.interpreter.set_tensor(self.input, window[None])
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)[0]


@every_scheme
@every_memory
@pytest.mark.parametrize("lowering", ["fused", "loop", "unrolled"])
def test_no_state_between_invocations(memory, lowering, scheme):
    network = REMEMBERING[memory]
    windows = checks.synthetic_windows(contract_of(network), count=12)
    run = Embedder(emitted(network, lowering, scheme))
    in_order = np.array([run(window) for window in windows])
    a, _, again = run(windows[0]), run(windows[1]), run(windows[0])
    assert np.array_equal(a, again)
    order = np.random.default_rng(0).permutation(len(windows))
    assert np.array_equal(np.array([run(windows[k]) for k in order]), in_order[order])
    if scheme == "float32":
        assert np.abs(in_order - network.logits(windows)).max() < 1e-4


@every_scheme
@every_memory
@pytest.mark.parametrize("lowering", ["fused", "loop", "unrolled"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_nan_window_does_not_persist(memory, lowering, scheme, poison):
    network = REMEMBERING[memory]
    windows = checks.synthetic_windows(contract_of(network), count=2)
    run = Embedder(emitted(network, lowering, scheme))
    before = run(windows[0])
    for first in (0, network.window - 1):  # all of it, and its last sample alone
        poisoned = windows[1].copy()
        poisoned[first:] = poison
        run(poisoned)
        assert np.array_equal(run(windows[0]), before)


@every_scheme
@every_memory
def test_negative_control_without_zeroing_the_state_persists(memory, scheme, monkeypatch):
    """Without the operators that zero the state, the tests above fail."""
    monkeypatch.setattr(tflite_lstm, "zero_state", variable_state)
    network = REMEMBERING[memory]
    windows = checks.synthetic_windows(contract_of(network), count=3)
    model = emitted(network, "fused", scheme)
    run = Embedder(model)
    a, _, again = run(windows[0]), run(windows[1]), run(windows[0])
    assert np.abs(a - again).max() > 0.01
    # the runner resets the variables, for files of other converters
    runner = LiteRtRunner(model, "leaking")
    first = runner.logits(windows)
    assert np.array_equal(runner.logits(windows[::-1]), first[::-1])


def test_negative_control_without_zeroing_nan_persists(monkeypatch):
    monkeypatch.setattr(tflite_lstm, "zero_state", variable_state)
    network = REMEMBERING["128 steps"]
    windows = checks.synthetic_windows(contract_of(network), count=1)
    run = Embedder(emitted(network, "fused"))
    before = run(windows[0])
    run(np.full_like(windows[0], np.nan))
    assert not np.array_equal(run(windows[0]), before)


def test_compiled_model_runs_the_unrolled_graph():
    """CompiledModel prints at the end of the process, hence the subprocess."""
    code = f"from {__name__} import ask_compiled_model; ask_compiled_model()"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr


def ask_compiled_model():
    """LiteRT's newer API rejects variables, and so the fused graph."""
    from ai_edge_litert.compiled_model import CompiledModel

    network = SHAPES["edge"]
    window = checks.synthetic_windows(contract_of(network), count=1)
    for scheme in SCHEMES:
        compiled = CompiledModel.from_buffer(emitted(network, "unrolled", scheme))
        assert compiled.get_signature_list() == {
            "serving_default": {"inputs": ["window"], "outputs": ["logits", "probabilities"]}
        }
        inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
        inputs[0].write(window)
        compiled.run_by_index(0, inputs, outputs)
        logits = outputs[0].read(network.num_labels, np.float32)
        assert np.abs(logits - network.logits(window)[0]).max() < (1e-4 if scheme == "float32" else 0.3)
    with pytest.raises(RuntimeError):  # if this fails, docs/export.md can be simplified
        CompiledModel.from_buffer(emitted(network, "fused"))


def counting_network() -> Network:
    """Return a network with one cell that sums the sign of the first channel over 128 samples: c reaches 70."""
    gates = np.zeros((4, 1, 1), np.float32)
    gates[2] = 5.0
    weight = np.zeros((1, 1, 9), np.float32)
    weight[0, 0, 0] = 1.0
    layer = LstmLayer(gates.reshape(4, 1), np.zeros((4, 1), np.float32), np.float32([20.0, 20.0, 0.0, 20.0]))
    base = random_network(units=1, hidden=(1,))
    return base.replace(
        mean=np.zeros(9, np.float32),
        std=np.ones(9, np.float32),
        input=Conv1d(weight, np.zeros(1, np.float32), stride=1, relu=False),
        recurrent_layers=(layer,),
    )


def repacked(model: bytes, cell_clip: float) -> bytes:
    file = tflite_reader.unpack(model, "model")
    for operator in file.subgraphs[0].operators:
        if hasattr(operator.builtinOptions, "cellClip"):
            operator.builtinOptions.cellClip = cell_clip
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(file.Pack(builder), b"TFL3")
    return tflite_metadata.append_files(bytes(builder.Output()), {})


def test_no_cell_clip():
    network = counting_network()
    window = np.zeros((1, 128, 9), np.float32)
    window[0, :70, 0], window[0, 70:, 0] = 1.0, -1.0  # up to 70, down to 12; a clip at 10 would end at -10
    expected = network.logits(window)
    model = emitted(network, "fused")
    options = [op.builtinOptions for op in tflite_reader.unpack(model, "model").subgraphs[0].operators]
    assert [option.cellClip for option in options if hasattr(option, "cellClip")] == [0.0]
    for right in (model, emitted(network, "unrolled")):
        assert np.abs(LiteRtRunner(right, "right").logits(window) - expected).max() < 1e-4
    # negative control: the clip of TensorFlow's converter
    clipped = repacked(model, 10.0)
    assert np.abs(LiteRtRunner(clipped, "clipped").logits(window) - expected).max() > 0.3
    with pytest.raises(CheckFailedError, match="clips the cell at 10"):
        checks.check_exported_model(
            clipped, network, contract_of(network), ExportOptions("tflite", "float32", "fused"), len(clipped), None
        )


def test_int8_weights_are_int8(tmp_path):
    for lowering in ("fused", "unrolled"):
        network = SHAPES["edge"]
        small, large = emitted(network, lowering, "int8-weights"), emitted(network, lowering)
        assert len(small) < 0.4 * len(large)
        file = tflite_reader.unpack(small, "model")
        matrices = [
            tensor
            for tensor in file.subgraphs[0].tensors
            if len(tflite_reader.buffer_data(file, tensor.buffer)) and tensor.name and b"weight" in tensor.name
        ]
        assert len(matrices) == (2 + 2 * 8 if lowering == "fused" else 2 + 2)
        for tensor in matrices:
            assert tensor.type == schema.TensorType.INT8
            assert tensor.quantization.zeroPoint == [0]
            values = tflite_reader.buffer_data(file, tensor.buffer).view(np.int8)
            assert np.abs(values.astype(int)).max() == 127
        # a float32 file is no int8-weights file
        with pytest.raises(CheckFailedError, match="not int8"):
            checks.check_exported_model(
                large,
                network,
                contract_of(network),
                ExportOptions("tflite", "int8-weights", lowering),
                len(large),
                None,
            )


def test_truncated_file_is_an_error(tmp_path):
    """In a subprocess, since LiteRT may die with SIGBUS."""
    for lowering in ("fused", "unrolled"):
        (tmp_path / f"{lowering}.tflite").write_bytes(emitted(SHAPES["edge"], lowering))
    script = """
import sys
from pathlib import Path
from pathlib import Path
from harexport.errors import InputError
from harexport.runtimes import load
for path in sorted(Path(sys.argv[1]).glob("*.tflite")):
    whole = path.read_bytes()
    cut = path.with_name("cut.tflite")
    sixteenths = [len(whole) * k // 16 for k in range(1, 16)]
    for size in [0, 1, 4, 7, 8, 100, 4096, *sixteenths, len(whole) - 100, len(whole) - 1]:
        cut.write_bytes(whole[:size])
        try:
            load(cut)
            print("loaded", size, len(whole))
        except InputError as error:
            assert "cut.tflite" in str(error)
            print("refused", size)
    cut.unlink()
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    lines = done.stdout.splitlines()
    assert len(lines) == 48
    assert all(line.startswith("refused") for line in lines), lines


@every_scheme
def test_nan_is_rejected_before_inference(scheme):
    network = SHAPES["edge"]
    runner = LiteRtRunner(emitted(network, "unrolled", scheme), "edge")
    windows = checks.synthetic_windows(contract_of(network), count=3)
    for bad in (np.nan, np.inf):
        windows[1, 5, 2] = bad
        with pytest.raises(InputError, match="window 1 contains NaN or infinity"):
            runner.logits(windows)
