"""`harexport predict`: files and live streams give the predictions of preprocessing and model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.data.recordings.reader import SensorTrack
from harexport.data.recordings.sensors import SensorInfo, Units, resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import LABELS, Contract
from harexport.predict.predict import Prediction, predict
from harexport.predict.report import format_duration, format_notes, label_color, time_per_activity
from harexport.predict.session import Session, WindowPrediction
from harexport.predict.stream import predict_stream
from harexport.preprocessing.filters import preprocess
from harexport.preprocessing.stream import ACC, GYRO, SETTLING_SECONDS
from harexport.runtimes import model
from harexport.runtimes.model import Model
from tests.preprocessing.motion import SECOND, Times, regular, resting, walking
from tests.preprocessing.phones import G, plain, rows, sensor_logger, written, zipped

_ROOT = Path(__file__).resolve().parents[2]
EDGE = _ROOT / "artifacts" / "edge"
CONTRACT = Contract()
UNITS = Units()
TIMES = regular(14.1, 50)
WALK = plain(TIMES, *walking(TIMES))
WINDOWS = (705 - 128) // 64 + 1


def harexport(*arguments: str | Path, **given: Any) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], **given)


class Scripted:
    """A runner that returns given labels, one per window."""

    def __init__(self, *labels: int) -> None:
        self.name, self.runtime, self.metadata, self.window_shape, self.batch = "scripted", "", {}, (128, 9), 1
        self._labels = list(labels)

    def logits(self, windows: np.ndarray) -> np.ndarray:
        assert np.isfinite(windows).all()
        label = self._labels.pop(0) if len(self._labels) > 1 else self._labels[0]
        return 20.0 * np.eye(6)[[label] * len(windows)]

    one = logits


def scripted(*labels: int, contract: Contract = CONTRACT) -> Model:
    return Model("scripted", Scripted(*labels), contract)


def test_the_pretrained_models_are_artifacts() -> None:
    for file, channels in ((model.PRETRAINED, 9), (model.PRETRAINED_ACC, 6)):
        name = file.removesuffix(".tflite")
        artifact = _ROOT / "artifacts" / name / f"{name}-unrolled-int8-weights.tflite"
        assert (_ROOT / "harexport" / "pretrained" / file).read_bytes() == artifact.read_bytes(), (
            "python artifacts/mounted_models.py"
        )
        contract = model.load_pretrained(has_gyroscope=channels == 9).contract
        assert contract.frame is not None
        assert len(contract.channels) == channels
    assert model.load_model().contract == model.load_pretrained().contract


def test_shipping_replaces_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.resources, "files", lambda package: tmp_path)
    source = EDGE / "edge-fused-float32.tflite"
    assert model.update_pretrained(source).read_bytes() == source.read_bytes()
    assert model.load_model().contract == CONTRACT


def test_the_model_is_chosen_by_the_sensors(tmp_path: Path) -> None:
    acc, gyro = walking(TIMES)
    both = predict(written(tmp_path / "both.csv", WALK), None, UNITS, "none")
    assert both.model == f"{model.PRETRAINED}, the pretrained model"
    text = plain(TIMES, acc, gyro[:, :0], "timestamp_s,acc_x,acc_y,acc_z")
    alone = written(tmp_path / "alone.csv", text)
    result = predict(alone, None, UNITS, "none")
    assert result.model == f"{model.PRETRAINED_ACC}, the pretrained model"
    assert any("no gyroscope" in note for note in result.notes)
    assert not any("no gyroscope" in note for note in both.notes)
    with pytest.raises(InputError, match="gyroscope"):
        predict(alone, model.load_model(EDGE / "edge-float32.onnx"), UNITS, "none")
    followed = harexport("--follow", input=alone.read_text())
    assert followed.exit_code == 0, followed.stderr
    assert "no gyroscope" in followed.stderr
    assert len(followed.stdout.splitlines()) == WINDOWS
    of_a_spreadsheet = "sep=;\n" + alone.read_text().replace(",", ";")
    found = harexport("--follow", input=of_a_spreadsheet).stdout
    assert re.sub(r'"latency_ms": .*', "", found) == re.sub(r'"latency_ms": .*', "", followed.stdout)


def test_file_equals_batch_preprocessing_and_model(tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = EDGE / "edge-unrolled-int8-weights.tflite"
    path = written(tmp_path / "walk.csv", WALK)
    result = harexport(path, "--model", file, "--json", "--out", out, "--smoothing", "none")
    assert result.exit_code == 0, result.stderr
    result = json.loads(result.stdout)
    signals = preprocess(*walking(TIMES), CONTRACT.filters, 50.0, "steady")
    windows = np.stack([signals[k : k + 128] for k in range(0, len(signals) - 127, 64)])
    logits = model.load_model(file).logits(windows.astype(np.float32)).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert len(result["windows"]) == len(windows) == WINDOWS
    for k, (window, chances) in enumerate(zip(result["windows"], expected, strict=True)):
        assert window["start"] == pytest.approx(1.28 * k)
        assert window["time"] == pytest.approx(1.28 * k + 2.54)
        assert list(window["probabilities"]) == list(LABELS)
        np.testing.assert_allclose(list(window["probabilities"].values()), chances, rtol=0, atol=1e-5)
        assert window["activity"] == window["smoothed"] == LABELS[int(chances.argmax())]
        assert window["doubt"] == ("settling" if 1.28 * k < SETTLING_SECONDS else None)
        assert 0 < window["latency_ms"] < 1000
    assert result["units"] == {"accelerometer": "g", "gyroscope": "rad/s"}
    assert result["rates_hz"] == {"accelerometer": 50.0, "gyroscope": 50.0}
    assert result["restarts"] == result["notes"] == []
    assert result["picture"] == str(out / "walk.activities.png")
    assert (out / "walk.activities.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name",
    ["edge-float32.onnx", "edge-fused-float32.tflite", "edge-unrolled-float32.tflite", "edge.safetensors"],
)
def test_every_exported_format_predicts_the_same(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "walk.csv", WALK)
    reference = predict(path, model.load_model(EDGE / "edge.safetensors"), UNITS, "none")
    result = predict(path, model.load_model(EDGE / name), UNITS, "none")
    assert result.model == name
    for ours, theirs in zip(result.windows, reference.windows, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=1e-4)


def test_other_units_and_rates_predict_the_same(tmp_path: Path) -> None:
    edge = model.load_model(EDGE / "edge-unrolled-int8-weights.tflite")
    expected = predict(written(tmp_path / "walk.csv", WALK), edge, UNITS, "none")
    fast, slow = regular(14.1, 100), regular(14.1, 49.2, 0.003)
    path = zipped(
        tmp_path / "walk.zip",
        {
            "TotalAcceleration.csv": sensor_logger(fast, walking(fast)[0] * G),
            "Gyroscope.csv": sensor_logger(slow, walking(slow)[1]),
        },
    )
    result = predict(path, edge, UNITS, "none")
    assert result.family == "Sensor Logger"
    assert result.source.units == {ACC: "m/s2", GYRO: "rad/s"}
    assert result.source.average_over == {ACC: 2, GYRO: 1}
    settled = [pair for pair in zip(result.windows, expected.windows, strict=False) if pair[1].doubt is None]
    assert len(settled) == WINDOWS - 1
    for ours, theirs in settled:  # a grid some milliseconds away; benchmarks/stream_fidelity.json has real motion
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=0.2)


def test_live_stream_is_predicted_line_by_line(tmp_path: Path) -> None:
    lines = WALK.encode().splitlines(keepends=True)
    command = [sys.executable, "-m", "harexport", "predict", "--follow"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    assert child.stderr
    guard = threading.Timer(60, child.kill)  # an prediction that never comes must not hang the tests
    guard.start()
    try:
        child.stdin.writelines(lines[:200])
        child.stdin.flush()
        first = json.loads(child.stdout.readline())  # the stream is still open
        child.stdin.writelines(lines[200:])
        child.stdin.write(b"14.10,0.9")
        child.stdin.close()
        predictions = [first, *map(json.loads, child.stdout)]
        messages = child.stderr.read().decode()
        assert child.wait(30) == 0
    finally:
        guard.cancel()
        child.kill()
    assert messages.strip() == f"the stream ended in the middle of line {len(lines) + 1}; that line was left out"
    result = json.loads(harexport(written(tmp_path / "w.csv", WALK), "--json", "--no-picture").stdout)["windows"]
    for prediction in [*predictions, *result]:
        assert prediction.pop("latency_ms") > 0
    assert predictions == result


def test_a_reader_that_ends_ends_the_stream_without_an_error(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m harexport predict --follow < "{written(tmp_path / "w.csv", WALK)}" | head -1'
    ran = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr, len(ran.stdout.splitlines())) == (0, "", 1)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from harexport.cli import main\n"
        "main(['predict', '--follow'], standalone_mode=False)\n"
        "heavy = {'torch', 'tensorflow', 'matplotlib', 'pandas', 'sklearn', 'onnx', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], input=WALK.encode(), capture_output=True)
    assert child.returncode == 0, child.stderr
    assert len(child.stdout.splitlines()) == WINDOWS


def test_one_contrary_window_is_smoothed_and_two_are_not(tmp_path: Path) -> None:
    path = written(tmp_path / "walk.csv", plain(TIMES, *walking(TIMES)))
    script = [3, 0, 0, 0, 0, 1, 0, 0, 2, 2]
    assert len(script) == WINDOWS
    result = predict(path, scripted(*script), UNITS, "exponential")
    names = [LABELS.index(prediction.activity) for prediction in result.windows]
    assert names == script
    # the first window is unreliable, because the filters settle: it is not smoothed and does not affect later windows
    assert [LABELS.index(prediction.smoothed) for prediction in result.windows] == [3, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    unsmoothed = predict(path, scripted(*script), UNITS, "none")
    assert [LABELS.index(prediction.smoothed) for prediction in unsmoothed.windows] == script


def test_segments_cover_reliable_windows(tmp_path: Path) -> None:
    path = written(tmp_path / "walk.csv", WALK)
    result = predict(path, scripted(3, 0, 0, 0, 0, 0, 0, 2, 2, 2), UNITS, "exponential")
    first, second = result.segments
    assert (first.activity, first.windows, second.activity, second.windows) == ("WALKING", 7, LABELS[2], 2)
    assert first.start_s == pytest.approx(1.28)
    assert first.end_s == pytest.approx(second.start_s)
    assert second.end_s == pytest.approx(result.windows[-1].end_s)
    assert dict(time_per_activity(result)) == pytest.approx(
        {"WALKING": first.end_s - first.start_s, LABELS[2]: second.end_s - second.start_s}
    )


def test_labels_in_the_file_are_compared(tmp_path: Path) -> None:
    labels = ["walking"] * 500 + [""] * 20 + ["yoga"] * 100 + ["Sitting"] * 85
    path = written(tmp_path / "walk.csv", plain(TIMES, *walking(TIMES), labels=labels))
    result = predict(path, scripted(0), UNITS, "exponential")
    # windows 0 to 5 end before sample 500; the first of them is settling, and no other is within one label
    assert [prediction.label for prediction in result.windows] == ["WALKING"] * 6 + [None] * 4
    assert result.agreement is not None
    assert vars(result.agreement) == {"windows": 5, "single": 1.0, "smoothed": 1.0}
    assert result.notes == ("labels that the model does not know were left out: YOGA",)
    wrong = predict(path, scripted(4), UNITS, "exponential")
    assert wrong.agreement is not None
    assert wrong.agreement.single == 0.0
    labels = [f"{k // 7:03d}" + "Y" * 5000 for k in range(len(TIMES))]
    path = written(tmp_path / "many.csv", plain(TIMES, *walking(TIMES), labels=labels))
    (note,) = predict(path, scripted(0), UNITS, "exponential").notes
    assert len(note) < 3000


def test_a_gap_restarts_the_filters_with_a_note(tmp_path: Path) -> None:
    times = np.delete(regular(20.0, 50), range(450, 480))
    result = predict(written(tmp_path / "walk.csv", plain(times, *walking(times))), scripted(0), UNITS, "exponential")
    assert result.restarts == ((9.6, "no accelerometer for 0.62 s"),)
    assert [prediction.doubt for prediction in result.windows] == (["settling"] + [None] * 5) + ["settling"] + [
        None
    ] * 6
    assert len(result.segments) == 2
    assert "At 0:10 the filters restart: no accelerometer for 0.62 s." in format_notes(result)


def test_windows_of_a_slow_sensor_are_flagged(tmp_path: Path) -> None:
    """50 Hz on the whole, but 10 Hz for a while: no gap is long enough to restart, yet it is interpolation."""
    every = regular(60.0, 50)
    slow = (every > 15 * SECOND) & (every < 19 * SECOND) & (np.arange(len(every)) % 5 > 0)
    times = every[~slow]
    result = predict(written(tmp_path / "walk.csv", plain(times, *walking(times))), scripted(0), UNITS, "exponential")
    assert result.restarts == ()
    doubtful = [prediction for prediction in result.windows if prediction.doubt == "sparse"]
    assert doubtful
    for prediction in result.windows:
        inside = min(prediction.end_s, 19) - max(prediction.start_s, 15)
        assert (prediction.doubt == "sparse") == (inside > 0.33), prediction  # a tenth of 2.56 s, at four fifths lost
    assert len(result.segments) == 2


def test_other_orientations_are_noted(tmp_path: Path) -> None:
    acc, gyro = walking(TIMES)
    path = written(tmp_path / "walk.csv", plain(TIMES, acc[:, [1, 0, 2]], gyro[:, [1, 0, 2]]))
    assert any("worn differently" in note for note in predict(path, scripted(0), UNITS, "none").notes)
    right = predict(written(tmp_path / "right.csv", WALK), scripted(0), UNITS, "none")
    assert right.notes == ()


def test_a_model_of_acceleration_alone_needs_no_gyroscope(tmp_path: Path) -> None:
    channels = tuple(f"{kind}_acc_{axis}" for kind in ("body", "total") for axis in "xyz")
    contract = Contract(channels=channels, units=("g",) * 6)
    text = "timestamp_s,acc_x,acc_y,acc_z\n" + "".join(
        rows([t / SECOND, *a]) for t, a in zip(TIMES.tolist(), walking(TIMES)[0], strict=True)
    )
    result = predict(written(tmp_path / "walk.csv", text), scripted(1, contract=contract), UNITS, "none")
    assert len(result.windows) == WINDOWS
    assert set(result.source.units) == {ACC}
    live = predict_stream(text.encode().splitlines(keepends=True), scripted(1, contract=contract), UNITS, "none")
    assert sum(isinstance(event, WindowPrediction) for event in live) == WINDOWS


def _track(times: Times, values: np.ndarray, unit: str | None) -> SensorTrack:
    return SensorTrack(times, values, unit, "here")


def test_stated_units_replace_those_of_the_header() -> None:
    acc, gyro = resting(TIMES)
    tracks = {ACC: _track(TIMES, acc, None), GYRO: _track(TIMES, gyro, "rad/s")}
    assert resolve_sensors(tracks, CONTRACT, Units(gyro="deg/s"), "here").units == {ACC: "g", GYRO: "deg/s"}
    assert resolve_sensors(tracks, CONTRACT, UNITS, "here").units == {ACC: "g", GYRO: "rad/s"}


def test_times_are_exact_to_the_nanosecond() -> None:
    epoch = 1_718_030_736_872_695_301
    session = Session(scripted(0), SensorInfo({}, {}, {}), "none", epoch)
    acc, gyro = walking(TIMES)
    out = []
    for t, a, g in zip((TIMES + epoch).tolist(), acc.tolist(), gyro.tolist(), strict=True):
        out += session.push(ACC, t, tuple(a)) + session.push(GYRO, t, tuple(g))
    predictions = [event for event in out if isinstance(event, WindowPrediction)]
    assert predictions[0].time_ns == epoch + 127 * 20_000_000
    assert predictions[0].end_s == pytest.approx(2.54, abs=1e-9)


def test_report_in_the_terminal(tmp_path: Path) -> None:
    times = regular(90.0, 50)
    path = written(tmp_path / "walk.csv", plain(times, *walking(times)))
    picture = tmp_path / "there" / "timeline.png"
    result = harexport(path, "--picture", picture, "--mount", "as-is")
    assert result.exit_code == 0, result.stderr
    assert "walk.csv  1:30 of plain layout, accelerometer 50.0 Hz, gyroscope 50.0 Hz" in result.stdout
    assert "from" in result.stdout
    assert "predictions are unreliable: 1 window." in " ".join(result.stdout.split())
    assert f"Picture: {picture}" in result.stdout.replace("\n", " ") or str(picture.name) in result.stdout
    assert picture.stat().st_size > 5_000
    nothing = harexport(path, "--no-picture", "--out", tmp_path / "none")
    assert nothing.exit_code == 0
    assert "Picture" not in nothing.stdout
    assert not (tmp_path / "none").exists()


def test_colors_and_durations() -> None:
    assert len({label_color(LABELS, label) for label in (*LABELS, None)}) == 7
    assert [format_duration(s) for s in (0, 59.6, 83.4, 3723)] == ["0:00", "1:00", "1:23", "1:02:03"]


def test_the_prediction_is_plain_json(tmp_path: Path) -> None:
    result: Prediction = predict(written(tmp_path / "walk.csv", WALK), scripted(0), UNITS, "none")
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False)) == result.to_dict()
