"""Tests of the mount stage: the rotation, both estimators, and the rotation of a running stream."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.filters import preprocess
from harexport.preprocessing.mount import (
    AS_IS,
    Mount,
    StandingMountEstimator,
    angle_deg,
    estimate_from_standing,
    robust_direction,
)
from harexport.preprocessing.mount_estimator import (
    CHANGED,
    ESTIMATED,
    UNKNOWN,
    WalkingMountEstimator,
    estimate_segments,
    gait_features,
    refine_by_standing,
)
from harexport.preprocessing.stream import ACC, GYRO, Stream, Window
from tests.preprocessing.motion import SECOND, Floats, regular, walking

RATE, WINDOW, HOP_S = 50.0, 128, 1.28
DOWN = (0.3, -0.9, 0.33)


def rotation(seed: int) -> Mount:
    """A random rotation that is no shortest one."""
    rng = np.random.default_rng(seed)
    first, second = (Mount.from_gravity(rng.normal(size=3).tolist()) for _ in range(2))
    return first.compose(second.inverse)


def level_walk(seconds: float, gravity: tuple[float, ...] = (1.0, 0.0, 0.0), seed: int = 0) -> Floats:
    """Acceleration [n, 3] in g of level walking, two steps of 0.55 s a stride, with gravity in this direction."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    step = 2 * math.pi * t / 0.55
    vertical = (
        0.22 * np.sin(step) + 0.17 * np.sin(2 * step + 0.8) + 0.1 * np.sin(3 * step + 2) + 0.05 * np.sin(step / 2)
    )
    sway = 0.15 * np.sin(step / 2 + 1.0)
    forward = 0.18 * np.sin(step + 0.5)
    signal = np.stack([1.0 + vertical, sway, forward], axis=1) + 0.01 * rng.normal(size=(len(t), 3))
    return Mount.from_gravity(gravity).inverse.rotate_signal(signal)


def still(seconds: float, gravity: tuple[float, ...], seed: int = 0) -> Floats:
    """Acceleration [n, 3] in g without movement."""
    noise = 0.004 * np.random.default_rng(seed).normal(size=(round(seconds * RATE), 3))
    return np.array(gravity) / math.sqrt(sum(g * g for g in gravity)) + noise


def windows(signal: Floats) -> list[Floats]:
    return [signal[k : k + WINDOW] for k in range(0, len(signal) - WINDOW + 1, 64)]


def push_all(estimator: WalkingMountEstimator, signal: Floats) -> list[str]:
    states = []
    for window in windows(signal):
        estimator.push(window)
        states.append(estimator.state)
    return states


@given(st.tuples(*[st.floats(-3, 3)] * 3).filter(lambda g: math.hypot(*g) > 1e-3))
def test_mount_rotates_gravity_to_x(gravity: tuple[float, float, float]) -> None:
    mount = Mount.from_gravity(gravity)
    length = math.hypot(*gravity)
    np.testing.assert_allclose(mount.rotate(gravity), (length, 0, 0), atol=0.05 * length)  # half a turn near -x
    matrix = np.array(mount.matrix)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    if gravity[0] / length > -0.998:
        np.testing.assert_allclose(mount.rotate(gravity), (length, 0, 0), atol=1e-9)
        assert math.degrees(math.acos((np.trace(matrix) - 1) / 2 - 1e-12)) == pytest.approx(mount.tilt_deg, abs=1e-3)


def test_upside_down_is_half_a_turn() -> None:
    mount = Mount.from_gravity((-1.0, 0.0, 0.0))
    assert mount.rotate((-1.0, 0.0, 0.0)) == (1.0, 0.0, 0.0)
    assert mount.tilt_deg == 180.0


def test_mount_rotates_every_vector_of_a_sample() -> None:
    mount = rotation(1)
    sample = (0.1, -0.2, 0.9, 1.0, 2.0, 3.0)
    expected = [*(np.array(mount.matrix) @ sample[:3]), *(np.array(mount.matrix) @ sample[3:])]
    np.testing.assert_allclose(mount.rotate(sample), expected, atol=1e-15)
    np.testing.assert_allclose(mount.rotate_signal(np.array([sample, sample])), [expected, expected], atol=1e-15)
    np.testing.assert_allclose(mount.compose(mount.inverse).matrix, AS_IS.matrix, atol=1e-15)


@pytest.mark.parametrize("gravity", [(0.0, 0.0, 0.0), (math.nan, 0.0, 1.0), (math.inf, 0.0, 0.0)])
def test_gravity_without_direction_is_an_input_error(gravity: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="gravity has no direction"):
        Mount.from_gravity(gravity)


@pytest.mark.parametrize("seed", range(5))
def test_gait_features_do_not_depend_on_the_orientation(seed: int) -> None:
    signal = level_walk(2.56)
    plain, rotated = gait_features(signal, RATE), gait_features(rotation(seed).rotate_signal(signal), RATE)
    assert plain.is_gait
    assert plain.level_weight > 0.5
    for name in ("gravity_g", "vertical_g", "turn_deg", "stride", "period_s", "roughness", "level_weight"):
        assert getattr(rotated, name) == pytest.approx(getattr(plain, name), abs=1e-9), name


@pytest.mark.parametrize("seed", range(5))
def test_level_walking_gives_the_mount_within_15_seconds(seed: int) -> None:
    mount = rotation(seed)
    gravity = mount.rotate((1.0, 0.0, 0.0))
    estimator = WalkingMountEstimator(RATE, HOP_S)
    states = push_all(estimator, mount.rotate_signal(level_walk(15.0)))
    assert states[0] == UNKNOWN
    assert states[-1] == ESTIMATED
    assert estimator.estimate is not None
    assert angle_deg(estimator.estimate.gravity, gravity) < 1.0
    assert estimator.estimate.spread_deg < 2.0
    assert 3.0 < estimator.estimate.seconds <= 15.0
    assert "degrees from the vertical" in estimator.describe()


def test_person_who_never_walks_gets_no_estimate() -> None:
    estimator = WalkingMountEstimator(RATE, HOP_S)
    assert set(push_all(estimator, still(60.0, DOWN))) == {UNKNOWN}
    estimator.check_signal()
    assert estimator.estimate is None
    assert "no walking was found" in estimator.describe()
    push_all(estimator, level_walk(2.6))
    assert "too little level walking" in estimator.describe()


def test_change_of_the_mounting_is_detected_within_15_seconds_of_walking() -> None:
    estimator = WalkingMountEstimator(RATE, HOP_S)
    push_all(estimator, level_walk(30.0))
    states = push_all(estimator, level_walk(15.0, DOWN))
    assert states.count(CHANGED) == 1
    assert states[-1] == ESTIMATED
    assert estimator.estimate is not None
    assert angle_deg(estimator.estimate.gravity, DOWN) < 1.0


def test_lying_down_is_no_change_of_the_mounting() -> None:
    estimator = WalkingMountEstimator(RATE, HOP_S)
    states = push_all(estimator, np.concatenate([level_walk(30.0), still(60.0, (0.0, 0.0, 1.0)), level_walk(30.0)]))
    assert CHANGED not in states


def test_segments_of_a_recording_have_no_estimate_during_a_change() -> None:
    parts = estimate_segments(
        windows(np.concatenate([level_walk(30.0), still(20.0, (0.0, 1.0, 0.0)), level_walk(30.0, DOWN)])), RATE, HOP_S
    )
    assert len(parts) == 3
    first, between, last = parts
    assert (first.first, last.end) == (0, len(windows(np.zeros((4000, 3)))))
    assert (first.end, between.end) == (between.first, last.first)
    assert between.estimate is None
    assert first.estimate is not None
    assert last.estimate is not None
    assert angle_deg(first.estimate.gravity, (1, 0, 0)) < 1.0
    assert angle_deg(last.estimate.gravity, DOWN) < 1.0


def test_standing_refines_the_estimate() -> None:
    tilted = (math.cos(math.radians(12)), math.sin(math.radians(12)), 0.0)
    far = (math.cos(math.radians(40)), math.sin(math.radians(40)), 0.0)
    estimator = WalkingMountEstimator(RATE, HOP_S)
    push_all(estimator, level_walk(20.0))
    walking_only = estimator.estimate
    assert walking_only is not None
    for window in windows(still(20.0, far)):  # too far from walking: rather sitting
        estimator.push(window, standing_probability=0.9)
    for window in windows(still(20.0, tilted)):  # the model is not sure
        estimator.push(window, standing_probability=0.5)
    assert estimator.estimate == walking_only
    for window in windows(still(20.0, tilted)):
        estimator.push(window, standing_probability=0.9)
    assert estimator.estimate is not None
    assert angle_deg(estimator.estimate.gravity, tilted) < 0.5
    refined = refine_by_standing(walking_only, windows(still(20.0, tilted)), [0.9] * 14, RATE)
    np.testing.assert_allclose(refined.gravity, estimator.estimate.gravity, atol=1e-12)
    assert refine_by_standing(walking_only, windows(still(20.0, far)), [0.9] * 14, RATE) == walking_only


def test_no_estimate_if_the_model_predicts_no_walking() -> None:
    estimator = WalkingMountEstimator(RATE, HOP_S)
    for window in windows(level_walk(30.0)):
        estimator.push(window, walking_probability=0.0)
    assert estimator.estimate is None


def test_robust_direction_ignores_a_few_outliers() -> None:
    up, aside = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
    direction, spread_deg = robust_direction([(up, 1.0)] * 9 + [(aside, 1.0)])
    assert angle_deg(direction, up) < 1.5
    assert 20 < spread_deg < 35


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (np.tile([0.0, 0.0, 1.0], (640, 1)), "the acceleration is constant"),
        (np.random.default_rng(0).normal(0, 0.05, (640, 3)), "not about 1 g"),  # free fall, or linear acceleration
        (9.80665 * still(12.8, DOWN), "not about 1 g"),
        (
            np.stack([np.sin(np.arange(640) / 4), np.cos(np.arange(640) / 4), np.zeros(640)], axis=1),  # spinning
            "not about 1 g",
        ),
    ],
)
def test_signal_of_no_carried_phone_is_an_input_error(signal: Floats, words: str) -> None:
    with pytest.raises(InputError, match=words):
        estimate_segments(windows(signal), RATE, HOP_S)


def test_standing_interval_gives_the_mount() -> None:
    estimate = estimate_from_standing(still(2.0, DOWN), RATE)
    assert angle_deg(estimate.gravity, DOWN) < 0.2
    assert estimate.seconds == 2.0
    assert estimate.spread_deg < 1.0
    by_sample = StandingMountEstimator(RATE)
    for sample in still(2.0, DOWN).tolist():
        by_sample.push(sample)
    assert by_sample.estimate() == estimate


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (still(0.5, DOWN), "0.50 s of samples; at least 1 s"),
        (np.zeros((0, 3)), "0.00 s of samples"),
        (level_walk(3.0), "does not stand still"),
        (np.concatenate([still(1.0, DOWN), still(1.0, (0.0, 0.0, 1.0))]), "does not stand still|instead of 1 g"),
        (np.tile([0.0, 0.0, 1.0], (100, 1)), "constant"),
        (still(2.0, DOWN) * 9.80665, "9.81 g instead of 1 g"),
        (still(2.0, DOWN) * 0.01, "instead of 1 g"),
        (np.where(np.arange(100)[:, None] == 50, np.nan, still(2.0, DOWN)), "NaN or infinity"),
    ],
)
def test_interval_that_is_no_standing_is_an_input_error(signal: Floats, words: str) -> None:
    with pytest.raises(InputError, match=words):
        estimate_from_standing(signal, RATE)


def run(stream: Stream, acc: Floats, gyro: Floats, times: np.ndarray, first: int = 0) -> list[Window]:
    out = []
    for k in range(first, len(times)):
        for sensor, values in ((ACC, acc), (GYRO, gyro)):
            out += stream.push(sensor, int(times[k]), tuple(values[k].tolist()))
    return [event for event in out if isinstance(event, Window)]


def test_stream_with_a_mount_filters_rotated_samples() -> None:
    times = regular(8.0, 50.0)
    acc, gyro = walking(times)
    mount = rotation(3)
    expected = preprocess(mount.rotate_signal(acc), mount.rotate_signal(gyro), Contract().filters, 50.0, "steady")
    for k, window in enumerate(run(Stream(Contract(), mount=mount), acc, gyro, times)):
        np.testing.assert_allclose(window.array(), expected[64 * k : 64 * k + 128], rtol=0, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 300), st.integers(0, 99))
def test_rotation_of_a_running_stream_equals_one_from_the_start(when: int, seed: int) -> None:
    """Exactly so without the median, which is the only filter that is not linear."""
    contract = Contract()
    contract = Contract(filters=type(contract.filters)(median=1))
    times = regular(8.0, 50.0)
    acc, gyro = walking(times)
    mount = rotation(seed)
    stream = Stream(contract, mount=rotation(seed + 1))
    before = run(stream, acc[:when], gyro[:when], times[:when])
    stream.rotate_to(mount)
    later = run(stream, acc, gyro, times, when)
    expected = run(Stream(contract, mount=mount), acc, gyro, times)[len(before) :]
    assert [window.start_ns for window in later] == [window.start_ns for window in expected]
    for window, wanted in zip(later, expected, strict=True):
        np.testing.assert_allclose(window.array(), wanted.array(), rtol=0, atol=1e-10)


def test_stream_keeps_its_mount_over_a_gap() -> None:
    times = regular(4.0, 50.0)
    acc, gyro = walking(times)
    stream = Stream(Contract(), mount=rotation(3))
    first = run(stream, acc, gyro, times)
    second = run(stream, acc, gyro, times + 60 * SECOND)
    for window, again in zip(first, second, strict=False):
        assert window.signals == again.signals


def test_channels_that_are_no_whole_vectors_cannot_be_rotated() -> None:
    stream = Stream(Contract(channels=("total_acc_x", "total_acc_z"), units=("g", "g")))
    with pytest.raises(InputError, match="whole vectors"):
        stream.rotate_to(rotation(1))


def test_the_estimate_of_a_whole_recording_is_that_of_all_its_windows() -> None:
    """`estimate_segments` computes it only where it decides; `push` computes it after every window."""
    rng = np.random.default_rng(0)
    directions = [(1.0, 0.0, 0.0), (0.9, 0.4, 0.0), (0.8, 0.0, 0.5), DOWN, (0.2, -0.9, 0.4)]
    signal = np.concatenate([level_walk(float(rng.uniform(6, 40)), directions[k]) for k in rng.integers(0, 5, 30)])
    estimator = WalkingMountEstimator(RATE, HOP_S, keep=None)
    expected, before = [], None
    for window in windows(signal):
        estimate = estimator.push(window)
        if estimator.state == CHANGED:
            expected.append(before)
        before = estimate
    parts = [part.estimate for part in estimate_segments(windows(signal), RATE, HOP_S) if part.estimate is not None]
    assert len(parts) > 3
    assert parts == [*expected, estimator.estimate]
