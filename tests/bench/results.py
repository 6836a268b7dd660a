"""A bench result made up for tests of what is drawn from it: two files of a recipe, one of them wrong."""

from __future__ import annotations

import numpy as np

from harexport.bench.divergence import Divergence
from harexport.bench.result import BenchResult, ColdStart, ModelResult, Reference, SkippedModel, Throughput
from harexport.evaluation import comparison, metrics
from harexport.evaluation.comparison import Predictions
from harexport.evaluation.environment import Conditions, describe
from harexport.evaluation.latency import Latency
from harexport.evaluation.statistics import Interval
from harexport.model.contract import LABELS

LOGITS = np.random.default_rng(0).normal(size=(600, 6))
TRUTH = LOGITS.argmax(axis=1)


def model(
    name: str, error: float, p50: float, failures: tuple[str, ...] = (), *, has_tolerance: bool = True
) -> ModelResult:
    truth = Predictions("edge in float64", "logits", LOGITS)
    predictions = Predictions(name, "logits", LOGITS + error * np.random.default_rng(1).normal(size=LOGITS.shape))
    figures, calibration = comparison.evaluate(predictions, TRUTH)
    steps = tuple(1e-7 if step < 9 else 0.3 for step in range(16))
    found = Divergence(12, (steps, steps), 1e-3, 0, 9, "Layer 0 departs at step 9") if failures else None
    return ModelResult(
        name=name, file=name.rsplit("/", 1)[-1], recipe="edge" if has_tolerance else None, runtime="LiteRT",
        scheme="float32", lowering="unrolled", has_tolerance=has_tolerance, failures=failures, size_bytes=10_000,
        sha256="ab" * 32, macs=350_000, macs_complete=True, arena_bytes=18_000, figures=figures,
        calibration_error=calibration, comparison=comparison.compare(predictions, truth, TRUTH),
        against=None, latency=Latency(1000, p50 - 1, p50, p50 + 1, 1234.5, p50 - 0.1, p50 + 0.1),
        ratio=Interval(p50 / 9, p50 / 9 - 0.01, p50 / 9 + 0.01), threads={"2": Latency(1000, 1, 2, 3, 4, 1, 3)},
        throughput=(Throughput(1, 1e6 / p50),), cold_start=ColdStart(3, 2.0, 0.5, 48_000_000, 4_000_000),
        instructions=None, divergence=found, notes=("a note",) if not has_tolerance else (),
    )  # fmt: skip


def result(*models: ModelResult, refused: tuple[SkippedModel, ...] = (), noise: tuple[str, ...] = ()) -> BenchResult:
    figures = metrics.classification_metrics(TRUTH, TRUTH, 6)
    reference = Reference("edge", "edge.safetensors", "ab" * 32, 7, 48, 12345, figures, 0.08, LABELS, None, False)
    wrong = ("logits differ by up to 0.5",)
    return BenchResult(
        models=models or (model("edge-0.tflite", 0.0, 9.0), model("edge-1.tflite", 0.5, 709.0, wrong)),
        refused=refused, references=(reference,), labels=LABELS, baseline="edge-0.tflite", against=None,
        overheads={"LiteRT": Latency(1000, 1, 1.1, 1.2, 2, 1.0, 1.2)},
        conditions=Conditions((1,), None, 0.1, 0.02, 0.0, 3.0, noise), target={"kind": "host"},
        instructions_unknown="not counted here",
        data={"source": "UCI HAR Dataset", "digest": "cd" * 32, "test_windows": 600}, machine=describe(),
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
