"""Perturbations have the stated effect, and the accuracy under each is computed for the right windows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.data import Dataset
from harexport.data.dataset import Windows
from harexport.errors import InputError
from harexport.exporters import onnx
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import CHANNELS, Contract, FilterChain
from harexport.preprocessing.filters import preprocess
from harexport.robustness import evaluate as robust
from harexport.robustness import perturbations as perturb
from harexport.robustness import report
from harexport.robustness.evaluate import Robustness
from harexport.robustness.perturbations import PerturbationInput
from tests.helpers.networks import random_network

GROUPS = ("tilt", "turn", "orientation", "noise", "lost", "clock", "gain")
_EDGE = Path(__file__).resolve().parents[2] / "artifacts" / "edge" / "edge.safetensors"


@pytest.fixture(scope="module")
def scene(dataset: Dataset) -> PerturbationInput:
    """Test windows of every label, in runs long enough to be chained."""
    return PerturbationInput.from_windows(_part(dataset.test, slice(0, 400)), dataset.contract)


@pytest.fixture(scope="module")
def few(dataset: Dataset) -> Dataset:
    """Windows of every label and several subjects, too few to take long."""
    return dataclasses.replace(dataset, test=_part(dataset.test, slice(7, None, 20)))


@pytest.fixture(scope="module")
def of_edge(few: Dataset) -> Robustness:
    return robust.evaluate_robustness(robust.load_models([_EDGE]), few)


def _part(windows: Windows, of: slice) -> Windows:
    parts = {name: getattr(windows, name)[of] for name in ("signals", "labels", "subjects")}
    return dataclasses.replace(windows, **parts)


def _zeros(count: int, contract: Contract | None = None) -> PerturbationInput:
    contract = contract or Contract()
    signals = np.zeros((count, contract.window, len(contract.channels)), np.float32)
    windows = Windows(signals, np.zeros(count, np.int64), np.ones(count, np.int64))
    return PerturbationInput.from_windows(windows, contract)


def _recording(turn: np.ndarray | None = None, gain: np.ndarray | None = None, median: int = 3) -> np.ndarray:
    """Ten seconds of a phone on its side that moves, through the official chain."""
    random, seconds = np.random.default_rng(5), np.arange(512) / 50
    waves = [np.sin(2 * np.pi * random.uniform(0.5, 15) * seconds + k) for k in range(6)]
    raw = np.stack(waves, axis=1) * 0.3 + random.normal(0, 0.05, (512, 6)) + np.array([0.9, 0.2, 0.3, 0, 0, 0])
    if turn is not None:
        raw = np.concatenate([raw[:, :3] @ turn.T, raw[:, 3:] @ turn.T], axis=1)
    if gain is not None:
        raw = raw * gain
    return preprocess(raw[:, :3], raw[:, 3:], FilterChain(median=median), 50.0)


def test_rotations_keep_lengths_and_tilt_by_their_angle(scene: PerturbationInput) -> None:
    signals = scene.windows.signals
    for degrees in perturb.TILTS_DEG:
        tilted = perturb.tilt(scene, degrees, draw=3)
        for vector in scene.vectors:
            before, after = (np.linalg.norm(x[:, :, vector.index], axis=2) for x in (signals, tilted))
            np.testing.assert_allclose(before, after, atol=1e-5)
        assert scene.up is not None
        leaning = PerturbationInput.from_windows(dataclasses.replace(scene.windows, signals=tilted), scene.contract).up
        assert leaning is not None
        np.testing.assert_allclose(np.degrees(np.arccos((scene.up * leaning).sum(axis=1))), degrees, atol=0.01)
    assert np.abs(perturb.tilt(scene, 0, draw=3) - signals).max() < 1e-6
    assert np.abs(perturb.tilt(scene, 20, draw=0) - perturb.tilt(scene, 20, draw=1)).max() > 0.1
    np.testing.assert_array_equal(perturb.tilt(scene, 20, draw=0), perturb.tilt(scene, 20, draw=0))


def test_turns_permute_axes_and_signs_and_reach_all_six_sides(scene: PerturbationInput) -> None:
    turns = dict(perturb.side_rotations(scene))
    assert len(turns) == 9
    assert {name.split("(")[1] for name in turns} == {f"{side} up)" for side in ("x", "-x", "y", "-y", "z", "-z")}
    signals = scene.windows.signals
    for turn in turns.values():
        turned = perturb.rotate(signals, scene.vectors, turn)
        assert np.linalg.det(turn) == pytest.approx(1)
        np.testing.assert_array_equal(np.sort(np.abs(turned[:, :, :3]), axis=2), np.sort(np.abs(signals[:, :, :3]), 2))
    about_z = perturb.rotate(signals, scene.vectors, turns["turned 90° about z (y up)"])
    np.testing.assert_array_equal(about_z[:, :, 7], signals[:, :, 6])  # what was along x is along y
    np.testing.assert_array_equal(about_z[:, :, 3], -signals[:, :, 4])


def test_rotation_commutes_with_the_filters() -> None:
    """Rotations and gain errors commute with the filters, tilts except for the median filter."""
    found, as_it_was = perturb.find_vectors(Contract()), _recording()[None].astype(np.float32)
    quarter = np.rint(perturb.rotation_matrix(np.array([0.0, 1.0, 0.0]), 90))
    np.testing.assert_allclose(perturb.rotate(as_it_was, found, quarter)[0], _recording(quarter), atol=1e-6)
    lean = perturb.rotation_matrix(np.array([0.0, 0.6, 0.8]), 20)
    unsorted = _recording(median=1)[None].astype(np.float32)
    np.testing.assert_allclose(perturb.rotate(unsorted, found, lean)[0], _recording(lean, median=1), atol=1e-6)
    gain = np.array([1.03, 0.97, 1.03, 0.97, 0.97, 1.03])
    expected = as_it_was[0] * np.concatenate([gain, gain[:3]])
    np.testing.assert_allclose(expected, _recording(gain=gain), atol=1e-6)


def test_noise_passes_the_filters() -> None:
    still = _zeros(200)
    added = perturb.add_noise(still, 10, draw=2)
    seeds = [[2, *b"acceleration"], [2, *b"rotation"]]
    raw = [np.random.default_rng(seed).normal(size=(200, 256, 3)) for seed in seeds]
    acc, gyro = raw[0] * 10e-3, raw[1] * 10 * perturb.DPS_PER_MG * np.pi / 180
    for k in (0, 117):
        passed = preprocess(acc[k], gyro[k], FilterChain(median=1), 50.0)
        np.testing.assert_allclose(added[k], passed[128:], atol=1e-6)
    rms = added.std(axis=(0, 1))
    assert rms[6:] == pytest.approx(10e-3 * np.sqrt(20 / 25), rel=0.03)  # 20 of the 25 Hz pass
    np.testing.assert_allclose(perturb.add_noise(still, 20, draw=2), 2 * added, atol=1e-7)
    metres = dataclasses.replace(Contract(), units=("m/s2",) * 3 + ("deg/s",) * 3 + ("m/s2",) * 3)
    factor = np.array([9.80665] * 3 + [180 / np.pi] * 3 + [9.80665] * 3)
    np.testing.assert_allclose(perturb.add_noise(_zeros(200, metres), 10, draw=2), added * factor, atol=1e-5)


def test_lost_samples_are_interpolated_linearly(scene: PerturbationInput) -> None:
    signals = scene.windows.signals
    gyro = dataclasses.replace(Contract(), channels=CHANNELS[3:6], units=("rad/s",) * 3)
    bridged = perturb.drop_samples(scene, 0.05, draw=1)
    np.testing.assert_array_equal(perturb.drop_samples(scene, 0.0, draw=1), signals)
    touched = bridged != signals
    assert touched[:, :, 0].mean() == pytest.approx(0.05 * 126 / 128, rel=0.1)
    assert not touched[:, [0, -1]].any()
    np.testing.assert_array_equal(touched[:, :, 0].any(axis=1), touched[:, :, 6].any(axis=1))  # one sensor
    assert (touched[:, :, 0] & touched[:, :, 3]).mean() < 0.01  # two sensors
    alone = PerturbationInput.from_windows(scene.windows.select_channels([3, 4, 5]), gyro)
    np.testing.assert_array_equal(perturb.drop_samples(alone, 0.05, draw=1), bridged[:, :, 3:6])
    single = touched[:, 1:-1, 0] & ~touched[:, :-2, 0] & ~touched[:, 2:, 0]
    middle = (signals[:, :-2, 0] + signals[:, 2:, 0]) / 2
    np.testing.assert_allclose(bridged[:, 1:-1, 0][single], middle[single], atol=1e-6)
    ramp = np.broadcast_to(np.arange(128, dtype=np.float32)[None, :, None], signals.shape)
    straight = dataclasses.replace(scene, windows=dataclasses.replace(scene.windows, signals=ramp))
    np.testing.assert_allclose(perturb.drop_samples(straight, 0.3, draw=1), ramp, atol=1e-5)


def test_a_drift_of_0_is_the_identity(scene: PerturbationInput) -> None:
    same, kept = perturb.clock_drift(scene, 0.0)
    np.testing.assert_array_equal(kept, np.arange(400))
    np.testing.assert_allclose(same, scene.windows.signals, atol=1e-6)
    lone = dataclasses.replace(scene.windows, signals=scene.windows.signals[::2], labels=np.zeros(200, np.int64))
    lone = PerturbationInput.from_windows(dataclasses.replace(lone, subjects=np.ones(200, np.int64)), scene.contract)
    assert (lone.segments.length == 128).all()
    assert len(perturb.clock_drift(lone, -0.02)[1]) == 0  # 129.6 samples are not there
    assert len(perturb.clock_drift(lone, 0.02)[1]) == 200
    low, high = scene.windows.signals.min(), scene.windows.signals.max()
    slow, _ = perturb.clock_drift(scene, -0.02)
    assert slow.min() > low - 0.5
    assert slow.max() < high + 0.5


def test_a_fast_clock_gives_slower_waves() -> None:
    at = np.arange(3)[:, None] * 64 + np.arange(128)
    wave = np.sin(2 * np.pi * 2.0 * at / 50)[:, :, None].repeat(9, axis=2).astype(np.float32)
    scene = PerturbationInput.from_windows(Windows(wave, np.zeros(3, np.int64), np.ones(3, np.int64)), Contract())
    for share in (-0.02, 0.02):
        made, kept = perturb.clock_drift(scene, share)
        begin = np.clip(kept * 64 + 63.5 - 63.5 / (1 + share), 0, 255 - 127 / (1 + share))
        expected = np.sin(2 * np.pi * 2.0 * (begin[:, None] + np.arange(128) / (1 + share)) / 50)
        np.testing.assert_allclose(made[:, :, 4], expected, atol=1e-3)


def test_gain_errors_have_one_size_on_every_axis_of_a_sensor(scene: PerturbationInput) -> None:
    signals = np.ones_like(scene.windows.signals)
    ones = dataclasses.replace(scene, windows=dataclasses.replace(scene.windows, signals=signals))
    seen = set()
    for draw in range(perturb.DRAWS):
        factors = perturb.scale_gain(ones, 0.03, draw)[0, 0]
        np.testing.assert_allclose(np.abs(factors - 1), 0.03, atol=1e-6)
        np.testing.assert_array_equal(factors[:3], factors[6:])  # body and total are of one sensor
        seen.add(tuple(factors))
    assert len(seen) > 5


@pytest.mark.parametrize(
    ("channels", "units", "groups"),
    [
        (CHANNELS[:3] + CHANNELS[6:], ("g",) * 6, GROUPS),
        (("acc_x", "acc_y", "acc_z"), ("m/s2",) * 3, GROUPS),
        (CHANNELS[3:6], ("rad/s",) * 3, ("turn", "orientation", "noise", "lost", "clock", "gain")),
        (("mag_x", "mag_y", "mag_z"), ("uT",) * 3, ("turn", "orientation", "lost", "clock", "gain")),
        (("acc_x", "acc_y", "pressure"), ("g", "g", "hPa"), ("lost", "clock")),
    ],
)
def test_only_what_the_channels_allow(
    channels: tuple[str, ...], units: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    contract = dataclasses.replace(Contract(), channels=channels, units=units, window=60, hop=30, rate_hz=25.0)
    signals = np.random.default_rng(0).normal(0, 0.05, (20, 60, len(channels))).astype(np.float32)
    signals[:, :, 0] += 9.81 if units[0] == "m/s2" else 0.98 if units[-1] == "g" else 0.0
    windows = Windows(signals, np.zeros(20, np.int64), np.ones(20, np.int64), hop=30)
    conditions = perturb.perturbations(PerturbationInput.from_windows(windows, contract))
    assert tuple(dict.fromkeys(one.group for one in conditions)) == groups
    for one in conditions:
        made, kept = one.make(0)
        assert made.shape == (len(kept), 60, len(channels))
        assert made.dtype == np.float32
        assert np.isfinite(made).all()


def test_every_model_runs_on_the_same_perturbed_windows(of_edge: Robustness, few: Dataset) -> None:
    (edge,) = of_edge.models
    expected = checkpoints.load(_EDGE).network.logits(few.test.signals).argmax(axis=1) == few.test.labels
    assert edge.figures.accuracy == expected.mean() < 1
    assert {int(subject): share.accuracy for subject, share in edge.subjects.items()} == {
        int(subject): expected[few.test.subjects == subject].mean() for subject in np.unique(few.test.subjects)
    }
    assert tuple(dict.fromkeys(one.group for one in edge.outcomes)) == GROUPS
    for one in edge.outcomes:
        assert one.worst <= one.mean <= 1
        assert one.windows + one.left_out == len(few.test)
        if not one.left_out:
            counts = np.bincount(few.test.labels, minlength=6) / len(few.test)
            assert np.dot(np.array(one.label_recall, float), counts) == pytest.approx(one.mean)
            assert one.before == edge.figures.accuracy
    upside_down = edge.outcome("turned 180° about z (-x up)")
    assert upside_down is not None
    assert upside_down.mean < 0.5 < edge.figures.accuracy  # on these windows


def test_windows_that_cannot_be_perturbed_are_reported(of_edge: Robustness) -> None:
    """Every twentieth window alone: no neighbor to go on with."""
    (edge,) = of_edge.models
    slow = edge.outcome("clock 2 % too slow")
    assert slow is not None
    assert (slow.windows, slow.left_out) == (0, edge.figures.windows)
    assert "clock 2 % too slow: 147 of 147 windows are left out" in report.format_robustness(of_edge)


def test_the_tables_and_the_json_agree(of_edge: Robustness) -> None:
    plain = json.loads(json.dumps(of_edge.to_dict()))
    assert Robustness.from_dict(plain) == of_edge
    (edge,) = of_edge.models
    rows = dict(row for row in report.condition_rows(of_edge))
    noise = edge.outcome("noise of 20 mg")
    assert noise is not None
    assert rows["noise of 20 mg"] == f"{noise.mean:.1%} ({noise.worst:.1%})"
    assert rows["clock 2 % too slow"] == "-"
    assert dict(report.label_rows(of_edge))["Laying"] == f"{edge.figures.label_recall[5]:.1%}"
    assert dict(report.subject_rows(of_edge))["2"] == f"{edge.subjects['2'].accuracy:.1%}"
    assert report.format_markdown(of_edge).count("|---|---:|") == 3


def test_models_of_different_channels_and_files_of_a_checkpoint(tmp_path: Path, few: Dataset) -> None:
    recipe = recipes.load("edge")
    for name, channels in (("gyro", CHANNELS[3:6]), ("all", CHANNELS)):
        network = random_network(frame=16, hop=16, units=8, hidden=(8,), relu=True, channels=len(channels))
        contract = few.select_channels(channels).contract
        checkpoints.save(Checkpoint(network, contract, recipe, seed=0), tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.onnx").write_bytes(onnx.build(network, contract, {"scheme": "float32"}))
    result = robust.evaluate_robustness(
        robust.load_models([tmp_path, tmp_path / "gyro.onnx", tmp_path / "all.onnx"]), few
    )
    by_name = {model.name: model for model in result.models}
    assert list(by_name) == ["all", "gyro", "gyro.onnx", "all.onnx"]
    assert by_name["all"].outcomes == by_name["all.onnx"].outcomes
    assert by_name["gyro"].outcomes == by_name["gyro.onnx"].outcomes
    assert by_name["gyro.onnx"].runtime == "ONNX Runtime"
    rows = {row[0]: row[1:] for row in report.condition_rows(result)}
    assert rows["tilted by 10°"][1] == "-"  # a gyroscope does not measure gravity
    assert rows["tilted by 10°"][0] != "-"


def test_a_model_with_a_mount_stage_keeps_its_accuracy_in_any_orientation(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("orientation", "turn")
    monkeypatch.setattr(perturb, "ORIENTATIONS", 4)
    monkeypatch.setattr(
        robust, "perturbations", lambda source: [one for one in perturb.perturbations(source) if one.group in kinds]
    )
    subjects = dataclasses.replace(dataset, test=dataset.test.select_subjects((2, 4)))
    mounted = _EDGE.parents[1] / "edge-any-mount" / "edge-any-mount.safetensors"
    result = robust.evaluate_robustness(robust.load_models([_EDGE, mounted]), subjects)
    edge, any_mount = result.models
    assert len(edge.outcomes) == len(any_mount.outcomes) == 10
    turned = edge.outcome("any orientation")
    assert turned is not None
    assert turned.draws == 4
    assert turned.worst < 0.5
    assert any_mount.figures.accuracy > 0.9
    for outcome in any_mount.outcomes:
        assert outcome.worst > any_mount.figures.accuracy - 0.03


def test_random_rotations_are_rotations_and_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturb, "ORIENTATIONS", 4000)
    turns = perturb.random_rotations()
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    np.testing.assert_allclose(turns.mean(axis=0), 0, atol=0.04)  # each axis points anywhere
    np.testing.assert_allclose((turns**2).mean(axis=0), 1 / 3, atol=0.03)


def _harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["robustness", *(str(argument) for argument in arguments)])


def test_the_command(tmp_path: Path, of_edge: Robustness, few: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harexport.commands.robustness.load_data", lambda path: few)
    monkeypatch.setattr(robust, "evaluate_robustness", lambda models, dataset: of_edge)
    result = _harexport(_EDGE, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["models"] == json.loads(json.dumps(of_edge.to_dict()))["models"]
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")
    assert Path(found["table"]).read_text("utf-8") == report.format_markdown(of_edge)
    assert "tilted by 30°" in _harexport(_EDGE, "--out", tmp_path / "out").stdout

    def fail(*_: object) -> None:
        raise InputError("could not write robustness.md: No space left on device")

    monkeypatch.setattr("harexport.utils.files.write_text", fail)
    unwritten = _harexport(_EDGE, "--out", tmp_path / "out", "--json")
    assert unwritten.exit_code == 2
    assert json.loads(unwritten.stdout) == found
    assert "Error: could not write robustness.md" in unwritten.stderr


def test_invalid_models_raise(tmp_path: Path, few: Dataset) -> None:
    assert "not found: nowhere" in _harexport("nowhere").stderr
    empty = _harexport("--out", tmp_path)
    assert empty.exit_code == 2
    assert "no checkpoint in" in empty.stderr
    (tmp_path / "edge.safetensors").write_bytes(_EDGE.read_bytes()[:999])
    assert "not a complete safetensors file" in _harexport(tmp_path).stderr
    edge = robust.load_models([_EDGE])
    words = dataclasses.replace(few.contract, labels=("A", "B", "C", "D", "E", "F"))
    with pytest.raises(InputError, match="does not fit the data"):
        robust.evaluate_robustness(edge, dataclasses.replace(few, contract=words))
    none = dataclasses.replace(few, test=_part(few.test, slice(0, 0)))
    with pytest.raises(InputError, match="no test windows"):
        robust.evaluate_robustness(edge, none)


def test_nan_outputs_have_no_accuracy(dataset: Dataset) -> None:
    class Broken:
        runtime = "none"

        def logits(self, windows: np.ndarray) -> np.ndarray:
            return np.full((len(windows), 6), np.nan)

    broken = SimpleNamespace(name="broken.onnx", runner=Broken(), contract=dataset.contract)
    small = dataclasses.replace(dataset, test=_part(dataset.test, slice(0, 40)))
    with pytest.raises(InputError, match=r"broken\.onnx: its outputs .* NaN"):
        robust.evaluate_robustness({"broken": broken}, small)  # type: ignore[dict-item]
