"""Temperature scaling: probabilities that mean what they say, at no cost when the model runs.

Guo et al. 2017, On calibration of modern neural networks: one number T divides all logits. Every answer stays what it
was; T is the one with the least cross-entropy on subjects that the network was not trained on. Because the head is
linear, T goes into its weights, and so into every exported file.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.evaluation import metrics
from harexport.model.layers import Head
from harexport.model.network import Network, softmax

_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Temperature:
    """T, and the held-out subjects' cross-entropy (nats) and expected calibration error without and with it."""

    value: float
    loss_before: float
    loss_after: float
    ece_before: float
    ece_after: float

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def fitted(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> Temperature | None:
    """The temperature of logits [n, labels] whose truth [n] the network has not seen.

    None where the cross-entropy has no minimum from 0.05 to 20: where every answer is right, it only falls with T.
    """
    from scipy.optimize import minimize_scalar

    wide = logits.astype(np.float64)
    found = minimize_scalar(
        lambda power: metrics.cross_entropy(wide / np.exp(power), truth),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    value = float(np.exp(found.x))
    if not 1.01 * _LOWEST < value < _HIGHEST / 1.01:
        return None
    return Temperature(
        value,
        metrics.cross_entropy(wide, truth),
        metrics.cross_entropy(wide / value, truth),
        metrics.calibration_error(softmax(wide), truth),
        metrics.calibration_error(softmax(wide / value), truth),
    )


def scaled(network: Network, value: float) -> Network:
    """The network with logits divided by `value`: its head's weights and bias are. A coarse head stays as it is."""
    head = Head(*((part / np.float64(value)).astype(np.float32) for part in (network.head.weight, network.head.bias)))
    return dataclasses.replace(network, head=head)
