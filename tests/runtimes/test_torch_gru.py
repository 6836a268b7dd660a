"""GRU networks of both conventions in the torch runner."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harexport.exporters import checks
from harexport.runtimes import torch as torch_runner
from harexport.runtimes.torch import TorchRunner
from tests.helpers.networks import GRU_SHAPES, contract_of


@pytest.mark.parametrize("shape", GRU_SHAPES)
def test_torch_matches_the_reference(shape: str) -> None:
    network = GRU_SHAPES[shape]
    windows = checks.synthetic_windows(contract_of(network))
    expected = network.logits(windows)
    logits = TorchRunner(network).logits(windows)
    assert np.abs(logits - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())
    assert TorchRunner(network).logits(windows[:0]).shape == (0, network.num_labels)


def test_torch_gru_is_used_where_possible() -> None:
    for shape, own in (("pytorch", True), ("baseline-gru", False), ("relu-after", False)):
        modules = [torch_runner._module(layer) for layer in GRU_SHAPES[shape].recurrent_layers]
        assert all(isinstance(module, torch.nn.GRU) == own for module in modules)
