"""Temperature scaling: calibrated probabilities at no cost at inference.

Guo et al. 2017, "On calibration of modern neural networks": all logits are divided by one number T, which minimizes
the cross-entropy on subjects that the network was not trained on. Predictions do not change. The output layer is
linear, so T is folded into its weights and thereby into every exported file.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.evaluation import metrics
from harexport.model.layers import Linear
from harexport.model.network import Network, softmax

_MIN, _MAX = 0.05, 20.0


@dataclass(frozen=True)
class Temperature:
    """A temperature, and its effect on the held-out subjects.

    Attributes:
        value: T.
        loss_before, loss_after: Cross-entropy in nats.
        ece_before, ece_after: Expected calibration error, 0 to 1.
    """

    value: float
    loss_before: float
    loss_after: float
    ece_before: float
    ece_after: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Temperature | None:
    """Fit the temperature of logits.

    Args:
        logits: Output of the network for windows that it was not trained on [n, labels].
        labels: True labels [n].

    Returns:
        None if the cross-entropy has no minimum from 0.05 to 20. If all predictions are correct, it decreases with T.
    """
    from scipy.optimize import minimize_scalar

    wide = logits.astype(np.float64)
    found = minimize_scalar(
        lambda log_temperature: metrics.cross_entropy(wide / np.exp(log_temperature), labels),
        bounds=(np.log(_MIN), np.log(_MAX)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    value = float(np.exp(found.x))
    if not 1.01 * _MIN < value < _MAX / 1.01:
        return None
    return Temperature(
        value,
        metrics.cross_entropy(wide, labels),
        metrics.cross_entropy(wide / value, labels),
        metrics.calibration_error(softmax(wide), labels),
        metrics.calibration_error(softmax(wide / value), labels),
    )


def apply_temperature(network: Network, value: float) -> Network:
    """Divide weights and bias of the output layer by a temperature. A coarse head is not changed."""
    weight, bias = ((part / np.float64(value)).astype(np.float32) for part in (network.head.weight, network.head.bias))
    return dataclasses.replace(network, layers=(*network.layers[:-1], Linear(weight, bias)))
