"""RMSProp as TensorFlow 1's RMSPropOptimizer computes it, which is not what torch.optim.RMSprop does."""

from __future__ import annotations

from collections.abc import Iterable

import torch


class RmsProp(torch.optim.Optimizer):
    """m <- decay m + (1 - decay) g^2;  p <- p - rate g / sqrt(m + epsilon)  (Hinton's lecture 6e, 2012).

    From TensorFlow 1.15, python/training/rmsprop.py and the kernel ApplyRMSProp in core/kernels/training_ops.cc,
    without momentum: m starts at one, and epsilon is inside the root. torch.optim.RMSprop starts m at zero, so
    that its first steps are over three times the rate whatever the gradient, and adds epsilon to the root: where
    gradients stay away (units whose ReLU is shut) the first ones to return would be blown up to full steps.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, decay: float = 0.9, epsilon: float = 1e-10
    ) -> None:
        super().__init__(parameters, {"lr": rate, "decay": decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; arrays without a gradient stay as they are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean_square"] = torch.ones_like(parameter)
                square: torch.Tensor = state["mean_square"]
                square.mul_(group["decay"]).addcmul_(parameter.grad, parameter.grad, value=1 - group["decay"])
                parameter.addcdiv_(parameter.grad, (square + group["epsilon"]).sqrt_(), value=-group["lr"])
