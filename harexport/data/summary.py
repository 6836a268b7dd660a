"""Summary of a dataset: counts and statistics, and a figure with one window of each activity."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows, find_segments
from harexport.data.uci_har.manifest import SPLITS
from harexport.evaluation import plots
from harexport.model.contract import Contract

_HALF_LIFE = 7.0  # samples
_PANELS = (("total_acc", "Total acceleration"), ("body_acc", "Body acceleration"), ("body_gyro", "Angular velocity"))
_AXES = (("x", "#0072b2"), ("y", "#d55e00"), ("z", "#009e73"))  # Okabe and Ito's palette for color-blind readers


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Summarize a dataset as plain JSON values; units as in the contract."""
    return {
        "source": dataset.source,
        "digest": dataset.digest,
        **{split: _summarize_split(getattr(dataset, split), dataset) for split in SPLITS},
        **({"coverage": [dataclasses.asdict(row) for row in dataset.coverage]} if dataset.coverage else {}),
        **({"notes": list(dataset.notes)} if dataset.notes else {}),
    }


def _summarize_split(windows: Windows, dataset: Dataset) -> dict[str, Any]:
    contract = dataset.contract
    signals = np.asarray(windows.signals)
    mean: NDArray[np.float64] = signals.mean(axis=(0, 1), dtype=np.float64)
    std: NDArray[np.float64] = signals.std(axis=(0, 1), dtype=np.float64)
    subjects, per_subject = np.unique(windows.subjects, return_counts=True)
    return {
        "shape": list(signals.shape),
        "classes": {label: int((windows.labels == k).sum()) for k, label in enumerate(contract.labels)},
        "windows_of_subject": {
            dataset.subject_name(int(subject)): int(n) for subject, n in zip(subjects, per_subject, strict=True)
        },
        "mean": float(signals.mean(dtype=np.float64)),
        "std": float(signals.std(dtype=np.float64)),
        "channels": {
            name: {"unit": unit, "mean": float(mean[k]), "std": float(std[k])}
            for k, (name, unit) in enumerate(zip(contract.channels, contract.units, strict=True))
        },
        "stretches": len(find_segments(windows).start),
    }


def smooth(signal: NDArray[np.floating], half_life: float = _HALF_LIFE) -> NDArray[np.float64]:
    """Smooth a signal with an exponentially weighted mean of its past.

    Args:
        signal: [n, ...]; the mean starts at its first value.
        half_life: Samples after which the weight of a sample is halved.
    """
    weight = 1.0 - 0.5 ** (1.0 / half_life)
    result = signal.astype(np.float64)
    for t in range(1, len(result)):
        result[t] = result[t - 1] + weight * (result[t] - result[t - 1])
    return result


def plot_examples(dataset: Dataset, path: Path) -> None:
    """Plot one training window of each activity, raw and smoothed, and write it as PNG. Raises InputError."""
    contract, panels = dataset.contract, _panels(dataset.contract)
    seconds = np.arange(contract.window) / contract.rate_hz
    present = [k for k in range(len(contract.labels)) if (dataset.train.labels == k).any()]
    figure = plots.new_figure(13.0, 1.0 + 1.75 * len(present))
    axes = figure.subplots(len(present), len(panels), sharex=True, sharey="col", squeeze=False)
    for row, k in zip(axes, present, strict=True):
        of_class = np.flatnonzero(dataset.train.labels == k)
        signal = np.asarray(dataset.train.signals[of_class[len(of_class) // 2]])
        for axis, (group, _) in zip(row, panels, strict=True):
            for letter, color in _AXES:
                raw = signal[:, contract.channels.index(f"{group}_{letter}")]
                axis.plot(seconds, raw, color=color, alpha=0.5, linewidth=0.9)
                axis.plot(seconds, smooth(raw), color=color, linewidth=1.8, label=letter)
            axis.margins(x=0)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
        row[0].set_ylabel(contract.labels[k].replace("_", "\n"), rotation=0, ha="right", va="center", fontweight="bold")
    for axis, (group, title) in zip(axes[0], panels, strict=True):
        unit = contract.units[contract.channels.index(f"{group}_x")]
        axis.set_title(f"{title} ({unit})", fontsize=11)
    for axis in axes[-1]:
        axis.set_xlabel("seconds", fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=len(names), frameon=False,
        title=f"thin: model input; bold: exponentially smoothed, half-life {_HALF_LIFE:g} samples",
        title_fontsize=9,
    )  # fmt: skip
    figure.suptitle(
        f"One window ({contract.window / contract.rate_hz:g} s) of each activity", fontsize=14, fontweight="bold"
    )
    plots.save_figure(figure, path)


def _panels(contract: Contract) -> list[tuple[str, str]]:
    """Return the vectors that the data have."""
    return [(group, title) for group, title in _PANELS if f"{group}_x" in contract.channels]


def format_summary(summary: dict[str, Any]) -> str:
    """Format the result of `summarize` as text."""
    lines = [f"Source: {summary['source']}"]
    for split in SPLITS:
        split_summary = summary[split]
        lines += [
            "",
            f"{split}: {tuple(split_summary['shape'])} in {split_summary['stretches']} segments, "
            f"mean {split_summary['mean']:.7f}, standard deviation {split_summary['std']:.6f}",
            "  " + "  ".join(f"{label} {count}" for label, count in split_summary["classes"].items()),
            "  windows of subject "
            + "  ".join(f"{subject}: {count}" for subject, count in split_summary["windows_of_subject"].items()),
        ]
    lines += ["", f"{'train channel':<14}{'unit':>6}{'mean':>10}{'std':>10}"]
    for name, channel in summary["train"]["channels"].items():
        lines.append(f"{name:<14}{channel['unit']:>6}{channel['mean']:>10.4f}{channel['std']:>10.4f}")
    if coverage := summary.get("coverage"):
        lines += ["", f"{'subject':<20}{'label':<24}{'seconds':>10}{'windows':>10}"]
        lines += [
            f"{row['subject']:<20}{row['label']:<24}{row['seconds']:>10.1f}{row['windows']:>10}" for row in coverage
        ]
    if picture := summary.get("picture"):
        lines += ["", f"Figure: {picture}"]
    return "\n".join(lines)
