"""PyTorch: the network's arrays in its operators, a second implementation to compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harexport.errors import MissingExtraError
from harexport.model.layers import (
    Activation,
    Array,
    Branches,
    Cell,
    Conv1d,
    Flatten,
    GruLayer,
    Layer,
    Linear,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Step,
)
from harexport.model.network import Network, check_windows
from harexport.runtimes.runner import Floats

try:
    import torch
    from torch.nn import functional
except ImportError:
    raise MissingExtraError("torch", "train", "running a network in PyTorch") from None


class TorchRunner:
    """A network on the CPU in float32, on one thread."""

    def __init__(self, network: Network, name: str = "torch") -> None:
        torch.set_num_threads(1)
        self.name = name
        self.runtime = "PyTorch"
        self.window_shape = (network.window, network.num_channels)
        self.batch: int | None = None
        self.metadata: dict[str, str] = {}
        self._functions = [_function(layer) for layer in network.layers]

    def logits(self, windows: Array) -> Floats:
        """Windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return self.run_batch(np.ascontiguousarray(windows, dtype=np.float32))

    def run_batch(self, windows: Floats) -> Floats:
        """Windows [n, window, channels] float32 -> logits [n, labels], without checks."""
        with torch.inference_mode():
            logits: Floats = _apply(self._functions, torch.from_numpy(windows)).numpy()
            return logits


_Function = Callable[[torch.Tensor], torch.Tensor]
_ACTIVATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
}


def _apply(functions: list[_Function], x: torch.Tensor) -> torch.Tensor:
    for function in functions:
        x = function(x)
    return x


def _function(layer: Layer) -> _Function:
    """Return a layer as a function of sequences [n, steps, channels] or vectors [n, features]."""
    match layer:
        case Normalize():
            mean, std = _tensor(layer.mean), _tensor(layer.std)
            return lambda x: (x - mean) / std
        case Conv1d():
            # conv1d expects samples [n, channels, steps] and weights [out_channels, channels, kernel_size]
            kernel, bias = _tensor(layer.weight).transpose(1, 2).contiguous(), _tensor(layer.bias)

            def convolve(x: torch.Tensor) -> torch.Tensor:
                x = functional.pad(x, (0, 0, *layer.padding)).transpose(1, 2)
                rows = functional.conv1d(x, kernel, bias, stride=layer.stride, dilation=layer.dilation)
                return (torch.relu(rows) if layer.relu else rows).transpose(1, 2)

            return convolve
        case Linear():
            weight, offset = _tensor(layer.weight), _tensor(layer.bias)
            if layer.relu:
                return lambda x: torch.relu(functional.linear(x, weight, offset))
            return lambda x: functional.linear(x, weight, offset)
        case Activation():
            activation = _ACTIVATIONS[layer.kind]
            options = (layer.alpha,) if layer.kind in ("leaky_relu", "elu") else ()
            return lambda x: activation(x, *options)
        case Pool():
            pool = functional.max_pool1d if layer.kind == "max" else functional.avg_pool1d
            return lambda x: pool(x.transpose(1, 2), layer.kernel_size, layer.stride).transpose(1, 2)
        case Recurrent():
            return _recurrent(layer)
        case Step():
            return lambda x: x[:, layer.index]
        case Reduce():
            return lambda x: x.amax(dim=1) if layer.kind == "max" else x.mean(dim=1)
        case Flatten():
            return lambda x: x.flatten(1)
        case Branches():
            branches = [[_function(part) for part in branch] for branch in layer.branches]

            def join(x: torch.Tensor) -> torch.Tensor:
                outputs = [_apply(branch, x) for branch in branches]
                return torch.stack(outputs).sum(0) if layer.kind == "sum" else torch.cat(outputs, dim=-1)

            return join
    raise TypeError(type(layer).__name__)


def _recurrent(layer: Recurrent) -> _Function:
    module = _module(layer.layer).eval()

    def run(x: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = module(x.flip(1) if layer.backward else x)[0]
        if not layer.sequence:
            return states[:, -1]
        return states.flip(1) if layer.backward else states

    return run


class _Gru(torch.nn.Module):
    """The GRUs that torch.nn.GRU lacks: with the reset gate before the product, or ReLU for the candidate."""

    def __init__(self, layer: GruLayer) -> None:
        super().__init__()
        self.reset_after, self.activation = layer.reset_after, torch.relu if layer.relu else torch.tanh
        self.input = _tensor(layer.input_weight), _tensor(layer.bias)
        gates, candidate = np.split(layer.recurrent_weight, [2 * layer.hidden])
        self.gates, self.candidate = _tensor(gates), _tensor(candidate)
        self.recurrent_bias = _tensor(layer.recurrent_bias)

    def forward(self, sequence: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Sequence [n, steps, inputs] -> states [n, steps, hidden], and None in place of torch.nn.GRU's last state."""
        linear, states = functional.linear, []
        h = sequence.new_zeros(len(sequence), len(self.candidate))
        for inputs in linear(sequence, *self.input).unbind(1):
            r, z, n = inputs.chunk(3, dim=1)
            back_r, back_z = linear(h, self.gates).chunk(2, dim=1)
            r, z = torch.sigmoid(r + back_r), torch.sigmoid(z + back_z)
            if self.reset_after:
                back = r * linear(h, self.candidate, self.recurrent_bias)
            else:
                back = linear(r * h, self.candidate)
            h = (1.0 - z) * self.activation(n + back) + z * h
            states.append(h)
        return torch.stack(states, dim=1), None


def _module(layer: Cell) -> torch.nn.Module:
    """A layer as a module: sequences [n, steps, inputs] -> (states [n, steps, hidden], last state)."""
    inputs = layer.input_weight.shape[1]
    second = np.zeros_like(layer.bias)  # PyTorch adds two biases
    if not isinstance(layer, GruLayer):
        module: torch.nn.Module = torch.nn.LSTM(inputs, layer.hidden, batch_first=True)
    elif layer.reset_after and not layer.relu:
        module = torch.nn.GRU(inputs, layer.hidden, batch_first=True)
        second[2 * layer.hidden :] = layer.recurrent_bias
    else:
        return _Gru(layer)
    arrays = {
        "weight_ih_l0": layer.input_weight,
        "weight_hh_l0": layer.recurrent_weight,
        "bias_ih_l0": layer.bias,
        "bias_hh_l0": second,
    }
    module.load_state_dict({key: _tensor(values) for key, values in arrays.items()})
    return module


def _tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
