"""Format a bench result: sentences, tables, the text for the terminal, and Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Sequence

from harexport.bench.result import BenchResult, ModelResult, Reference, group_reasons
from harexport.evaluation.plots import format_label
from harexport.evaluation.statistics import Interval
from harexport.utils.tables import Table, escape_markdown, format_markdown, format_text


def summarize(result: BenchResult) -> str:
    """Return one or two sentences: whether all models are within their tolerance, and all rules are met."""
    checked = [model for model in result.models if model.has_tolerance or model.failures]
    num_failed = sum(bool(model.failures) for model in checked)
    windows, num_unchecked = result.data["test_windows"], len(result.models) - len(checked)
    if num_failed and len(checked) == 1:
        sentences = [f"{checked[0].name} failed its check on the {windows} test windows."]
    elif num_failed:
        sentences = [f"{num_failed} of {len(checked)} models failed their check on the {windows} test windows."]
    elif len(checked) == 1:
        sentences = [f"{checked[0].name} matches its reference on the {windows} test windows, within its tolerance."]
    elif checked:
        sentences = [
            f"All {len(checked)} models match their references on the {windows} test windows, within their tolerance."
        ]
    else:
        compared = "1 model was" if num_unchecked == 1 else f"{num_unchecked} models were"
        sentences = [f"{compared} compared on {windows} test windows, without a tolerance."]
    if checked and num_unchecked:
        sentences.append(
            f"{num_unchecked} more {'was' if num_unchecked == 1 else 'were'} compared without a tolerance."
        )
    if result.thresholds:
        count = len({(violation.model, violation.rule) for violation in result.thresholds.violations})
        sentences.append(
            f"{count} --fail-if rule{'s were' if count != 1 else ' was'} met."
            if count
            else "No --fail-if rule was met."
        )
    if result.refused:
        sentences.append(f"{len(result.refused)} file{'s' * (len(result.refused) != 1)} could not be measured.")
    return " ".join(sentences)


def failure_lines(result: BenchResult) -> list[str]:
    """Return a line for each exceeded tolerance, each rule that was met, and each file that was not measured."""
    lines = [f"FAILED {model.name}: {reason}" for model in result.models for reason in model.failures]
    if result.thresholds:
        lines += [f"FAILED {violation.rule}: {violation.reason}" for violation in result.thresholds.violations]
    return lines + [f"NOT MEASURED {reason}" for reason in group_reasons(result.refused)]


def note_lines(result: BenchResult) -> list[str]:
    """Return the remarks about models, their divergence, and thread counts."""
    lines = [f"{model.name}: {note}" for model in result.models for note in model.notes]
    lines += [f"{model.name}: {model.divergence.summary}" for model in result.models if model.divergence]
    cores = result.machine["cores"] or 1
    if any(int(count) > cores for model in result.models for count in model.threads):
        lines.append(f"this machine has {cores} cores; more threads than cores make a model slower")
    return lines


def noise_lines(result: BenchResult) -> list[str]:
    """Return the conditions of the measurement; one line on a quiet machine."""
    conditions = result.conditions
    if conditions is None:
        return []
    cores = f"on core {', '.join(map(str, conditions.cores))}" if conditions.cores else "without pinning to a core"
    spread = "" if conditions.spread is None else f", spread between rounds {conditions.spread:.0%}"
    overheads = ", ".join(f"{runtime} {latency.p50:.1f} µs" for runtime, latency in result.overheads.items())
    first = f"Measured {cores}{spread}. Runtime overhead (a model without arithmetic): {overheads or 'not measured'}."
    if not conditions.noise:
        return [f"{first} The machine was quiet."]
    return [first, *(f"NOISE: {warning}" for warning in conditions.noise)]


def device_name(result: BenchResult) -> str:
    """Return the device of the target, else the processor of this machine."""
    return str(result.target.get("device") or result.machine["processor"])


def provenance(result: BenchResult) -> list[tuple[str, str]]:
    """Return everything the results depend on, as (item, description)."""
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    items = [
        *((f"{r.recipe}: checkpoint", f"{r.checkpoint}, network {r.digest[:16]}") for r in result.references),
        *((f"{r.recipe}: protocol", _protocol(r)) for r in result.references),
        ("data", f"{result.data['source']}; SHA-256 {result.data['digest'][:16]}"),
    ]
    if result.target["kind"] != "host":
        items.append(("target", ", ".join(f"{key} {value}" for key, value in result.target.items())))
    system = f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}"
    items += [("machine", f"{machine['processor']}, {system}"), ("versions", versions)]
    if conditions := result.conditions:
        load = "unknown" if conditions.load is None else f"{conditions.load:.2f} per core"
        preempted = "unknown" if conditions.preempted is None else f"{conditions.preempted:.0f} per second"
        items.append(
            (
                "conditions",
                f"{' '.join(noise_lines(result)[:1])} Load {load}; governor {conditions.governor or 'unknown'}; "
                f"preemptions {preempted}",
            )
        )
    if result.instructions_unknown:
        items.append(("energy", result.instructions_unknown))
    items.append(("created", f"{result.created} by harexport {result.tool_version}"))
    return items


def _protocol(reference: Reference) -> str:
    parts = []
    if reference.validation:
        subjects = ", ".join(str(subject) for subject in reference.validation["subjects"])
        parts.append(f"held-out training subjects {subjects}: {reference.validation['accuracy']:.2%}")
    parts.append(
        "test set evaluated during training" if reference.test_watched else "test set evaluated once, after training"
    )
    return "; ".join(parts)


_NONE = "-"
_OVERVIEW = ("model", "runtime", "KB", "accuracy", "drop", "agree", "logit diff.",
             "min µs", "p50 µs", "p90 µs", "p99 µs", "cold ms", "check")  # fmt: skip
_ACCURACY = ("model", "accuracy", "macro F1", "drop", "lost/won", "p", "agree", "logit diff.", "ECE", "check")
_LATENCY = ("model", "p50 µs", "95 %", "ratio", "95 %", "min", "p90", "p99", "cold ms", "MB", "KB")
_COMPUTE = ("model", "runtime", "scheme", "MACs", "GMAC/s", "arena KB", "windows/s", "load ms", "first ms", "model MB",
            "instructions")  # fmt: skip


def overview_table(result: BenchResult) -> Table:
    """Return the most important values in one table."""
    return [_OVERVIEW, *(_overview_row(model) for model in result.models)]


def accuracy_table(result: BenchResult) -> Table:
    """Return accuracy and the comparison with the reference."""
    return [_ACCURACY, *(_accuracy_row(model) for model in result.models)]


def latency_table(result: BenchResult) -> Table:
    """Return the median latency with its interval, and its ratio to the baseline."""
    return [_LATENCY, *(_latency_row(model) for model in result.models)]


def compute_table(result: BenchResult) -> Table:
    """Return arithmetic and memory; columns without any value are left out."""
    table = [_COMPUTE, *(_compute_row(model) for model in result.models)]
    filled = [k for k in range(len(table[0])) if any(row[k] != _NONE for row in table[1:])]
    return [tuple(row[k] for k in filled) for row in table]


def threads_table(result: BenchResult) -> Table:
    """Return p50 by number of threads; the header alone if one number was measured."""
    counts = list(dict.fromkeys(count for model in result.models for count in model.threads))
    header = (
        "model",
        _thread_count(result.machine["threads"]) + ": p50 µs",
        *(_thread_count(count) for count in counts),
    )
    if not counts:
        return [header]
    timed = [model for model in result.models if model.latency]
    return [header, *((m.name, _p50(m), *(_time(m.threads[count].p50) for count in counts)) for m in timed)]


def _thread_count(count: int | str) -> str:
    return "1 thread" if str(count) == "1" else f"{count} threads"


def recall_table(result: BenchResult) -> Table:
    """Return the recall of each label."""
    header = ("model", *(format_label(label) for label in result.labels))
    rows = [(model.name, model.figures) for model in result.models if model.figures]
    return [header, *((name, *(f"{share:.1%}" for share in metrics.label_recall)) for name, metrics in rows)]


def _overview_row(model: ModelResult) -> tuple[str, ...]:
    latency, compared = model.latency, model.comparison
    times = (latency.min, latency.p50, latency.p90, latency.p99) if latency else (None,) * 4
    return (
        model.name,
        model.runtime,
        _kilobytes(model.size_bytes),
        f"{model.figures.accuracy:.2%}" if model.figures else _NONE,
        _drop(model),
        f"{compared.agreement:.2%}" if compared else _NONE,
        _logit_difference(model),
        *(_time(time) for time in times),
        _cold_start(model),
        _check(model),
    )


def _accuracy_row(model: ModelResult) -> tuple[str, ...]:
    compared = model.comparison
    return (
        model.name,
        f"{model.figures.accuracy:.2%}" if model.figures else _NONE,
        f"{model.figures.macro_f1:.2%}" if model.figures else _NONE,
        _drop(model),
        f"{compared.regressions}/{compared.improvements}" if compared else _NONE,
        f"{compared.p_value:.2g}" if compared else _NONE,
        f"{compared.agreement:.2%}" if compared else _NONE,
        _logit_difference(model),
        _NONE if model.calibration_error is None else f"{model.calibration_error:.3f}",
        _check(model),
    )


def _latency_row(model: ModelResult) -> tuple[str, ...]:
    latency, cold = model.latency, model.cold_start
    return (
        model.name,
        _p50(model),
        f"{_time(latency.low)}-{_time(latency.high)}" if latency else _NONE,
        *_ratio(model.ratio),
        *(_time(value) for value in ((latency.min, latency.p90, latency.p99) if latency else (None,) * 3)),
        _cold_start(model),
        f"{cold.peak_bytes / 1e6:.0f}" if cold and cold.peak_bytes else _NONE,
        _kilobytes(model.size_bytes),
    )


def _compute_row(model: ModelResult) -> tuple[str, ...]:
    cold, speed = model.cold_start, model.macs_per_second
    fastest = max(model.throughput, key=lambda entry: entry.windows_per_second, default=None)
    batch = f" (batch {fastest.batch})" if fastest and fastest.batch > 1 else ""
    return (
        model.name,
        model.runtime,
        model.scheme + (f", {model.lowering}" if model.lowering else ""),
        _NONE if not model.macs else f"{'' if model.macs_complete else '>= '}{model.macs:,}",
        f"{speed / 1e9:.1f}" if speed else _NONE,
        _kilobytes(model.arena_bytes),
        f"{fastest.windows_per_second:,.0f}{batch}" if fastest else _NONE,
        f"{cold.load_ms:.1f}" if cold else _NONE,
        f"{cold.first_prediction_ms:.1f}" if cold else _NONE,
        f"{cold.model_bytes / 1e6:.1f}" if cold and cold.model_bytes is not None else _NONE,
        f"{model.instructions:,}" if model.instructions else _NONE,
    )


def _ratio(interval: Interval | None) -> tuple[str, str]:
    """Return the ratio and its interval; the interval of the baseline itself is empty."""
    if interval is None:
        return _NONE, _NONE
    if interval.low == interval.high:
        return f"{interval.value:.2f}", _NONE
    return f"{interval.value:.2f}", f"{interval.low:.2f}-{interval.high:.2f}"


def _drop(model: ModelResult) -> str:
    if model.comparison is None:
        return _NONE
    return f"{model.comparison.accuracy_drop:+.2f}" if model.comparison.accuracy_drop else "0"


def _logit_difference(model: ModelResult) -> str:
    if model.comparison is None:
        return _NONE
    largest = model.comparison.max_logit_difference
    return "NaN" if largest is None else f"{largest:.1e}"


def _check(model: ModelResult) -> str:
    if model.failures:
        return "FAILED"
    return "passed" if model.has_tolerance else "no tolerance"


def _p50(model: ModelResult) -> str:
    return _time(model.latency.p50 if model.latency else None)


def _time(microseconds: float | None) -> str:
    if microseconds is None:
        return _NONE
    return f"{microseconds:.1f}" if microseconds < 1000 else f"{microseconds:.0f}"


def _cold_start(model: ModelResult) -> str:
    cold = model.cold_start
    return f"{cold.load_ms + cold.first_prediction_ms:.1f}" if cold else _NONE


def _kilobytes(size: int | None) -> str:
    return _NONE if size is None else f"{size / 1000:.1f}"


def format_terminal(result: BenchResult) -> str:
    """Return plain text: accuracy, latency, notes and failures."""
    blocks = [format_text(accuracy_table(result))]
    if any(model.latency for model in result.models):
        blocks.append(format_text(latency_table(result)))
    if len(threads_table(result)) > 1:
        blocks.append(format_text(threads_table(result)))
    if any(model.instructions for model in result.models):
        blocks.append(format_text(compute_table(result)))
    notes = [
        *noise_lines(result),
        *note_lines(result),
        *(result.thresholds.notes if result.thresholds else ()),
    ]
    lines = [_ratio_note(result), "\n".join(notes), "\n".join(failure_lines(result))]
    return "\n\n".join([*blocks, *(line for line in lines if line)])


def _ratio_note(result: BenchResult) -> str:
    if result.baseline is None:
        return ""
    return (
        f'"ratio" is the p50 relative to {result.baseline}; each "95 %" is the confidence interval of the column to '
        "its left."
    )


def format_pull_request(result: BenchResult) -> str:
    """Return Markdown for a comment: the summary and the two main tables; everything else is folded."""
    is_good = result.passed and not result.refused
    parts = [f"### {'✅' if is_good else '❌'} harexport bench: {escape_markdown(summarize(result))}"]
    parts.append(_bullets(failure_lines(result)))
    if result.thresholds:
        rules = ", ".join(f"`{rule}`" for rule in result.thresholds.rules)
        compared = (
            f" compared with {escape_markdown(result.thresholds.compared_with)}"
            if result.thresholds.compared_with
            else ""
        )
        parts += [f"Fail if{compared}: {rules}", _bullets(result.thresholds.notes)]
    parts.append(format_markdown(accuracy_table(result)))
    if any(model.latency for model in result.models):
        parts += [format_markdown(latency_table(result)), escape_markdown(_ratio_note(result))]
    folded = [format_markdown(compute_table(result)), format_markdown(recall_table(result))]
    if len(threads_table(result)) > 1:
        folded.append(format_markdown(threads_table(result)))
    folded.append(_bullets([f"{item}: {description}" for item, description in provenance(result)]))
    parts += ["<details><summary>More results and their origin</summary>", *folded, "</details>"]
    parts.append(_bullets([*noise_lines(result), *note_lines(result)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)
