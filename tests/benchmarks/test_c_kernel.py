"""The C kernel matches the reference for any shape, so that its time is a valid limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.c_kernel.c_kernel import Kernel
from harexport.data import Dataset
from harexport.errors import InputError
from harexport.exporters import checks
from harexport.model import checkpoint as checkpoints
from harexport.model.network import Network, softmax
from tests.helpers.networks import SHAPES, contract_of, random_gru, random_network
from tests.helpers.requirements import requires

_ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"


def _difference(kernel: Kernel, network: Network) -> float:
    windows = checks.synthetic_windows(contract_of(network))
    return float(np.abs(kernel.logits(windows) - network.logits(windows)).max())


@requires("gcc")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_the_references_logits(shape: str) -> None:
    assert _difference(Kernel(SHAPES[shape]), SHAPES[shape]) < 5e-5


@requires("gcc")
@pytest.mark.parametrize("march", ["x86-64", "haswell", "native"])
def test_vectors_of_any_length(march: str) -> None:
    """More units than one group of a step holds; labels that fill more than one short vector."""
    network = random_network(frame=8, hop=8, units=70, hidden=(67, 21), labels=9, relu=True)
    assert _difference(Kernel(network, flags=(f"-march={march}",)), network) < 5e-5


@requires("gcc")
def test_it_remembers_nothing_and_overflows_nowhere() -> None:
    network = random_network(hidden=(40, 33), forget_bias=6.0)
    windows = checks.synthetic_windows(contract_of(network))
    kernel = Kernel(network)
    first = kernel.run_batch(windows[:1]).copy()
    kernel.run_batch(windows[1:2])
    np.testing.assert_array_equal(kernel.run_batch(windows[:1]), first)
    kernel.run_batch(np.full_like(windows[:1], np.nan))
    np.testing.assert_array_equal(kernel.run_batch(windows[:1]), first)
    np.testing.assert_allclose(kernel.logits(windows * 1e4), network.logits(windows * 1e4), atol=1e-4)


@requires("gcc")
@pytest.mark.parametrize("name", ["edge", "baseline-lstm"])
def test_all_test_windows(name: str, dataset: Dataset) -> None:
    network = checkpoints.load(_ARTIFACTS / name / f"{name}.safetensors").network
    kernel = Kernel(network)
    expected = network.logits(dataset.test.signals)
    outputs, nanoseconds = kernel.timed(dataset.test.signals)
    np.testing.assert_allclose(outputs[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(outputs[:, 1], softmax(expected), atol=1e-5)
    assert (nanoseconds > 0).all()


def test_unsupported_networks_are_rejected() -> None:
    with pytest.raises(InputError, match="tinycc-not-installed is not installed"):
        Kernel(SHAPES["one-step"], compiler="tinycc-not-installed")
    with pytest.raises(InputError, match="LSTM layers and one head only"):
        Kernel(random_gru())


@requires("gcc")
def test_a_compiler_that_fails_is_quoted() -> None:
    with pytest.raises(InputError, match=r"gcc cannot compile kernel\.c: .*-fno-such-option"):
        Kernel(SHAPES["one-step"], flags=("-fno-such-option",))
