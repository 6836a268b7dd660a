"""Activation ranges for full integer quantization, by percentile calibration on windows of training subjects.

The float64 forward pass of the network yields all activations, so that calibration needs NumPy only.
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
from harexport.errors import CheckFailedError, InputError
from harexport.exporters.gptq import candidate_factor
from harexport.formats.tflite_builder import QuantParams
from harexport.model.layers import Doubles, LayerActivations, LstmLayer, sigmoid
from harexport.model.network import Network, check_windows

Range = tuple[float, float]

# Candidate shares of the values inside a range; values outside of it are clipped. The best share depends on the
# network. On held-out training subjects, the error of edge with 0.98 of the window's values is half of that with 0.999
# (small differences distinguish its static activities); for the baseline LSTM it is the other way round.
PERCENTILES = (0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
# Candidate limits of a cell's range besides its largest value: tanh is flat for large cells.
_CELL_LIMITS = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_ERROR_MARGIN = 1.25  # the widest range with at most this multiple of the least error is chosen
_SEARCH_STEPS = 8192  # windows * steps of each search
_GATE_SAMPLES = 20_000  # gate sums per layer in the search for their limits
# Cells of the unrolled graph are int8 if their rounding error changes the logits by at most this share of their RMS.
# Edge (7 steps): 0.005. Baseline LSTM (128 steps): 0.03 to 0.05, and held-out accuracy drops by up to 1.7 points.
_MAX_INT8_CELL_ERROR = 0.02


@dataclass(frozen=True)
class Calibration:
    """Activation ranges and the windows they were measured on.

    Attributes:
        ranges: Lowest and highest value by name. Clipped ranges: "window" (all channels, in physical units),
            "window.<channel>", "rows" (output of the input layer), "cell" (of all layers) and, for the unrolled graph,
            "projected", "recurrent" and "gates" (the two parts of a gate sum, and the sum). Full ranges:
            "lstm.<k>.cell", "lstm.<k>.state", "logits" and "coarse".
        shares: Share of the values inside the clipped ranges of the input.
        cell: Type of the cells in the unrolled graph, "int8" or "int16".
        cell_error: Change of the logits with int8 cells: RMS relative to the RMS of the logits.
        indices: Positions of the windows in the training set.
        sha256: Hash of their float32 values.
    """

    ranges: dict[str, Range]
    shares: dict[str, float]
    cell: str
    cell_error: float
    indices: tuple[int, ...]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        ranges = {name: list(values) for name, values in self.ranges.items()}
        return {**vars(self), "ranges": ranges, "shares": dict(self.shares), "indices": list(self.indices)}

    def limit(self, name: str) -> float:
        """Return the largest absolute value of a range, or 1 if that is 0."""
        return max(abs(value) for value in self.ranges[name]) or 1.0

    def channels(self, count: int) -> tuple[Doubles, Doubles]:
        """Return middle and half width of each channel's range, [count]."""
        ranges = np.array([self.ranges[f"window.{k}"] for k in range(count)])
        half = np.ptp(ranges, axis=1) / 2
        return ranges.mean(axis=1), np.where(half > 0, half, 1.0)


@dataclass(frozen=True)
class CalibrationSample:
    """Training windows for calibration.

    Attributes:
        signals: float32 [n, window, channels].
        indices: Positions in the training set.
        sha256: Hash of the values.
    """

    signals: NDArray[np.float32]
    indices: tuple[int, ...]
    sha256: str


def sample_windows(train: Windows, count: int = 256, seed: int = 0) -> CalibrationSample:
    """Select up to `count` training windows by `choose_windows`."""
    indices = choose_windows(train, count, seed)
    signals = np.ascontiguousarray(train.signals[indices], np.float32)
    return CalibrationSample(
        signals, tuple(int(k) for k in indices), hashlib.sha256(signals.astype("<f4").tobytes()).hexdigest()
    )


def choose_windows(train: Windows, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Select windows evenly over subjects and labels: round robin over all pairs, in shuffled order.

    Args:
        train: Windows of training subjects.
        count: Number of windows; all are selected if there are fewer.
        seed: Random seed.

    Returns:
        Sorted positions in `train`.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    last_round: dict[tuple[int, int], int] = {}
    rounds = np.empty(len(train), np.int64)
    for position in order:
        pair = int(train.subjects[position]), int(train.labels[position])
        rounds[position] = last_round[pair] = last_round.get(pair, -1) + 1
    chosen = order[np.argsort(rounds[order], kind="stable")][:count]
    return np.sort(chosen)


def calibrate(network: Network, train: Windows, count: int = 256, seed: int = 0) -> Calibration:
    """Measure the activation ranges of an LSTM network.

    Args:
        network: LSTM network.
        train: Windows of training subjects.
        count: Number of windows to run.
        seed: Random seed of their selection.

    Raises:
        InputError: The network has no LSTM layers, there are no windows, or they do not fit the network.
    """
    if network.kind != "lstm" or not len(train) or count < 1:
        raise InputError("full integer quantization needs an LSTM network and at least one window for calibration")
    sample = sample_windows(train, count, seed)
    windows = sample.signals
    check_windows(windows, network.window, network.num_channels)
    ranges, shares = _clipped_ranges(network, windows.astype(np.float64))
    sequence = network.input.forward(network.normalize(windows))
    activations = []
    for k, layer in enumerate(network.lstm):
        activations.append(layer.forward(sequence, return_intermediates=True))
        sequence = activations[-1].states
        ranges[f"lstm.{k}.cell"] = range_of(activations[-1].cells)
        ranges[f"lstm.{k}.state"] = range_of(sequence)
    ranges |= _search_gate_limits(network.lstm, activations)
    cell_limit, cell_error = _search_cell_limit(network, _search_windows(network, windows), activations)
    ranges["cell"] = -cell_limit, cell_limit
    for name, head in network.heads().items():
        ranges["logits" if name == "head" else name] = range_of(head.forward(sequence[:, -1]))
    return Calibration(
        ranges={name: (six_digits(low), six_digits(high)) for name, (low, high) in ranges.items()},
        shares=shares,
        cell="int8" if cell_error <= _MAX_INT8_CELL_ERROR else "int16",
        cell_error=six_digits(cell_error),
        indices=sample.indices,
        sha256=sample.sha256,
    )


def _clipped_ranges(network: Network, windows: Doubles) -> tuple[dict[str, Range], dict[str, float]]:
    """Return ranges and shares of window, channels and rows, each with the share that changes the logits least."""
    searched = _search_windows(network, windows)
    exact = _simulate(network, searched)

    def search(
        ranges_of: Callable[[float], list[Range]], error_of: Callable[[list[Range]], float]
    ) -> tuple[float, list[Range]]:
        share = widest_near_optimum({share: error_of(ranges_of(share)) for share in PERCENTILES})
        return share, ranges_of(share)

    def window_error(ranges: list[Range]) -> float:
        return rms(_simulate(network, fake_quantize(searched, ranges[0])) - exact)

    def channels_error(ranges: list[Range]) -> float:
        low, high = np.array(ranges).T
        middle, half = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
        quantized = fake_quantize((searched - middle) / half, (-1.0, 1.0)) * half + middle
        return rms(_simulate(network, quantized) - exact)

    def rows_error(ranges: list[Range]) -> float:
        return rms(_simulate(network, searched, ranges[0]) - exact)

    rows = network.input.forward(network.normalize(windows))
    window = search(lambda share: [range_of(windows, share)], window_error)
    each = search(lambda share: [range_of(windows[..., k], share) for k in range(network.num_channels)], channels_error)
    row = search(lambda share: [range_of(rows, share)], rows_error)
    channels = {f"window.{k}": values for k, values in enumerate(each[1])}
    return (
        {"window": window[1][0], **channels, "rows": row[1][0]},
        {"window": window[0], "channels": each[0], "rows": row[0]},
    )


def _search_cell_limit(network: Network, windows: Doubles, activations: list[LayerActivations]) -> tuple[float, float]:
    """Return the best limit of int8 cells and the change of the logits, RMS relative to the RMS of the logits."""
    exact = _simulate(network, windows)
    largest = max(float(np.abs(layer.cells).max()) for layer in activations) or 1.0
    limits = sorted({min(limit, largest) for limit in (*_CELL_LIMITS, largest)})
    errors = {limit: rms(_simulate(network, windows, cell_limit=limit) - exact) for limit in limits}
    limit = widest_near_optimum(errors)
    return limit, errors[limit] / (rms(exact) or 1.0)


def widest_near_optimum(errors: dict[float, float]) -> float:
    """Return the largest key with nearly the least error: unseen subjects may move more than the training subjects."""
    return max(key for key, error in errors.items() if error <= _ERROR_MARGIN * min(errors.values()))


def _simulate(
    network: Network, windows: Doubles, rows: Range | None = None, cell_limit: float | None = None
) -> Doubles:
    """Return the logits with rows or cells rounded to int8."""
    sequence = network.input.forward(network.normalize(windows))
    if rows is not None:
        sequence = fake_quantize(sequence, rows)
    quantize_cell = None if cell_limit is None else partial(fake_quantize, within=(-cell_limit, cell_limit))
    for layer in network.lstm:
        sequence = layer.forward(sequence, return_intermediates=True, quantize_cell=quantize_cell).states
    return network.head.forward(sequence[:, -1])


def _search_gate_limits(layers: tuple[LstmLayer, ...], activations: list[LayerActivations]) -> dict[str, Range]:
    """Return the limits of a gate sum and its two parts in the unrolled graph, with the least error after the sigmoid.

    All layers share these limits, since one matrix product serves all of them. W x + b of layer 0 is in the first
    part; W x of the layers above is in the second part, with R h.
    """
    first, second = [], []
    for k, (layer, values) in enumerate(zip(layers, activations, strict=True)):
        factor = candidate_factor(layer.hidden)
        bias = np.broadcast_to(layer.bias.astype(np.float64), values.projected.shape)
        first.append(_sample_values((values.projected if k == 0 else bias) * factor))
        upper = values.recurrent if k == 0 else values.projected - bias + values.recurrent
        second.append(_sample_values(upper * factor))
    p, r = np.concatenate(first), np.concatenate(second)
    exact = sigmoid(p + r)
    largest = float(np.abs(p).max()) or 1.0
    best = (np.inf, 0.0, 0.0, 0.0)
    for limit_r in sorted({float(np.quantile(np.abs(r), share)) or 1.0 for share in (0.99, 0.999, 1.0)}):
        part = fake_quantize(r, (-limit_r, limit_r))
        for limit_p in sorted({min(largest, limit) for limit in (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)}):
            whole = fake_quantize(p, (-limit_p, limit_p)) + part
            for limit in (4.0, 5.0, 6.0, 7.0, 8.0):
                error = rms(sigmoid(fake_quantize(whole, (-limit, limit))) - exact)
                best = min(best, (error, limit_p, limit_r, limit))
    return {name: (-value, value) for name, value in zip(("projected", "recurrent", "gates"), best[1:], strict=True)}


def asymmetric_int8(values: Range) -> QuantParams:
    """Return int8 over a range, extended to include 0, which is exactly representable."""
    low, high = min(values[0], 0.0), max(values[1], 0.0)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return QuantParams(np.int8, scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def symmetric_int8(limit: float) -> QuantParams:
    """Return int8 over +- `limit` with the zero point 0."""
    return QuantParams(np.int8, float(np.float32(limit / 127)))


def fake_quantize(values: Doubles, within: Range) -> Doubles:
    """Round values to those of `asymmetric_int8`."""
    quant = asymmetric_int8(within)
    integers = np.clip(np.rint(values / quant.scale) + quant.zero_point, -128, 127)
    rounded: Doubles = (integers - quant.zero_point) * quant.scale
    return rounded


def range_of(values: Doubles, share: float = 1.0) -> Range:
    """Return the range of this share of the values, with equal shares above and below it.

    Raises:
        CheckFailedError: The range is not finite.
    """
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    if not np.isfinite([low, high]).all():
        raise CheckFailedError("the network's activations overflow; train it again with a smaller learning rate")
    return float(low), float(high)


def _search_windows(network: Network, windows: NDArray[np.floating]) -> Doubles:
    """Return evenly spaced windows for a search, as many as _SEARCH_STEPS allows."""
    count = min(len(windows), max(32, _SEARCH_STEPS // network.num_steps))
    return np.asarray(windows[np.linspace(0, len(windows) - 1, count).astype(int)], np.float64)


def _sample_values(values: Doubles) -> Doubles:
    return values.reshape(-1)[np.random.default_rng(0).integers(values.size, size=_GATE_SAMPLES)]


def rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(values**2)))


def six_digits(value: float) -> float:
    """Round to six significant digits, to keep the metadata of the file short."""
    return float(f"{value:.6g}")
