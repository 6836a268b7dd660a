"""A bench result in sentences."""

from __future__ import annotations

from harexport.bench.result import BenchResult, ModelResult, Reference
from harexport.evaluation.statistics import Interval
from harexport.utils.tables import Table


def summary(result: BenchResult) -> str:
    """One or two sentences: did every model keep its promise, and every rule?"""
    promised = [model for model in result.models if model.promised]
    failed = sum(bool(model.failures) for model in promised)
    windows, others = result.data["test_windows"], len(result.models) - len(promised)
    if failed and len(promised) == 1:
        said = [f"The model broke its promise on the {windows} test windows."]
    elif failed:
        said = [f"{failed} of {len(promised)} models broke their promise on the {windows} test windows."]
    elif len(promised) == 1:
        said = [f"{promised[0].name} answers the {windows} test windows as its reference does, within its promise."]
    elif promised:
        said = [
            f"All {len(promised)} models answer the {windows} test windows as their reference does, "
            "within their promise."
        ]
    else:
        compared = "1 model was compared" if others == 1 else f"{others} models were compared"
        said = [f"{compared} on {windows} test windows; nothing was promised."]
    if promised and others:
        said.append(f"Nothing was promised of {others} more.")
    if result.gate:
        count = len({(one.model, one.rule) for one in result.gate.broken})
        said.append(f"{count} rule{'s were' if count != 1 else ' was'} broken." if count else "No rule was broken.")
    if result.refused:
        said.append(f"{len(result.refused)} file{'s' * (len(result.refused) != 1)} could not be measured.")
    return " ".join(said)


def failures(result: BenchResult) -> list[str]:
    """A line for each broken promise, broken rule and file that could not be measured."""
    lines = [f"FAILED {model.name}: {reason}" for model in result.models for reason in model.failures]
    if result.gate:
        lines += [f"BROKEN {one.rule}: {one.reason}" for one in result.gate.broken]
    return lines + [f"NOT MEASURED {one.reason}" for one in result.refused]


def notes(result: BenchResult) -> list[str]:
    """What else a reader must know."""
    lines = [f"{model.name}: {note}" for model in result.models for note in model.notes]
    lines += [f"{model.name}: {model.departure.summary}" for model in result.models if model.departure]
    cores = result.machine["cores"] or 1
    if any(int(count) > cores for model in result.models for count in model.threads):
        lines.append(f"this machine has {cores} cores: more threads than that only get in each other's way")
    return lines


def noise(result: BenchResult) -> list[str]:
    """How the machine was while it measured; one line where it was quiet."""
    held = result.conditions
    if held is None:
        return []
    where = f"on core {', '.join(map(str, held.cores))}" if held.cores else "on no core of its own"
    spread = "" if held.spread is None else f", rounds spread by {held.spread:.0%}"
    floors = ", ".join(f"{runtime} {latency.p50:.1f} µs" for runtime, latency in result.floors.items())
    first = f"Measured {where}{spread}. Floor of a model that does nothing: {floors or 'none'}."
    if not held.noise:
        return [f"{first} The machine was quiet."]
    return [first, *(f"NOISY: {complaint}" for complaint in held.noise)]


def device(result: BenchResult) -> str:
    """What answered: this machine, or the target."""
    return str(result.target.get("device") or result.machine["processor"])


def origin(result: BenchResult) -> list[tuple[str, str]]:
    """Everything that the figures depend on, as (what, which)."""
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    told = [
        *((f"{r.recipe}: checkpoint", f"{r.checkpoint}, network {r.digest[:16]}") for r in result.references),
        *((f"{r.recipe}: protocol", _protocol(r)) for r in result.references),
        ("data", f"{result.data['source']}; SHA-256 {result.data['digest'][:16]}"),
    ]
    if result.target["kind"] != "host":
        told.append(("target", ", ".join(f"{key} {value}" for key, value in result.target.items())))
    told += [
        (
            "machine",
            f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        ),
        ("versions", versions),
    ]
    if held := result.conditions:
        load = "unknown" if held.load is None else f"{held.load:.2f} a core"
        taken = "unknown" if held.preempted is None else f"{held.preempted:.0f} times a second"
        told.append(("conditions", f"{' '.join(noise(result)[:1])} Load {load}; governor {held.governor or 'unknown'}; "
                                   f"the core was taken away {taken}"))  # fmt: skip
    if result.instructions_unknown:
        told.append(("energy", result.instructions_unknown))
    told.append(("made", f"{result.created} by harexport {result.tool_version}"))
    return told


def _protocol(reference: Reference) -> str:
    words = []
    if reference.validation:
        subjects = ", ".join(str(subject) for subject in reference.validation["subjects"])
        words.append(f"held-out training subjects {subjects}: {reference.validation['accuracy']:.2%}")
    words.append("test set watched while training" if reference.test_watched else "test set opened once, at the end")
    return "; ".join(words)


_NONE = "-"
_HEAD = ("model", "runtime", "KB", "accuracy", "drop", "agree", "logit diff.",
         "min µs", "p50 µs", "p90 µs", "p99 µs", "cold ms", "proof")  # fmt: skip
_ANSWERS = ("model", "accuracy", "macro F1", "drop", "lost/won", "p", "agree", "logit diff.", "ECE", "proof")
_COSTS = ("model", "p50 µs", "95 %", "times", "95 %", "min", "p90", "p99", "cold ms", "MB", "KB")
_WORK = ("model", "runtime", "scheme", "MACs", "GMAC/s", "arena KB", "windows/s", "load ms", "first ms", "model MB")


def rows(result: BenchResult) -> Table:
    """The figures that matter most in one table."""
    return [_HEAD, *(_row(model) for model in result.models)]


def answers(result: BenchResult) -> Table:
    """What each model answers."""
    return [_ANSWERS, *(_answers_row(model) for model in result.models)]


def costs(result: BenchResult) -> Table:
    """How long each model takes: the median with its interval, and in times of the baseline."""
    return [_COSTS, *(_costs_row(model) for model in result.models)]


def work(result: BenchResult) -> Table:
    """What each model computes, and what it holds in memory; without what no model of this target has."""
    table = [(*_WORK, "instructions"), *(_work_row(model) for model in result.models)]
    known = [k for k in range(len(table[0])) if any(row[k] != _NONE for row in table[1:])]
    return [tuple(row[k] for k in known) for row in table]


def threads(result: BenchResult) -> Table:
    """p50 by number of threads; the head alone where there was only one."""
    counts = list(dict.fromkeys(count for model in result.models for count in model.threads))
    head = ("model", f"{result.machine['threads']} threads: p50 µs", *(f"{count} threads" for count in counts))
    if not counts:
        return [head]
    shown = [model for model in result.models if model.latency]
    return [head, *((m.name, _p50(m), *(_time(m.threads[count].p50) for count in counts)) for m in shown)]


def recalls(result: BenchResult) -> Table:
    """Recall by label."""
    from harexport.evaluation.plots import format_label

    head = ("model", *(format_label(label) for label in result.labels))
    shown = [(model.name, model.figures) for model in result.models if model.figures]
    return [head, *((name, *(f"{share:.1%}" for share in figures.label_recall)) for name, figures in shown)]


def _row(model: ModelResult) -> tuple[str, ...]:
    latency, compared = model.latency, model.comparison
    times = (latency.min, latency.p50, latency.p90, latency.p99) if latency else (None,) * 4
    return (
        model.name,
        model.runtime,
        _thousands(model.size_bytes),
        f"{model.figures.accuracy:.2%}" if model.figures else _NONE,
        _drop(model),
        f"{compared.agreement:.2%}" if compared else _NONE,
        _difference(model),
        *(_time(time) for time in times),
        _cold(model),
        _proof(model),
    )


def _answers_row(model: ModelResult) -> tuple[str, ...]:
    compared = model.comparison
    return (
        model.name,
        f"{model.figures.accuracy:.2%}" if model.figures else _NONE,
        f"{model.figures.macro_f1:.2%}" if model.figures else _NONE,
        _drop(model),
        f"{compared.regressions}/{compared.improvements}" if compared else _NONE,
        f"{compared.p_value:.2g}" if compared else _NONE,
        f"{compared.agreement:.2%}" if compared else _NONE,
        _difference(model),
        _NONE if model.calibration_error is None else f"{model.calibration_error:.3f}",
        _proof(model),
    )


def _costs_row(model: ModelResult) -> tuple[str, ...]:
    latency, cold = model.latency, model.cold_start
    return (
        model.name,
        _p50(model),
        f"{_time(latency.low)}-{_time(latency.high)}" if latency else _NONE,
        *ratio(model.ratio),
        *(_time(value) for value in ((latency.min, latency.p90, latency.p99) if latency else (None,) * 3)),
        _cold(model),
        f"{cold.peak_bytes / 1e6:.0f}" if cold and cold.peak_bytes else _NONE,
        _thousands(model.size_bytes),
    )


def _work_row(model: ModelResult) -> tuple[str, ...]:
    cold, speed = model.cold_start, model.macs_per_second
    fastest = max(model.throughput, key=lambda entry: entry.windows_per_second, default=None)
    at_once = f" by {fastest.batch}" if fastest and fastest.batch > 1 else ""
    return (
        model.name,
        model.runtime,
        model.scheme + (f", {model.lowering}" if model.lowering else ""),
        _NONE if not model.macs else f"{'' if model.macs_complete else '>= '}{model.macs:,}",
        f"{speed / 1e9:.1f}" if speed else _NONE,
        _thousands(model.arena_bytes),
        f"{fastest.windows_per_second:,.0f}{at_once}" if fastest else _NONE,
        f"{cold.load_ms:.1f}" if cold else _NONE,
        f"{cold.first_answer_ms:.1f}" if cold else _NONE,
        f"{cold.model_bytes / 1e6:.1f}" if cold and cold.model_bytes is not None else _NONE,
        f"{model.instructions:,}" if model.instructions else _NONE,
    )


def ratio(interval: Interval | None) -> tuple[str, str]:
    """The ratio and its interval; of the baseline itself there is nothing to say."""
    if interval is None:
        return _NONE, _NONE
    if interval.low == interval.high:
        return f"{interval.value:.2f}", _NONE
    return f"{interval.value:.2f}", f"{interval.low:.2f}-{interval.high:.2f}"


def _drop(model: ModelResult) -> str:
    if model.comparison is None:
        return _NONE
    return f"{model.comparison.accuracy_drop:+.2f}" if model.comparison.accuracy_drop else "0"


def _difference(model: ModelResult) -> str:
    if model.comparison is None:
        return _NONE
    largest = model.comparison.max_logit_difference
    return "NaN" if largest is None else f"{largest:.1e}"


def _proof(model: ModelResult) -> str:
    if not model.promised:
        return "no promise"
    return "FAILED" if model.failures else "passed"


def _p50(model: ModelResult) -> str:
    return _time(model.latency.p50 if model.latency else None)


def _time(microseconds: float | None) -> str:
    if microseconds is None:
        return _NONE
    return f"{microseconds:.1f}" if microseconds < 1000 else f"{microseconds:.0f}"


def _cold(model: ModelResult) -> str:
    cold = model.cold_start
    return f"{cold.load_ms + cold.first_answer_ms:.1f}" if cold else _NONE


def _thousands(size: int | None) -> str:
    return _NONE if size is None else f"{size / 1000:.1f}"
