"""PyTorch: the network's arrays in torch.nn.LSTM or torch.nn.GRU, a second implementation to compare with."""

from __future__ import annotations

import numpy as np

from harexport.errors import MissingExtraError
from harexport.model.layers import Array, GruLayer, Layer
from harexport.model.network import Network, check_windows
from harexport.runtimes import Floats

try:
    import torch
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
        self._stride, self._relu = network.input.stride, network.input.relu
        self._mean, self._std = _tensor(network.mean), _tensor(network.std)
        # conv1d expects samples [n, channels, window] and weights [out_channels, channels, kernel_size]
        self._weight = _tensor(network.input.weight).transpose(1, 2).contiguous()
        self._bias = _tensor(network.input.bias)
        self._layers = [_module(layer).eval() for layer in network.recurrent_layers]
        self._head = _tensor(network.head.weight), _tensor(network.head.bias)

    def logits(self, windows: Array) -> Floats:
        """Windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return self.run_batch(np.ascontiguousarray(windows, dtype=np.float32))

    def run_batch(self, windows: Floats) -> Floats:
        """Windows [n, window, channels] float32 -> logits [n, labels], without checks."""
        with torch.inference_mode():
            x = (torch.from_numpy(windows) - self._mean) / self._std
            x = torch.nn.functional.conv1d(x.transpose(1, 2), self._weight, self._bias, stride=self._stride)
            if self._relu:
                x = torch.relu(x)
            x = x.transpose(1, 2)
            for module in self._layers:
                x, _ = module(x)
            logits: Floats = torch.nn.functional.linear(x[:, -1], *self._head).numpy()
            return logits


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
        linear, states = torch.nn.functional.linear, []
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


def _module(layer: Layer) -> torch.nn.Module:
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
