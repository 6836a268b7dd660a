"""What full integer needs to know before it can be written: the ranges of a network's values, from real windows.

Our own float64 forward pass sees every value between window and logits, so nothing but NumPy is needed.
Calibrate on windows of training subjects only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Windows
from harexport.errors import InputError
from harexport.formats.tflite_builder import QuantParams
from harexport.model.layers import Doubles, LayerActivations, LstmLayer, sigmoid
from harexport.model.network import Network, check_windows

Range = tuple[float, float]

# The share of values that a range may hold; what lies outside is clipped. Which one is best depends on the network:
# on held-out training subjects edge has half the error with 0.98 of the window's values that it has with 0.999
# (its static activities are told apart by small differences), the seed model half with 0.999.
PERCENTILES = (0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
# tanh is flat where a cell is large, so its range may end early: at one of these, or at the largest value.
_CELL_LIMITS = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_NEARLY = 1.25  # by how much an error may be above the least one, for a wider range
_SEARCHED = 8192  # steps that each of these searches runs, which is windows * steps
_SAMPLES = 20_000  # gate values of a layer that the search for the gates' limits looks at
# The unrolled graph's cells are int8 where rounding them moves the logits by no more than this share of their RMS.
# Edge (7 steps): 0.005. The seed model (128 steps): 0.03 to 0.05, and held-out accuracy falls by up to 1.7 points.
_INT8_CELL = 0.02


@dataclass(frozen=True)
class Calibration:
    """Ranges (low, high) of named values, and where they come from.

    "window" (all channels, physical units), "window.<channel>", "rows" (the input layer's outputs) and "cell" (of
    all layers) are clipped, as `shares` says; "lstm.<k>.cell", "lstm.<k>.state", "logits" and "coarse" are whole.
    "projected", "recurrent" and "gates": where the two parts of a gate's sum and the sum itself are clipped in the
    unrolled graph. `cell`: "int8" where the unrolled graph's cells may have 8 bits, else "int16"; `cell_error`:
    what 8 bits move the logits by, RMS as a share of their RMS.
    `indices` are the windows' positions in the training set, `sha256` is the hash of their float32 values.
    """

    ranges: dict[str, Range]
    shares: dict[str, float]
    cell: str
    cell_error: float
    indices: tuple[int, ...]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ranges = {name: list(values) for name, values in self.ranges.items()}
        return {**vars(self), "ranges": ranges, "shares": dict(self.shares), "indices": list(self.indices)}

    def limit(self, name: str) -> float:
        """The larger distance of a range's ends from zero, never 0."""
        return max(abs(value) for value in self.ranges[name]) or 1.0

    def channels(self, count: int) -> tuple[Doubles, Doubles]:
        """Middle and half width of each channel's range [count]."""
        ranges = np.array([self.ranges[f"window.{k}"] for k in range(count)])
        half = np.ptp(ranges, axis=1) / 2
        return ranges.mean(axis=1), np.where(half > 0, half, 1.0)


@dataclass(frozen=True)
class CalibrationSample:
    """Training windows that a quantisation learns from: [n, window, channels] float32, their positions in the training
    set, and the SHA-256 of their values."""

    signals: NDArray[np.float32]
    indices: tuple[int, ...]
    sha256: str


def sample_windows(train: Windows, count: int = 256, seed: int = 0) -> CalibrationSample:
    """`count` windows of training subjects (all, where there are fewer), chosen by `choose_windows`."""
    indices = choose_windows(train, count, seed)
    signals = np.ascontiguousarray(train.signals[indices], np.float32)
    return CalibrationSample(
        signals, tuple(int(k) for k in indices), hashlib.sha256(signals.astype("<f4").tobytes()).hexdigest()
    )


def choose_windows(train: Windows, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Positions of `count` windows (all, where there are fewer), spread evenly over subjects and labels, sorted.

    Every pair of subject and label gives one window in turn, in shuffled order, until there are enough.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    given: dict[tuple[int, int], int] = {}
    turns = np.empty(len(train), np.int64)
    for position in order:
        pair = int(train.subjects[position]), int(train.labels[position])
        turns[position] = given[pair] = given.get(pair, -1) + 1
    chosen = order[np.argsort(turns[order], kind="stable")][:count]
    return np.sort(chosen)


def calibrate(network: Network, train: Windows, count: int = 256, seed: int = 0) -> Calibration:
    """Run `count` windows of `train` (training subjects only) through the network and note where its values lie.

    Raises InputError for windows that do not fit, for none, and for a network that is not of LSTM layers.
    """
    if network.kind != "lstm" or not len(train) or count < 1:
        raise InputError("full integer is for LSTM networks and is calibrated on at least one window")
    chosen = sample_windows(train, count, seed)
    windows = chosen.signals
    check_windows(windows, network.window, network.num_channels)
    ranges, shares = _clipped_ranges(network, windows.astype(np.float64))
    sequence = network.input.forward(network.normalize(windows))
    passes = []
    for k, layer in enumerate(network.lstm):
        passes.append(layer.forward(sequence, return_intermediates=True))
        sequence = passes[-1].states
        ranges[f"lstm.{k}.cell"] = _range(passes[-1].cells)
        ranges[f"lstm.{k}.state"] = _range(sequence)
    ranges |= _gate_limits(network.lstm, passes)
    cell_limit, cell_error = _cell_limit(network, _searched(network, windows), passes)
    ranges["cell"] = -cell_limit, cell_limit
    for name, head in network.heads().items():
        ranges["logits" if name == "head" else name] = _range(head.forward(sequence[:, -1]))
    return Calibration(
        ranges={name: (_short(low), _short(high)) for name, (low, high) in ranges.items()},
        shares=shares,
        cell="int8" if cell_error <= _INT8_CELL else "int16",
        cell_error=_short(cell_error),
        indices=chosen.indices,
        sha256=chosen.sha256,
    )


def _clipped_ranges(network: Network, windows: Doubles) -> tuple[dict[str, Range], dict[str, float]]:
    """Where window, channels and rows are clipped, each by the share that moves the logits least."""
    searched = _searched(network, windows)
    exact = _answers(network, searched)

    def best(
        ranges_of: Callable[[float], list[Range]], error_of: Callable[[list[Range]], float]
    ) -> tuple[float, list[Range]]:
        share = _widest({share: error_of(ranges_of(share)) for share in PERCENTILES})
        return share, ranges_of(share)

    def window_error(ranges: list[Range]) -> float:
        return _rms(_answers(network, _rounded(searched, ranges[0])) - exact)

    def channels_error(ranges: list[Range]) -> float:
        low, high = np.array(ranges).T
        middle, half = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
        return _rms(_answers(network, _rounded((searched - middle) / half, (-1.0, 1.0)) * half + middle) - exact)

    def rows_error(ranges: list[Range]) -> float:
        return _rms(_answers(network, searched, ranges[0]) - exact)

    rows = network.input.forward(network.normalize(windows))
    window = best(lambda share: [_range(windows, share)], window_error)
    each = best(lambda share: [_range(windows[..., k], share) for k in range(network.num_channels)], channels_error)
    row = best(lambda share: [_range(rows, share)], rows_error)
    channels = {f"window.{k}": values for k, values in enumerate(each[1])}
    return (
        {"window": window[1][0], **channels, "rows": row[1][0]},
        {"window": window[0], "channels": each[0], "rows": row[0]},
    )


def _cell_limit(network: Network, windows: Doubles, passes: list[LayerActivations]) -> tuple[float, float]:
    """Where int8 cells are best clipped, and how far the logits then move: RMS as a share of theirs."""
    exact = _answers(network, windows)
    largest = max(float(np.abs(passed.cells).max()) for passed in passes) or 1.0
    limits = sorted({min(limit, largest) for limit in (*_CELL_LIMITS, largest)})
    errors = {limit: _rms(_answers(network, windows, cell_limit=limit) - exact) for limit in limits}
    limit = _widest(errors)
    return limit, errors[limit] / (_rms(exact) or 1.0)


def _widest(errors: dict[float, float]) -> float:
    """The largest key whose error is nearly the least: people who were not seen may move more than those who were."""
    return max(key for key, error in errors.items() if error <= _NEARLY * min(errors.values()))


def _answers(network: Network, windows: Doubles, rows: Range | None = None, cell_limit: float | None = None) -> Doubles:
    """The reference's logits with rows or cells rounded to int8."""
    sequence = network.input.forward(network.normalize(windows))
    if rows is not None:
        sequence = _rounded(sequence, rows)
    quantize_cell = None if cell_limit is None else partial(_rounded, within=(-cell_limit, cell_limit))
    for layer in network.lstm:
        sequence = layer.forward(sequence, return_intermediates=True, quantize_cell=quantize_cell).states
    return network.head.forward(sequence[:, -1])


def _gate_limits(layers: tuple[LstmLayer, ...], passes: list[LayerActivations]) -> dict[str, Range]:
    """Where the unrolled graph clips the gates' two parts and their sum: with the least error after the sigmoid.

    All layers share these limits (see integer_unrolled.py): layer 0 brings W x + b in the first part, the layers
    above bring theirs in the second, with R h.
    """
    first, second = [], []
    for k, (layer, passed) in enumerate(zip(layers, passes, strict=True)):
        doubled = np.repeat([1.0, 1.0, 2.0, 1.0], layer.hidden)  # the candidate's rows, see unrolled.py
        bias = np.broadcast_to(layer.bias.astype(np.float64), passed.projected.shape)
        first.append(_sample((passed.projected if k == 0 else bias) * doubled))
        second.append(_sample((passed.recurrent if k == 0 else passed.projected - bias + passed.recurrent) * doubled))
    p, r = np.concatenate(first), np.concatenate(second)
    exact = sigmoid(p + r)
    largest = float(np.abs(p).max()) or 1.0
    best = (np.inf, 0.0, 0.0, 0.0)
    for limit_r in sorted({float(np.quantile(np.abs(r), share)) or 1.0 for share in (0.99, 0.999, 1.0)}):
        part = _rounded(r, (-limit_r, limit_r))
        for limit_p in sorted({min(largest, limit) for limit in (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)}):
            whole = _rounded(p, (-limit_p, limit_p)) + part
            for limit in (4.0, 5.0, 6.0, 7.0, 8.0):
                error = _rms(sigmoid(_rounded(whole, (-limit, limit))) - exact)
                best = min(best, (error, limit_p, limit_r, limit))
    return {name: (-value, value) for name, value in zip(("projected", "recurrent", "gates"), best[1:], strict=True)}


def asymmetric_int8(values: Range) -> QuantParams:
    """int8 over a range that is widened to hold 0, with 0 exactly representable."""
    low, high = min(values[0], 0.0), max(values[1], 0.0)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return QuantParams(np.int8, scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def symmetric_int8(limit: float) -> QuantParams:
    """int8 between +- `limit`, 0 at 0."""
    return QuantParams(np.int8, float(np.float32(limit / 127)))


def _rounded(values: Doubles, within: Range) -> Doubles:
    """As `asymmetric` int8 holds them."""
    quant = asymmetric_int8(within)
    integers = np.clip(np.rint(values / quant.scale) + quant.zero_point, -128, 127)
    rounded: Doubles = (integers - quant.zero_point) * quant.scale
    return rounded


def _range(values: Doubles, share: float = 1.0) -> Range:
    """What holds this share of the values, as much being left out above as below."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _searched(network: Network, windows: NDArray[np.floating]) -> Doubles:
    """As many of the windows as a search can afford, evenly spread."""
    count = min(len(windows), max(32, _SEARCHED // network.num_steps))
    return np.asarray(windows[np.linspace(0, len(windows) - 1, count).astype(int)], np.float64)


def _sample(values: Doubles) -> Doubles:
    return values.reshape(-1)[np.random.default_rng(0).integers(values.size, size=_SAMPLES)]


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _short(value: float) -> float:
    """Six digits: enough for a scale, and short in the file's metadata."""
    return float(f"{value:.6g}")
