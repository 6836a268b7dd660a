"""The sample-by-sample chain is the batch chain, however the samples arrive."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from harexport.errors import InputError
from harexport.model.contract import CHANNELS, Contract, FilterChain, Lowpass
from harexport.preprocessing.filters import design_sos, preprocess
from harexport.preprocessing.resampler import GAP_SECONDS, SENSOR_TIMEOUT_S, Resampler, Restart, averaging_length
from harexport.preprocessing.stream import (
    ACC,
    GYRO,
    SETTLING_SECONDS,
    MedianFilter,
    SosFilter,
    Stream,
    Window,
    required_sensors,
)
from tests.preprocessing.motion import SECOND, Floats, Times, regular, walking

CONTRACT = Contract()
GAP = GAP_SECONDS * SECOND
Samples = dict[str, tuple[Times, Floats]]


def recording(seconds: float = 6.0, rate_hz: float = 50.0) -> Samples:
    times = regular(seconds, rate_hz)
    acc, gyro = walking(times)
    return {ACC: (times, acc), GYRO: (times, gyro)}


def in_order(samples: Samples) -> list[tuple[str, int, tuple[float, ...]]]:
    """By time, as a phone without batches delivers."""
    every = [(int(t), rank, name, tuple(v)) for rank, (name, (ts, vs)) in enumerate(samples.items())
             for t, v in zip(ts, vs.tolist(), strict=True)]  # fmt: skip
    return [(name, t, v) for t, _, name, v in sorted(every)]


def run(stream: Stream, arrivals: list[tuple[str, int, tuple[float, ...]]]) -> list[Window | Restart]:
    out = [event for arrival in arrivals for event in stream.push(*arrival)]
    return out + stream.flush()


def windows_of(events: list[Window | Restart]) -> list[Window]:
    return [event for event in events if isinstance(event, Window)]


def batch_twin(samples: Samples, contract: Contract = CONTRACT) -> list[tuple[int, Floats]]:
    """Start times and signals: np.interp on the same grid, then the batch chain, for every stretch without a gap."""
    pieces = []
    for times, values in samples.values():
        cuts = np.flatnonzero(np.diff(times) > GAP) + 1
        pieces.append(list(zip(np.split(times, cuts), np.split(values, cuts), strict=True)))
    out = []
    for acc_times, acc in pieces[0]:
        for gyro_times, gyro in pieces[1]:
            start, end = max(acc_times[0], gyro_times[0]), min(acc_times[-1], gyro_times[-1])
            if start > end:
                continue
            grid = np.arange(start, end + 1, round(SECOND / contract.rate_hz))
            both = [
                np.stack([np.interp(grid - start, times - start, axis) for axis in values.T], axis=1)
                for times, values in ((acc_times, acc), (gyro_times, gyro))
            ]
            filtered = preprocess(both[0], both[1], contract.filters, contract.rate_hz, "steady")
            for k in range(0, len(grid) - contract.window + 1, contract.hop):
                out.append((int(grid[k]), filtered[k : k + contract.window]))
    return out


def assert_same(windows: list[Window], expected: list[tuple[int, Floats]]) -> None:
    assert [window.start_ns for window in windows] == [start for start, _ in expected]
    for window, (_, signals) in zip(windows, expected, strict=True):
        np.testing.assert_allclose(window.array(), signals, rtol=0, atol=1e-9)


@st.composite
def phones(draw: st.DrawFn) -> tuple[Samples, list[tuple[str, int, tuple[float, ...]]]]:
    """Two sensors with rates, phases, jitter, losses and gaps of their own, delivered in batches of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    epoch = draw(st.sampled_from([0, -5 * SECOND, 1_718_030_736_872_695_301]))
    samples: Samples = {}
    for rank, sensor in enumerate((ACC, GYRO)):
        rate = draw(st.sampled_from([48.0, 49.2, 50.0, 52.6, 97.0]))
        times = regular(7.0, rate, draw(st.floats(0, 0.3)))
        jitter = draw(st.sampled_from([0.0, 0.2, 0.45])) / rate * SECOND
        times = times + np.rint(rng.uniform(-jitter, jitter, len(times))).astype(np.int64)
        kept = rng.random(len(times)) > draw(st.sampled_from([0.0, 0.01, 0.05]))
        for _ in range(draw(st.integers(0, 2))):
            begin = rng.integers(0, len(times))
            kept[begin : begin + rng.integers(1, 60)] = False
        kept[rng.integers(0, len(times))] = True
        times = times[kept]
        samples[sensor] = (times + epoch, walking(times)[rank])
    queues = {name: list(zip(times.tolist(), map(tuple, values.tolist()), strict=True))
              for name, (times, values) in samples.items()}  # fmt: skip
    arrivals = []
    largest = draw(st.sampled_from([1, 7, 64, 1000]))
    while any(queues.values()):
        name = ACC if rng.random() < 0.5 else GYRO
        size = int(rng.integers(1, largest + 1))
        arrivals += [(name, t, v) for t, v in queues[name][:size]]
        del queues[name][:size]
    return samples, arrivals


@settings(max_examples=40, deadline=None)
@given(phones())
def test_windows_equal_the_batch_chain_for_any_chunks(
    phone: tuple[Samples, list[tuple[str, int, tuple[float, ...]]]],
) -> None:
    samples, arrivals = phone
    assert_same(windows_of(run(Stream(CONTRACT), arrivals)), batch_twin(samples))


def test_the_property_covers_gaps_and_restarts() -> None:
    """The twin finds windows, on both sides of a gap."""
    samples = recording(9.0)
    times, gyro = samples[GYRO]
    samples[GYRO] = (np.delete(times, range(200, 230)), np.delete(gyro, range(200, 230), axis=0))
    expected = batch_twin(samples)
    assert len(expected) == 2 + 2
    events = run(Stream(CONTRACT), in_order(samples))
    assert_same(windows_of(events), expected)
    (restart,) = [event for event in events if isinstance(event, Restart)]
    assert restart == Restart(230 * SECOND // 50, "no gyroscope for 0.62 s")


def test_even_times_give_the_same_numbers_as_the_batch_chain() -> None:
    samples = recording()
    expected = batch_twin(samples)
    windows = windows_of(run(Stream(CONTRACT), in_order(samples)))
    assert len(windows) == 3
    assert all(np.array_equal(window.array(), signals) for window, (_, signals) in zip(windows, expected, strict=True))


def test_a_window_is_complete_one_sample_after_its_last() -> None:
    stream = Stream(CONTRACT)
    for k, (sensor, time_ns, values) in enumerate(in_order(recording())):
        if stream.push(sensor, time_ns, values):
            assert (sensor, k // 2) == (GYRO, 128)  # sample 128 is the median's look-ahead for sample 127
            break
    else:
        pytest.fail("no window")


def test_units_are_converted() -> None:
    samples = recording()
    phone = {ACC: (samples[ACC][0], samples[ACC][1] * 9.80665), GYRO: (samples[GYRO][0], np.rad2deg(samples[GYRO][1]))}
    converted = run(Stream(CONTRACT, {ACC: "m/s2", GYRO: "deg/s"}), in_order(phone))
    assert_same(windows_of(converted), batch_twin(samples))
    with pytest.raises(InputError, match="choose one of g, m/s2"):
        Stream(CONTRACT, {ACC: "ft/s2"})


def test_unreadable_late_and_repeated_samples_have_no_effect() -> None:
    samples = recording()
    arrivals = in_order(samples)
    spoiled = []
    for k, (sensor, time_ns, values) in enumerate(arrivals):
        spoiled.append((sensor, time_ns, values))
        if k % 50 == 10:
            spoiled.append((sensor, time_ns, (9.0, 9.0, 9.0)))  # repeats
            spoiled.append((sensor, time_ns - 5_000_000, (9.0, 9.0, 9.0)))  # late
            for bad in (float("nan"), float("inf"), -float("inf"), 1e300):
                spoiled.append((sensor, time_ns + 1, (0.0, bad, 0.0)))
    stream = Stream(CONTRACT)
    events = run(stream, spoiled)
    assert events == run(Stream(CONTRACT), arrivals)
    times = len(arrivals) // 50
    assert {name: vars(dropped) for name, dropped in stream.dropped.items()} == {
        ACC: {"repeated": times, "late": times, "unreadable": 4 * times},
        GYRO: {"repeated": 0, "late": 0, "unreadable": 0},
    }


def test_a_clock_that_jumps_back_restarts_the_filters() -> None:
    samples = recording()
    later = {name: (times - 3600 * SECOND, values) for name, (times, values) in samples.items()}
    events = run(Stream(CONTRACT), in_order(samples) + in_order(later))
    assert [event.reason for event in events if isinstance(event, Restart)] == [
        "the accelerometer timestamps jumped backwards"
    ]
    assert_same(windows_of(events), batch_twin(samples) + batch_twin(later))


def test_a_silent_sensor_times_out() -> None:
    times = regular(2 * SENSOR_TIMEOUT_S, 50)
    acc, gyro = walking(times)
    samples: Samples = {ACC: (times, acc), GYRO: (times[:200], gyro[:200])}
    stream = Stream(CONTRACT)
    events = run(stream, in_order(samples))
    assert [event.reason for event in events if isinstance(event, Restart)] == ["no gyroscope for 10 s"]
    assert len(windows_of(events)) == 2
    back = run(stream, [(name, t + 60 * SECOND, v) for name, t, v in in_order(recording())])
    assert len(windows_of(back)) == 3


def test_filters_settle_before_windows_count() -> None:
    windows = windows_of(run(Stream(CONTRACT), in_order(recording(12.0))))
    assert [window.is_settled for window in windows] == [
        window.start_ns >= SETTLING_SECONDS * SECOND for window in windows
    ]
    assert windows[0].is_settled is False
    assert windows[-1].is_settled is True


def test_an_accelerometer_suffices_for_a_contract_without_a_gyroscope() -> None:
    chosen = ("total_acc_z", "body_acc_x", "total_acc_x")
    contract = dataclasses.replace(CONTRACT, channels=chosen, units=("g",) * 3)
    assert required_sensors(contract) == (ACC,)
    samples = recording()
    windows = windows_of(run(Stream(contract), in_order(samples)))
    every = batch_twin(samples)
    picks = [CHANNELS.index(name) for name in chosen]
    assert_same(windows, [(start, signals[:, picks]) for start, signals in every])


@pytest.mark.parametrize(
    ("channels", "units", "message"),
    [
        (("heart_rate",), ("bpm",), "'heart_rate', which is not supported"),
        (("body_acc_w",), ("g",), "'body_acc_w'"),
        (("total_gyro_x",), ("rad/s",), "'total_gyro_x'"),
        (("body_acc_x",), ("m/s2",), "body_acc_x in m/s2; only g is supported"),
    ],
)
def test_unsupported_channels_are_refused(channels: tuple[str], units: tuple[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stream(dataclasses.replace(CONTRACT, channels=channels, units=units))


@pytest.mark.parametrize(("window", "hop", "rate"), [(128, 1, 50.0), (16, 40, 50.0), (30, 30, 20.0), (64, 16, 31.25)])
@pytest.mark.parametrize("median", [1, 5])
def test_other_contracts(window: int, hop: int, rate: float, median: int) -> None:
    filters = FilterChain(median, Lowpass(3, 9.0), Lowpass(2, 0.5), Lowpass(1, 0.2))
    contract = dataclasses.replace(CONTRACT, window=window, hop=hop, rate_hz=rate, filters=filters)
    samples = recording(4.0)
    expected = batch_twin(samples, contract)
    assert expected
    assert_same(windows_of(run(Stream(contract), in_order(samples))), expected)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_short_recordings_end_as_the_batch_chain_ends_them(n: int) -> None:
    contract = dataclasses.replace(CONTRACT, window=1, hop=1, filters=dataclasses.replace(FilterChain(), median=5))
    samples = recording(n / 50)
    expected = batch_twin(samples, contract)
    assert len(expected) == n
    assert_same(windows_of(run(Stream(contract), in_order(samples))), expected)


def test_a_stream_can_continue_after_its_end() -> None:
    stream, arrivals = Stream(CONTRACT), in_order(recording())
    first = run(stream, arrivals)
    assert run(stream, arrivals) == first


@pytest.mark.parametrize("length", [2, 4])
def test_fast_sensors_are_averaged_over_a_period_of_the_grid(length: int) -> None:
    times = regular(1.0, 50 * length)
    acc, _ = walking(times)
    resampler = Resampler((ACC,), 50.0, {ACC: length})
    grid = [
        event for t, v in zip(times.tolist(), acc.tolist(), strict=True) for event in resampler.push(ACC, t, tuple(v))
    ]
    means = np.stack([np.convolve(axis, np.ones(length) / length, "valid") for axis in acc.T], axis=1)
    middles = times[: len(means)] + (times[length - 1] - times[0]) // 2
    at = np.array([sample.time_ns for sample in grid])
    assert at[0] == middles[0]
    expected = np.stack([np.interp(at, middles, axis) for axis in means.T], axis=1)
    np.testing.assert_allclose([sample.values for sample in grid], expected, rtol=0, atol=1e-12)
    assert len(grid) == 50 if length == 2 else len(grid) >= 49


def test_samples_are_not_averaged_across_a_gap() -> None:
    resampler = Resampler((ACC,), 50.0, {ACC: 2})
    out = []
    for k in (*range(10), *range(100, 110)):
        value = 1.0 if k < 50 else 5.0
        out += resampler.push(ACC, k * 10_000_000, (value, value, value))
    values = {sample.values[0] for sample in out if not isinstance(sample, Restart)}
    assert values == {1.0, 5.0}
    assert sum(isinstance(event, Restart) for event in out) == 1


def test_vibration_above_half_the_rate_is_not_aliased() -> None:
    """A shaker at 48 Hz, seen at 200 Hz: sampled at 50 it would look like slow motion of 2 Hz."""
    times = regular(6.0, 200)
    shaken = np.full((len(times), 3), [1.0, 0.0, 0.0]) + 0.5 * np.sin(2 * np.pi * 48 * times[:, None] / SECOND)

    def largest(length: int) -> float:
        resampler = Resampler((ACC,), 50.0, {ACC: length})
        grid = [event for t, v in zip(times.tolist(), shaken.tolist(), strict=True)
                for event in resampler.push(ACC, t, tuple(v))]  # fmt: skip
        return float(np.abs([sample.values[1] for sample in grid]).max())

    assert largest(1) > 0.4
    assert largest(averaging_length(200.0, 50.0)) < 0.05


def test_the_mean_is_over_one_period_of_the_grid() -> None:
    assert [averaging_length(rate, 50.0) for rate in (20, 49.2, 50, 59.8, 72.4, 99.9, 125, 208, 416)] == [
        1, 1, 1, 1, 1, 2, 2, 4, 8,
    ]  # fmt: skip


@pytest.mark.parametrize("lowpass", [FilterChain().noise, FilterChain().gravity, FilterChain().drift])
def test_sections_equal_scipy(lowpass: Lowpass) -> None:
    x = np.random.default_rng(0).normal(size=500)
    sos = design_sos(lowpass, 50.0)
    cascade = SosFilter(sos)
    np.testing.assert_allclose([cascade.push(float(v)) for v in x], signal.sosfilt(sos, x), rtol=0, atol=1e-13)


def test_median_equals_scipy() -> None:
    x = np.random.default_rng(0).normal(size=100)
    for size in (1, 3, 7):
        median = MedianFilter(size)
        outputs = [median.push(v) for v in [*x.tolist(), *[0.0] * (size // 2)]]
        assert [output for output in outputs if output is not None] == signal.medfilt(x, size).tolist()
    with pytest.raises(InputError, match="must have an odd size"):
        MedianFilter(4)
