"""The GRU of TensorFlow 1's GRUCell as a torch layer: the reset gate comes before the recurrent product.

torch.nn.GRU has it after the product, and autograd over a loop of steps keeps a dozen tensors a step and walks
them one by one. So the gradients of all steps are written out here: two matrix products and four operators a step
forward, and about twice as many back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harexport.model.layers import GruLayer

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_relu_backward = torch.ops.aten.threshold_backward.grad_input


class Gru(nn.Module):
    """One layer in `layers.GruLayer`'s convention: gates r, z, n, one bias; the candidate n is ReLU or tanh.

    `init`: "torch", kernels from U(+-1 / sqrt(hidden)) as torch.nn.GRU's; "seed", TensorFlow's default of 2016,
    uniform unit scaling over the joint kernels of [x, h]. Either way, as in TensorFlow 1's GRUCell, the biases of
    the gates start at 1 and those of the candidate at 0.
    """

    def __init__(self, inputs: int, hidden: int, relu: bool, init: str) -> None:
        super().__init__()
        self.hidden, self.relu = hidden, relu
        self.input_weight = nn.Parameter(torch.empty(3 * hidden, inputs))
        self.recurrent_weight = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias = nn.Parameter(torch.cat([torch.ones(2 * hidden), torch.zeros(hidden)]))
        reach = math.sqrt(3.0 / (inputs + hidden)) if init == "tf1" else 1 / math.sqrt(hidden)
        for kernel in (self.input_weight, self.recurrent_weight):
            nn.init.uniform_(kernel, -reach, reach)

    def forward(self, x: Tensor, last: bool) -> Tensor:
        """x [steps, inputs, n] -> every state [steps, hidden, n], or the `last` one only [hidden, n].

        The n windows come last, so that the gates of a step, and every operand of an operator, are one block.
        """
        answer: Tensor = _Recurrence.apply(x, self.input_weight, self.recurrent_weight, self.bias, self.relu, last)
        return answer

    def to_layer(self) -> GruLayer:
        """The trained arrays, float32 on the CPU."""
        arrays = (self.input_weight, self.recurrent_weight, self.bias)
        weight, recurrent, bias = (p.detach().cpu().numpy().astype("float32").copy() for p in arrays)
        return GruLayer(weight, recurrent, bias, 0 * bias[: self.hidden], reset_after=False, relu=self.relu)


@dataclass(frozen=True)
class _Pass:
    """What a pass forward leaves for the way back; u units and i inputs, n windows.

    gates [2u, u + i] and candidate [u, i + u] are TensorFlow's joint kernels, on [h, x] and on [x, r h].
    rows [steps + 1, 2u + i, n] holds a step's h, x and r h below each other, so that both are a slice of it;
    opened [steps, 2u, n] are r and z, proposed [steps, u, n] is n.
    """

    gates: Tensor
    candidate: Tensor
    rows: Tensor
    opened: Tensor
    proposed: Tensor
    relu: bool

    @property
    def units(self) -> int:
        return len(self.candidate)

    @property
    def states(self) -> Tensor:
        """h after each step [steps, u, n]."""
        return self.rows[1:, : self.units]


def _forward(x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, relu: bool) -> _Pass:
    (steps, inputs, n), units = x.shape, recurrent.shape[1]
    gates = torch.cat([recurrent[: 2 * units], weight[: 2 * units]], dim=1)
    candidate = torch.cat([weight[2 * units :], recurrent[2 * units :]], dim=1)
    gate_bias, candidate_bias = bias[: 2 * units, None], bias[2 * units :, None]
    kept = _Pass(
        gates,
        candidate,
        x.new_empty(steps + 1, 2 * units + inputs, n),
        x.new_empty(steps, 2 * units, n),
        x.new_empty(steps, units, n),
        relu,
    )
    kept.rows[0, :units] = 0
    kept.rows[:steps, units : units + inputs] = x
    h, hx, xrh, rh = _slices(kept.rows, units, inputs)
    activate = torch.relu_ if relu else torch.tanh_
    for t, (opened, proposed) in enumerate(zip(kept.opened.unbind(), kept.proposed.unbind(), strict=True)):
        torch.sigmoid_(torch.addmm(gate_bias, gates, hx[t], out=opened))
        torch.mul(opened[:units], h[t], out=rh[t])
        activate(torch.addmm(candidate_bias, candidate, xrh[t], out=proposed))
        torch.lerp(proposed, h[t], opened[units:], out=h[t + 1])  # (1 - z) n + z h
    return kept


def _backward(kept: _Pass, gradient: Tensor, last: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From the gradient of the states, or of the `last` one: those of x, input weight, recurrent weight and bias."""
    units, (steps, _, n) = kept.units, kept.opened.shape
    inputs = kept.gates.shape[1] - units
    h, hx, xrh, _ = _slices(kept.rows, units, inputs)
    gates_back, candidate_back = kept.gates.t(), kept.candidate.t()
    activate_back = (lambda g, n, out: _relu_backward(g, n, 0.0, grad_input=out)) if kept.relu else _tanh_back
    to_x = kept.rows.new_empty(steps, inputs, n)
    to_gates, to_candidate = torch.zeros_like(kept.gates), torch.zeros_like(kept.candidate)
    to_bias, ones = kept.rows.new_zeros(3 * units), kept.rows.new_ones(n)
    # gradients of h, x and r h, laid out as `rows` is; in turns, for a step reads what the step after it wrote
    to_rows = kept.rows.new_empty(2, 2 * units + inputs, n)
    to_h, to_hx, to_xrh, to_rh = _slices(to_rows, units, inputs)
    sums = kept.rows.new_empty(3 * units, n)  # gradients of what goes into sigmoid and activation: r, z, n
    to_opened = kept.rows.new_empty(2 * units, n)
    to_r, to_z = to_opened[:units], to_opened[units:]
    gate_sums, candidate_sums = sums[: 2 * units], sums[2 * units :]
    spare = kept.rows.new_empty(units, n)
    x_turn = to_rows[:, units : units + inputs].unbind()
    all_opened, all_proposed, all_to_x = kept.opened.unbind(), kept.proposed.unbind(), to_x.unbind()
    now = gradient if last else gradient[-1]
    for t in reversed(range(steps)):
        opened, proposed, turn = all_opened[t], all_proposed[t], t % 2
        torch.mul(now, opened[units:], out=to_h[turn])
        activate_back(torch.sub(now, to_h[turn], out=spare), proposed, candidate_sums)
        torch.mul(now, torch.sub(h[t], proposed, out=spare), out=to_z)
        torch.mm(candidate_back, candidate_sums, out=to_xrh[turn])
        torch.mul(to_rh[turn], h[t], out=to_r)
        to_h[turn].addcmul_(to_rh[turn], opened[:units])
        _sigmoid_backward(to_opened, opened, grad_input=gate_sums)
        to_hx[turn].addmm_(gates_back, gate_sums)
        to_gates.addmm_(gate_sums, hx[t].t())
        to_candidate.addmm_(candidate_sums, xrh[t].t())
        to_bias.addmv_(sums, ones)
        all_to_x[t].copy_(x_turn[turn])
        now = to_h[turn]
        if not last and t:
            now.add_(gradient[t - 1])
    to_input = torch.cat([to_gates[:, units:], to_candidate[:, :inputs]])
    to_recurrent = torch.cat([to_gates[:, :units], to_candidate[:, inputs:]])
    return to_x, to_input, to_recurrent, to_bias


def _tanh_back(gradient: Tensor, value: Tensor, out: Tensor) -> Tensor:
    answer: Tensor = _tanh_backward(gradient, value, grad_input=out)
    return answer


def _slices(rows: Tensor, units: int, inputs: int) -> tuple[tuple[Tensor, ...], ...]:
    """Of [k, h x rh, n], for each k: h, h with x, x with r h, r h."""
    ends = units + inputs
    return rows[:, :units].unbind(), rows[:, :ends].unbind(), rows[:, units:].unbind(), rows[:, ends:].unbind()


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, relu: bool, last: bool) -> Tensor:
        ctx.kept, ctx.last = _forward(x, weight, recurrent, bias, relu), last
        states: Tensor = ctx.kept.states
        # a copy: whoever changed it would change what the way back reads
        return (states[-1] if last else states).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *_backward(ctx.kept, gradient, ctx.last), None, None


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
