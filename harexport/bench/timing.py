"""Everything about a model that only a clock on this machine can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport import runtimes
from harexport.bench.result import Throughput
from harexport.evaluation.environment import Conditions, NoiseMonitor, pin_to_idle_cores
from harexport.evaluation.latency import Latency, Model, Times, measure
from harexport.evaluation.statistics import Interval
from harexport.model.contract import INPUT_NAME, LOGITS_NAME
from harexport.runtimes import RUNTIMES, Floats
from harexport.utils.console import progress

_SITTINGS = 8
_BATCHES = (1, 32, 256)
_BATCH_RUNS = 50
_FORMATS = {runtime: fmt for fmt, runtime in RUNTIMES.items()}


@dataclass(frozen=True)
class TimedModel:
    """A model to be timed. `load` makes it ready on so many threads; `batch` as a runner's."""

    name: str
    runtime: str
    batch: int | None
    load: Callable[[int], Model]


@dataclass(frozen=True)
class Timings:
    """By model, and of the floors by runtime. `threads`: by model, latency on further numbers of threads."""

    latency: dict[str, Latency]
    ratio: dict[str, Interval]
    threads: dict[str, dict[str, Latency]]
    throughput: dict[str, tuple[Throughput, ...]]
    floors: dict[str, Latency]
    conditions: Conditions


def time_models(
    contestants: Sequence[TimedModel], baseline: str, windows: Floats, runs: int, threads: Sequence[int]
) -> Timings:
    """Time all `contestants` on windows [n, window, channels]; the first of `threads` is what is compared.

    `baseline` is the model that ratios are in.
    """
    sizes = {contestant.name: contestant.batch or 1 for contestant in contestants}
    floors = {_floor_name(runtime): runtime for runtime in FILES if _runs(contestants, runtime)}
    with pin_to_idle_cores(threads[0]) as cores:
        watch = NoiseMonitor(cores)
        times = _timed(contestants, floors, windows, runs, threads[0])
        conditions = watch.judge([times.rounds(name) for name in times.taken])
        throughput = _throughput(contestants, windows, threads[0])
    latency = {name: times.latency(name).shared(size) for name, size in sizes.items()}
    for name, size in sizes.items():
        if name not in throughput:
            throughput[name] = (Throughput(size, 1e6 / latency[name].p50),)
    further: dict[str, dict[str, Latency]] = {name: {} for name in sizes}
    for count in threads[1:]:
        with pin_to_idle_cores(count):
            others = _timed(contestants, {}, windows, runs, count)
        for name, size in sizes.items():
            further[name][str(count)] = others.latency(name).shared(size)
    return Timings(
        latency,
        {name: _per_window(times.ratio(name, baseline), sizes[baseline] / size) for name, size in sizes.items()},
        further,
        throughput,
        {runtime: times.latency(name) for name, runtime in floors.items()},
        conditions,
    )


def _floor_name(runtime: str) -> str:
    return f"floor of {runtime}"


def _runs(contestants: Sequence[TimedModel], runtime: str) -> bool:
    return any(contestant.runtime == runtime for contestant in contestants)


def _per_window(ratio: Interval, factor: float) -> Interval:
    return Interval(ratio.value * factor, ratio.low * factor, ratio.high * factor)


def _timed(
    contestants: Sequence[TimedModel], floors: Mapping[str, str], windows: Floats, runs: int, threads: int
) -> Times:
    files = {name: (FILES[runtime](*windows.shape[1:]), _FORMATS[runtime]) for name, runtime in floors.items()}

    def load() -> dict[str, Model]:
        models = {c.name: _repeating(c.load(threads), c.batch or 1) for c in contestants}
        return models | {
            name: runtimes.load_bytes(model, f".{fmt}", name, threads=threads, output=0).run_batch
            for name, (model, fmt) in files.items()
        }

    where = f"on {threads} threads" if threads > 1 else "on one thread"
    with progress(f"latency {where}, {len(contestants)} models interleaved", runs, "runs each") as advance:
        return measure(load, windows, runs, sittings=_SITTINGS, progress=advance)


def _repeating(one: Model, size: int) -> Model:
    """A model that takes `size` windows at once, given copies of one."""
    if size == 1:
        return one

    def asked(window: NDArray[np.float32]) -> object:
        return one(np.repeat(window, size, axis=0))

    return asked


def _throughput(contestants: Sequence[TimedModel], windows: Floats, threads: int) -> dict[str, tuple[Throughput, ...]]:
    """Of the models that take any number of windows; those of the others follows from their latency."""
    open_ones = [contestant for contestant in contestants if contestant.batch is None]
    found: dict[str, list[Throughput]] = {contestant.name: [] for contestant in open_ones}
    if open_ones:
        with progress("throughput in batches", len(_BATCHES), "batch sizes") as advance:
            for done, batch in enumerate(_BATCHES, 1):
                enough = np.resize(windows, (max(batch, len(windows)), *windows.shape[1:]))
                times = measure(lambda: {c.name: c.load(threads) for c in open_ones}, enough, _BATCH_RUNS, batch=batch)
                for name, speeds in found.items():
                    speeds.append(Throughput(batch, 1e6 * batch / times.latency(name).p50))
                advance(done)
    return {name: tuple(speeds) for name, speeds in found.items()}


_HANDED_BACK = 6  # numbers of the first sample: as many as there are activities, or as the data have channels


def tflite(window: int, channels: int) -> bytes:
    """A .tflite of one SLICE: window [1, window, channels] -> logits [1, 1, 6]."""
    from harexport.formats.tflite_builder import TfliteBuilder

    graph, sliced = TfliteBuilder(), (1, 1, min(_HANDED_BACK, channels))
    given = graph.tensor((1, window, channels))
    begin, size = (graph.constant(np.array(values, np.int32)) for values in ((0, 0, 0), sliced))
    answer = graph.op("SLICE", [given, begin, size], sliced)
    return graph.finish({INPUT_NAME: given}, {LOGITS_NAME: answer}, "the floor: no arithmetic", {})


def onnx(window: int, channels: int) -> bytes:
    """A .onnx of one Slice: window [1, window, channels] -> logits [1, 1, 6]."""
    from onnx import TensorProto, helper, numpy_helper

    size = (1, 1, min(_HANDED_BACK, channels))
    constants = {"starts": (0, 0, 0), "ends": size}
    graph = helper.make_graph(
        [helper.make_node("Slice", [INPUT_NAME, *constants], [LOGITS_NAME])],
        "floor",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, (1, window, channels))],
        [helper.make_tensor_value_info(LOGITS_NAME, TensorProto.FLOAT, size)],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


FILES = {"LiteRT": tflite, "ONNX Runtime": onnx}
