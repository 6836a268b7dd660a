"""Golden test vectors match preprocessing and model, and detect errors of a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harexport import runtimes
from harexport.errors import InputError
from harexport.exporters import golden as android_golden
from harexport.exporters.export import build_model
from harexport.exporters.options import ExportOptions
from harexport.model.contract import CHANNELS, Contract
from harexport.model.network import Network
from harexport.preprocessing.stream import ACC, GYRO, Stream, Window
from harexport.runtimes import model as models
from tests.helpers.networks import GRU_SHAPES, contract_of, random_network

_ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "edge"
_ACC = tuple(name for name in CHANNELS if "acc" in name)
_CONTRACTS = {
    "usual": Contract(),
    "accelerometer alone": Contract(channels=_ACC, units=("g",) * 6, window=100, hop=25),
    "gyroscope alone": Contract(channels=CHANNELS[3:6], units=("rad/s",) * 3),
    "slow": Contract(rate_hz=41.0, window=40, hop=20),
    "fast": Contract(rate_hz=200.0, window=512, hop=256),
    "short windows": Contract(rate_hz=45.0, window=16, hop=16),
}


def _file(network: Network, contract: Contract, scheme: str = "float32") -> bytes:
    return build_model(network, contract, {"scheme": scheme}, ExportOptions("tflite", scheme, "unrolled"), None)


def _golden(content: bytes, contract: Contract, scheme: str = "float32") -> dict[str, Any]:
    runner = runtimes.load_bytes(content, ".tflite", "it")
    return android_golden.make_test_vectors(runner, scheme, contract, content, b"{}")


@pytest.mark.parametrize("contract", _CONTRACTS.values(), ids=list(_CONTRACTS))
def test_vectors_match_the_preprocessing_of_every_contract(contract: Contract) -> None:
    frame = contract.window // 4
    network = random_network(
        frame=frame, hop=frame, hidden=(8,), units=8, channels=len(contract.channels), window=contract.window
    )
    content = _file(network, contract)
    written = android_golden.to_json(_golden(content, contract))
    golden = json.loads(written)
    assert written == android_golden.to_json(_golden(content, contract)), "the same bytes every time"
    stream = Stream(contract, golden["units"], golden["mean_of"])
    windows = []
    for sensor, time_ns, *axes in golden["samples"]:
        for event in stream.push(sensor, time_ns, tuple(axes)):
            assert isinstance(event, Window)
            windows.append(event)
    windows += [event for event in stream.flush() if isinstance(event, Window)]
    signals = np.array([window.signals for window in windows], np.float32)
    stored = np.array(golden["windows"], np.float32).reshape(signals.shape)
    assert np.array_equal(stored, signals), "the digits identify the float32 values"
    assert np.abs(signals).max() < 8, "MAX_SIGNAL_DIFFERENCE counts on it"
    assert sum(window.is_settled for window in windows) >= 6
    logits = runtimes.load_bytes(content, ".tflite", "it").logits(signals)
    assert np.array_equal(np.array(golden["logits"], np.float32), logits)
    assert logits.shape == (len(windows), len(contract.labels))
    assert stream.dropped.keys() == golden["mean_of"].keys() == golden["units"].keys()
    assert all(dropped.total == 0 for dropped in stream.dropped.values())


def test_synthetic_recording_resembles_a_phone() -> None:
    samples, average_over = android_golden.synthetic_recording(Contract())
    assert average_over == {ACC: 1, GYRO: 1}
    own: dict[str, list[int]] = {
        sensor: [time_ns for name, time_ns, *_ in samples if name == sensor] for sensor in average_over
    }
    for sensor, rate in ((ACC, 52.6), (GYRO, 49.2)):
        steps = np.diff(own[sensor]) / 1e9
        assert (steps > 0).all(), "each sensor in order"
        assert 1 / steps.mean() == pytest.approx(rate, rel=0.01)
        assert 0.0005 < steps.std() < 0.003, "jitter"
    assert [row[1] for row in samples] != sorted(row[1] for row in samples), "deliveries overlap"
    assert min(own[ACC]) > 2**50, "more than a float can count one by one"
    at_rest = np.array([axes for sensor, _, *axes in samples[:60] if sensor == ACC])
    assert np.linalg.norm(at_rest, axis=1) == pytest.approx(9.8, abs=0.15)
    swings = np.array([row[2:] for row in samples if row[0] == GYRO])
    turned = np.trapezoid(swings[:, 2] * (np.arange(len(swings)) < 0.25 * len(swings)), dx=1 / 49.2)
    assert turned == pytest.approx(-np.pi / 2, abs=0.05), "gyroscope and gravity show the same turn"


def test_fast_sensors_are_averaged() -> None:
    assert android_golden.synthetic_recording(Contract(rate_hz=25.0))[1] == {ACC: 2, GYRO: 2}
    assert set(android_golden.synthetic_recording(_CONTRACTS["accelerometer alone"])[1]) == {ACC}
    assert {row[0] for row in android_golden.synthetic_recording(_CONTRACTS["accelerometer alone"])[0]} == {ACC}


def test_coarse_logits_are_omitted() -> None:
    network = GRU_SHAPES["one-step"]
    contract = contract_of(network)
    golden = _golden(_file(network, contract), contract)
    assert len(contract.coarse_labels) == 5
    assert {len(row) for row in golden["logits"]} == {6}


def test_tolerance_detects_errors_but_not_rounding() -> None:
    """Swapped axes or a missing division by g exceed the tolerance by far."""
    model = models.load_model(_ARTIFACTS / "edge-unrolled-float32.tflite")
    golden = _golden((_ARTIFACTS / "edge-unrolled-float32.tflite").read_bytes(), Contract())
    windows = np.array(golden["windows"], np.float32).reshape(-1, 128, 9)
    logits = np.array(golden["logits"], np.float32)
    allowed = golden["max_logit_difference"]
    rounded = np.nextafter(windows, np.float32(np.inf))
    assert np.abs(model.runner.logits(rounded) - logits).max() < allowed
    for slip in (windows[:, :, [1, 0, *range(2, 9)]], windows * np.float32(9.80665), np.roll(windows, 1, axis=1)):
        assert np.abs(model.runner.logits(slip) - logits).max() > 100 * allowed
        assert np.abs(slip - windows).max() > golden["max_signal_difference"]
    assert len(set(logits.argmax(axis=1))) >= 3, "the recording shows more than one activity"


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8-weights"])
def test_tolerance_holds_in_another_runtime(scheme: str) -> None:
    """LiteRT without XNNPACK runs other kernels, as some phones do."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = _ARTIFACTS / f"edge-unrolled-{scheme}.tflite"
    golden = _golden(path.read_bytes(), Contract(), scheme)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    (reads,) = interpreter.get_input_details()
    (output,) = (detail for detail in interpreter.get_output_details() if detail["name"] == "logits")
    differences = []
    for window, logits in zip(golden["windows"], golden["logits"], strict=True):
        interpreter.set_tensor(reads["index"], np.array(window, np.float32).reshape(1, 128, 9))
        interpreter.invoke()
        differences.append(np.abs(interpreter.get_tensor(output["index"])[0] - logits).max())
    assert max(differences) <= golden["max_logit_difference"]
    assert max(differences) > 0 if scheme == "int8-weights" else golden["max_logit_difference"] == 1e-4


def test_logit_tolerance() -> None:
    small, large = np.array([[1.0, -3.0]], np.float32), np.array([[847.0, 0.0]], np.float32)
    assert android_golden.logit_tolerance("float32", small) == 1e-4
    assert android_golden.logit_tolerance("float16", large) == pytest.approx(4e-6 * 847)
    assert android_golden.logit_tolerance("int8-weights", small) == pytest.approx(0.3)
    assert android_golden.logit_tolerance("int8", small) == pytest.approx(0.3)


def test_unsupported_contracts_are_rejected() -> None:
    contract = Contract(channels=("heart_rate",), units=("bpm",))
    content = _file(random_network(frame=32, hop=32, hidden=(8,), units=8, channels=1), contract)
    with pytest.raises(InputError, match="channel 'heart_rate'"):
        _golden(content, contract)
