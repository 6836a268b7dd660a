"""A bench result in sentences."""

from __future__ import annotations

from harexport.verify.result import BenchResult, Reference


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
    lines += [f"{model.name}: {model.departure.says}" for model in result.models if model.departure]
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
