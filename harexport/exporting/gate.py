"""What a file must prove before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harexport import runtimes
from harexport.contract import INPUT_NAME, LOGITS_NAME, PROBABILITIES_NAME, Contract
from harexport.errors import CheckFailedError, InputError
from harexport.exporting import probe, structure
from harexport.exporting.structure import Structure
from harexport.network import Network
from harexport.runtimes import Floats, Runner

# Largest logit difference of float32, per unit of the reference's largest logit (at least 1): synthetic windows may
# drive the logits further than real ones do. What `harexport bench` promises on the official windows is not relative.
_FLOAT32_LOGIT = 1e-4
# int8 weights: RMS of the difference against RMS of the reference's logits. Trained networks show 0.002 to
# 0.03 here; a wrong gate order, scale or layer shows about 1.
_INT8_RMS = 0.15
# Each int8 weight saves three bytes; at least this share of them must be seen in the file's size (the rest
# pays for scales and for the zeros of wavefront.py).
_SAVED = 0.5
# Where less than this could be saved, names, scales and operators weigh more than the weights; their dtypes are
# checked all the same.
_TOO_SMALL = 4000


@dataclass(frozen=True)
class GateFigures:
    """What the gate measured on `windows` synthetic windows in the real runtime."""

    windows: int
    max_logit_difference: float
    rms_logit_difference: float
    agreement: float


def check(
    model: bytes, network: Network, contract: Contract, fmt: str, scheme: str, lowering: str | None, float32_size: int
) -> tuple[Structure, GateFigures]:
    """Look into the file, load it from bytes, compare its answers. Raises CheckFailedError.

    `float32_size`: bytes of the same export in float32, which int8 weights must undercut.
    """
    name = f"the {'/'.join(part for part in (fmt, lowering, scheme) if part)} export"
    try:
        held = structure.of(model, fmt, name)
        runner = runtimes.load_bytes(model, f".{fmt}", name)
    except InputError as error:
        raise CheckFailedError(f"{name} cannot be read back: {error}. No file was written") from error
    failures = [
        *_structure_failures(held, network, contract, scheme, lowering),
        *_size_failures(network, scheme, len(model), float32_size),
    ]
    if not failures:  # answers of a file with a wrong structure say nothing
        figures, failures = _answers(runner, network, contract, scheme)
    if failures:
        raise CheckFailedError(f"{name} failed its gate, no file was written: {'; '.join(failures)}")
    return held, figures


def _structure_failures(
    held: Structure, network: Network, contract: Contract, scheme: str, lowering: str | None
) -> list[str]:
    failures = []
    reads = {INPUT_NAME: (1, network.window, network.channels)}
    answers = dict.fromkeys((LOGITS_NAME, PROBABILITIES_NAME), (1, network.labels))
    for what, found, expected in (("inputs", held.inputs, reads), ("outputs", held.outputs, answers)):
        if found != expected:
            failures.append(f"its {what} are {found}, expected {expected}")
    operator = "LSTM" if lowering is None else "UNIDIRECTIONAL_SEQUENCE_LSTM"
    layers = 0 if lowering == "unrolled" else len(network.stack)
    if held.ops.get(operator, 0) != layers:
        failures.append(f"it has {held.ops.get(operator, 0)} operators {operator}, expected {layers}")
    if any(held.cell_clips):
        failures.append(f"its LSTM clips the cell at {max(held.cell_clips)}, the network does not")
    dtype = "int8" if scheme == "int8-weights" else "float32"
    if odd := [f"{weight.name} ({weight.dtype})" for weight in held.weights if weight.dtype != dtype]:
        failures.append(f"these weights are not {dtype}: {', '.join(odd)}")
    if held.contract != contract.to_dict():
        failures.append("the contract in it is not the one it was exported with")
    return failures


def _size_failures(network: Network, scheme: str, size: int, float32_size: int) -> list[str]:
    if scheme != "int8-weights":
        return []
    expected = _SAVED * 3 * sum(array.size for array in network.arrays().values() if array.ndim > 1)
    if float32_size - size >= expected or expected < _TOO_SMALL:
        return []
    return [f"it has {size} bytes and in float32 {float32_size}: int8 weights should save {expected:.0f} or more"]


def _answers(runner: Runner, network: Network, contract: Contract, scheme: str) -> tuple[GateFigures, list[str]]:
    windows = probe.windows(contract)
    expected = network.logits(windows)
    answered = runner.logits(windows).astype(np.float64)
    difference = np.abs(answered - expected)
    figures = GateFigures(
        windows=len(windows),
        max_logit_difference=float(difference.max()),
        rms_logit_difference=float(np.sqrt(np.mean(difference**2))),
        agreement=float(np.mean(answered.argmax(axis=1) == expected.argmax(axis=1))),
    )
    failures = []
    if scheme == "float32":
        found, allowed = figures.max_logit_difference, _FLOAT32_LOGIT * max(1.0, float(np.abs(expected).max()))
    else:
        found, allowed = figures.rms_logit_difference, _INT8_RMS * float(np.sqrt(np.mean(expected**2)))
    if not found <= allowed:  # also where it is NaN
        failures.append(f"its logits are {found:.2g} from the float64 reference, allowed are {allowed:.2g}")
    failures += _memory(runner, windows)
    return figures, failures


def _memory(runner: Runner, windows: Floats) -> list[str]:
    """An answer must not depend on the windows before it, not even on a window of NaN (FACTS, trap 1).

    Nothing is reset in between: the file must be right for embedders who never heard of resetting.
    """
    from harexport.runtimes.litert import LiteRtRunner

    ask = runner.without_reset if isinstance(runner, LiteRtRunner) else runner.one
    a, b = windows[0:1], windows[1:2]
    first = ask(a)
    ask(b)
    again = ask(a)
    ask(np.full_like(a, np.nan))
    recovered = ask(a)
    failures = []
    if not np.array_equal(first, again):
        failures.append("its answer to a window depends on the window before")
    if not np.array_equal(first, recovered):
        failures.append("one window of NaN changes its later answers")
    return failures
