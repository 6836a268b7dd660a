"""TensorFlow 1's GRUCell and RMSPropOptimizer in PyTorch.

In TensorFlow 1's GRUCell the reset gate is applied before the recurrent product, in torch.nn.GRU after it. The
gradients of all steps are written out, because autograd over a loop stores a dozen tensors per step and is slower.
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


class TF1GRU(nn.Module):
    """One GRU layer with the weight layout of `layers.GruLayer`: gates r, z, n, one bias.

    As in TensorFlow 1's GRUCell, the biases of the gates are initialized to 1 and those of the candidate to 0.

    Args:
        inputs: Input features.
        hidden: Hidden units.
        relu: Activation of the candidate n is ReLU instead of tanh.
        init: "torch": kernels from U(+-1 / sqrt(hidden)), as torch.nn.GRU; "tf1": uniform unit scaling over the joint
            kernels of [x, h], TensorFlow's default of 2016.
    """

    def __init__(self, inputs: int, hidden: int, relu: bool, init: str) -> None:
        super().__init__()
        self.hidden, self.relu = hidden, relu
        self.input_weight = nn.Parameter(torch.empty(3 * hidden, inputs))
        self.recurrent_weight = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias = nn.Parameter(torch.cat([torch.ones(2 * hidden), torch.zeros(hidden)]))
        bound = math.sqrt(3.0 / (inputs + hidden)) if init == "tf1" else 1 / math.sqrt(hidden)
        for kernel in (self.input_weight, self.recurrent_weight):
            nn.init.uniform_(kernel, -bound, bound)

    def forward(self, x: Tensor, last: bool) -> Tensor:
        """Run the layer.

        Args:
            x: Input [steps, inputs, n]. The n windows are the last axis, so that every operand is contiguous.
            last: Return the last state only.

        Returns:
            States [steps, hidden, n], or the last one [hidden, n].
        """
        states: Tensor = _Recurrence.apply(x, self.input_weight, self.recurrent_weight, self.bias, self.relu, last)
        return states

    def to_layer(self) -> GruLayer:
        """Return the trained arrays, float32 on the CPU."""
        arrays = (self.input_weight, self.recurrent_weight, self.bias)
        weight, recurrent, bias = (p.detach().cpu().numpy().astype("float32").copy() for p in arrays)
        return GruLayer(weight, recurrent, bias, 0 * bias[: self.hidden], reset_after=False, relu=self.relu)


@dataclass(frozen=True)
class _Activations:
    """Intermediate results of the forward pass for the backward pass; u units, i inputs, n windows.

    Attributes:
        gates: Joint kernel of the gates on [h, x], [2u, u + i].
        candidate: Joint kernel of the candidate on [x, r h], [u, i + u].
        rows: h, x and r h of each step in one array, so that [h, x] and [x, r h] are slices, [steps + 1, 2u + i, n].
        gate_values: Gates r and z, [steps, 2u, n].
        candidate_values: Candidates n, [steps, u, n].
        relu: Activation of the candidate is ReLU.
    """

    gates: Tensor
    candidate: Tensor
    rows: Tensor
    gate_values: Tensor
    candidate_values: Tensor
    relu: bool

    @property
    def units(self) -> int:
        return len(self.candidate)

    @property
    def states(self) -> Tensor:
        """State after each step [steps, u, n]."""
        return self.rows[1:, : self.units]


def _forward(x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, relu: bool) -> _Activations:
    (steps, inputs, n), units = x.shape, recurrent.shape[1]
    gates = torch.cat([recurrent[: 2 * units], weight[: 2 * units]], dim=1)
    candidate = torch.cat([weight[2 * units :], recurrent[2 * units :]], dim=1)
    gate_bias, candidate_bias = bias[: 2 * units, None], bias[2 * units :, None]
    activations = _Activations(
        gates,
        candidate,
        x.new_empty(steps + 1, 2 * units + inputs, n),
        x.new_empty(steps, 2 * units, n),
        x.new_empty(steps, units, n),
        relu,
    )
    activations.rows[0, :units] = 0
    activations.rows[:steps, units : units + inputs] = x
    h, hx, xrh, rh = _slices(activations.rows, units, inputs)
    activate = torch.relu_ if relu else torch.tanh_
    for t, (gate_values, candidate_values) in enumerate(
        zip(activations.gate_values.unbind(), activations.candidate_values.unbind(), strict=True)
    ):
        torch.sigmoid_(torch.addmm(gate_bias, gates, hx[t], out=gate_values))
        torch.mul(gate_values[:units], h[t], out=rh[t])
        activate(torch.addmm(candidate_bias, candidate, xrh[t], out=candidate_values))
        torch.lerp(candidate_values, h[t], gate_values[units:], out=h[t + 1])  # (1 - z) n + z h
    return activations


def _backward(activations: _Activations, gradient: Tensor, last: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, input weight, recurrent weight and bias.

    `gradient` is that of the states [steps, u, n], or of the last state [u, n].
    """
    units, (steps, _, n) = activations.units, activations.gate_values.shape
    inputs = activations.gates.shape[1] - units
    h, hx, xrh, _ = _slices(activations.rows, units, inputs)
    gates_back, candidate_back = activations.gates.t(), activations.candidate.t()
    activation_backward = (
        (lambda g, n, out: _relu_backward(g, n, 0.0, grad_input=out)) if activations.relu else _tanh_backward_out
    )
    grad_x = activations.rows.new_empty(steps, inputs, n)
    grad_gates, grad_candidate = torch.zeros_like(activations.gates), torch.zeros_like(activations.candidate)
    grad_bias, ones = activations.rows.new_zeros(3 * units), activations.rows.new_ones(n)
    # gradients of h, x and r h in the layout of `rows`; two buffers, because a step reads what the next one wrote
    grad_rows = activations.rows.new_empty(2, 2 * units + inputs, n)
    grad_h, grad_hx, grad_xrh, grad_rh = _slices(grad_rows, units, inputs)
    grad_preactivations = activations.rows.new_empty(3 * units, n)  # gradients of the pre-activations of r, z, n
    grad_gate_values = activations.rows.new_empty(2 * units, n)
    grad_r, grad_z = grad_gate_values[:units], grad_gate_values[units:]
    grad_gate_preactivations, grad_candidate_preactivations = (
        grad_preactivations[: 2 * units],
        grad_preactivations[2 * units :],
    )
    scratch = activations.rows.new_empty(units, n)
    grad_x_buffers = grad_rows[:, units : units + inputs].unbind()
    all_gate_values, all_candidate_values, all_grad_x = (
        activations.gate_values.unbind(),
        activations.candidate_values.unbind(),
        grad_x.unbind(),
    )
    grad_state = gradient if last else gradient[-1]
    for t in reversed(range(steps)):
        gate_values, candidate_values, buffer = all_gate_values[t], all_candidate_values[t], t % 2
        torch.mul(grad_state, gate_values[units:], out=grad_h[buffer])
        activation_backward(
            torch.sub(grad_state, grad_h[buffer], out=scratch), candidate_values, grad_candidate_preactivations
        )
        torch.mul(grad_state, torch.sub(h[t], candidate_values, out=scratch), out=grad_z)
        torch.mm(candidate_back, grad_candidate_preactivations, out=grad_xrh[buffer])
        torch.mul(grad_rh[buffer], h[t], out=grad_r)
        grad_h[buffer].addcmul_(grad_rh[buffer], gate_values[:units])
        _sigmoid_backward(grad_gate_values, gate_values, grad_input=grad_gate_preactivations)
        grad_hx[buffer].addmm_(gates_back, grad_gate_preactivations)
        grad_gates.addmm_(grad_gate_preactivations, hx[t].t())
        grad_candidate.addmm_(grad_candidate_preactivations, xrh[t].t())
        grad_bias.addmv_(grad_preactivations, ones)
        all_grad_x[t].copy_(grad_x_buffers[buffer])
        grad_state = grad_h[buffer]
        if not last and t:
            grad_state.add_(gradient[t - 1])
    grad_input_weight = torch.cat([grad_gates[:, units:], grad_candidate[:, :inputs]])
    grad_recurrent = torch.cat([grad_gates[:, :units], grad_candidate[:, inputs:]])
    return grad_x, grad_input_weight, grad_recurrent, grad_bias


def _tanh_backward_out(gradient: Tensor, value: Tensor, out: Tensor) -> Tensor:
    result: Tensor = _tanh_backward(gradient, value, grad_input=out)
    return result


def _slices(rows: Tensor, units: int, inputs: int) -> tuple[tuple[Tensor, ...], ...]:
    """Split rows [k, h x rh, n] into h, [h, x], [x, r h] and r h of each k."""
    ends = units + inputs
    return rows[:, :units].unbind(), rows[:, :ends].unbind(), rows[:, units:].unbind(), rows[:, ends:].unbind()


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, relu: bool, last: bool) -> Tensor:
        ctx.activations, ctx.last = _forward(x, weight, recurrent, bias, relu), last
        states: Tensor = ctx.activations.states
        # a copy, because the backward pass reads the original
        return (states[-1] if last else states).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *_backward(ctx.activations, gradient, ctx.last), None, None


class TF1RMSprop(torch.optim.Optimizer):
    """RMSProp as in TensorFlow 1: m <- decay m + (1 - decay) g^2;  p <- p - rate g / sqrt(m + epsilon).

    Hinton's lecture 6e (2012) in the form of TensorFlow 1.15 without momentum (python/training/rmsprop.py and
    ApplyRMSProp in core/kernels/training_ops.cc): m is initialized to 1, and epsilon is inside the square root.
    torch.optim.RMSprop initializes m to 0, so that the first steps are over three times the learning rate, and adds
    epsilon outside: the first gradients of units whose ReLU was inactive would cause full steps.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, decay: float = 0.9, epsilon: float = 1e-10
    ) -> None:
        super().__init__(parameters, {"lr": rate, "decay": decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step. Parameters without a gradient do not change."""
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
