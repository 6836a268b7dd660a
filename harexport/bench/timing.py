"""Latency and throughput on this machine, and the overhead of the runtimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.bench.result import Throughput
from harexport.evaluation.environment import Conditions, NoiseMonitor, pin_to_idle_cores
from harexport.evaluation.latency import Latency, Model, Times, measure, time_block
from harexport.evaluation.statistics import Interval
from harexport.model.contract import INPUT_NAME, LOGITS_NAME
from harexport.runtimes.runner import RUNTIMES, Floats
from harexport.runtimes.sandbox import SandboxedRunner, context_switches
from harexport.utils.console import progress

_SESSIONS = 8
_BATCHES = (1, 32, 256)
_BATCH_RUNS = 50
_FORMATS = {runtime: fmt for fmt, runtime in RUNTIMES.items()}


@dataclass(frozen=True)
class TimedModel:
    """A model to be timed.

    Attributes:
        name: Unique name.
        runtime: Runtime's name in tables.
        batch: Windows per call, None for any number.
        load: Builds the model with a number of threads.
    """

    name: str
    runtime: str
    batch: int | None
    load: Callable[[int], Model]


@dataclass(frozen=True)
class Timings:
    """Result of `time_models`, by model unless noted.

    Attributes:
        latency: Per window, with the first number of threads.
        ratio: Median latency relative to the baseline.
        threads: Latency by further numbers of threads.
        throughput: By batch size.
        overheads: Runtime overhead, by runtime.
        conditions: State of the machine during the measurement.
    """

    latency: dict[str, Latency]
    ratio: dict[str, Interval]
    threads: dict[str, dict[str, Latency]]
    throughput: dict[str, tuple[Throughput, ...]]
    overheads: dict[str, Latency]
    conditions: Conditions


def time_models(
    models: Sequence[TimedModel], baseline: str, windows: Floats, runs: int, threads: Sequence[int]
) -> Timings:
    """Measure latency and throughput, interleaved over all models.

    Args:
        models: Models to measure.
        baseline: Name of the model that ratios are relative to.
        windows: Inputs [n, window, channels].
        runs: Timed runs per model.
        threads: Numbers of threads; ratio and throughput are measured with the first.
    """
    sizes = {model.name: model.batch or 1 for model in models}
    used_runtimes = {model.runtime for model in models}
    overhead_models = {f"overhead of {runtime}": runtime for runtime in OVERHEAD_MODELS if runtime in used_runtimes}
    with pin_to_idle_cores(threads[0]) as cores:
        monitor = NoiseMonitor(cores, context_switches)
        times = _time_latency(models, overhead_models, windows, runs, threads[0])
        conditions = monitor.conditions([times.round_medians(name) for name in times.by_model])
        throughput = _time_throughput(models, windows, threads[0])
    latency = {name: times.latency(name).per_window(size) for name, size in sizes.items()}
    for name, size in sizes.items():
        if name not in throughput:
            throughput[name] = (Throughput(size, 1e6 / latency[name].p50),)
    further: dict[str, dict[str, Latency]] = {name: {} for name in sizes}
    for count in threads[1:]:
        with pin_to_idle_cores(count):
            further_times = _time_latency(models, {}, windows, runs, count)
        for name, size in sizes.items():
            further[name][str(count)] = further_times.latency(name).per_window(size)
    return Timings(
        latency=latency,
        ratio={name: _scale(times.ratio(name, baseline), sizes[baseline] / size) for name, size in sizes.items()},
        threads=further,
        throughput=throughput,
        overheads={runtime: times.latency(name) for name, runtime in overhead_models.items()},
        conditions=conditions,
    )


def _scale(ratio: Interval, factor: float) -> Interval:
    return Interval(ratio.value * factor, ratio.low * factor, ratio.high * factor)


def _time_latency(
    models: Sequence[TimedModel], overhead_models: Mapping[str, str], windows: Floats, runs: int, threads: int
) -> Times:
    files = {
        name: (OVERHEAD_MODELS[runtime](*windows.shape[1:]), _FORMATS[runtime])
        for name, runtime in overhead_models.items()
    }

    def load() -> dict[str, Model]:
        loaded: dict[str, Model] = {}
        for model in models:
            runner, size = model.load(threads), model.batch or 1
            loaded[model.name] = runner if size == 1 else _RepeatedWindow(runner, size)
        return loaded | {
            name: SandboxedRunner(content, f".{fmt}", name, threads=threads, output=0)
            for name, (content, fmt) in files.items()
        }

    on_threads = f"{threads} threads" if threads > 1 else "1 thread"
    with progress(f"latency with {on_threads}, {len(models)} models interleaved", runs, "runs each") as advance:
        return measure(load, windows, runs, sessions=_SESSIONS, progress=advance)


@dataclass(frozen=True)
class _RepeatedWindow:
    """Adapts a model with a fixed batch size to single windows, by copies of the window."""

    model: Model
    size: int

    def __call__(self, window: NDArray[np.float32]) -> object:
        return self.model(np.repeat(window, self.size, axis=0))

    def time_block(self, block: Sequence[NDArray[np.float32]]) -> list[int]:
        return time_block(self.model, [np.repeat(window, self.size, axis=0) for window in block])


def _time_throughput(models: Sequence[TimedModel], windows: Floats, threads: int) -> dict[str, tuple[Throughput, ...]]:
    """Measure the models that accept any batch size; that of the others follows from their latency."""
    batched = [model for model in models if model.batch is None]
    throughput: dict[str, list[Throughput]] = {model.name: [] for model in batched}
    if batched:
        with progress("throughput in batches", len(_BATCHES), "batch sizes") as advance:
            for done, batch in enumerate(_BATCHES, 1):
                inputs = np.resize(windows, (max(batch, len(windows)), *windows.shape[1:]))
                times = measure(lambda: {m.name: m.load(threads) for m in batched}, inputs, _BATCH_RUNS, batch=batch)
                for name, entries in throughput.items():
                    entries.append(Throughput(batch, 1e6 * batch / times.latency(name).p50))
                advance(done)
    return {name: tuple(entries) for name, entries in throughput.items()}


_OVERHEAD_OUTPUTS = 6  # as many values as UCI HAR has labels


def _tflite_overhead_model(window: int, channels: int) -> bytes:
    """Build a .tflite of one SLICE: window [1, window, channels] -> logits [1, 1, 6]."""
    from harexport.formats.tflite_builder import TfliteBuilder

    graph, shape = TfliteBuilder(), (1, 1, min(_OVERHEAD_OUTPUTS, channels))
    signals = graph.tensor((1, window, channels))
    begin, size = (graph.constant(np.array(values, np.int32)) for values in ((0, 0, 0), shape))
    logits = graph.op("SLICE", [signals, begin, size], shape)
    return graph.finish({INPUT_NAME: signals}, {LOGITS_NAME: logits}, "overhead of the runtime: no arithmetic", {})


def _onnx_overhead_model(window: int, channels: int) -> bytes:
    """Build a .onnx of one Slice: window [1, window, channels] -> logits [1, 1, 6]."""
    from onnx import TensorProto, helper, numpy_helper

    shape = (1, 1, min(_OVERHEAD_OUTPUTS, channels))
    constants = {"starts": (0, 0, 0), "ends": shape}
    graph = helper.make_graph(
        [helper.make_node("Slice", [INPUT_NAME, *constants], [LOGITS_NAME])],
        "overhead",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, (1, window, channels))],
        [helper.make_tensor_value_info(LOGITS_NAME, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


OVERHEAD_MODELS = {"LiteRT": _tflite_overhead_model, "ONNX Runtime": _onnx_overhead_model}
