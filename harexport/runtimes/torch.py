"""PyTorch: the network's arrays in torch.nn.LSTM, as a second implementation to compare with."""

from __future__ import annotations

import numpy as np

from harexport.errors import InputError, MissingExtraError
from harexport.layers import Array
from harexport.network import Network, check_windows
from harexport.runtimes import Floats

try:
    import torch
except ImportError:
    raise MissingExtraError("torch", "train", "running a network in PyTorch") from None


class TorchRunner:
    """A network on the CPU in float32."""

    def __init__(self, network: Network, name: str = "torch") -> None:
        torch.set_num_threads(1)  # as every runner
        self.name = name
        self.runtime = "PyTorch"
        self.window_shape = (network.window, network.channels)
        self.metadata: dict[str, str] = {}
        self._hop, self._relu = network.input.hop, network.input.relu
        self._mean, self._std = _tensor(network.mean), _tensor(network.std)
        # conv1d reads [n, channels, window] and weights [units, channels, frame]
        self._weight = _tensor(network.input.weight).transpose(1, 2).contiguous()
        self._bias = _tensor(network.input.bias)
        if not network.lstm:
            raise InputError(f"{name}: the torch runner runs LSTM stacks; torch.nn.GRU cannot say all our GRUs can")
        self._stack = []
        width = network.input.units
        for layer in network.lstm:
            module = torch.nn.LSTM(width, layer.hidden, batch_first=True)
            arrays = {
                "weight_ih_l0": layer.input_weight,
                "weight_hh_l0": layer.recurrent_weight,
                "bias_ih_l0": layer.bias,
                "bias_hh_l0": np.zeros_like(layer.bias),
            }
            module.load_state_dict({key: _tensor(values) for key, values in arrays.items()})
            self._stack.append(module.eval())
            width = layer.hidden
        self._head = _tensor(network.head.weight), _tensor(network.head.bias)

    def logits(self, windows: Array) -> Floats:
        """windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        check_windows(windows, *self.window_shape)
        return self.one(np.ascontiguousarray(windows, dtype=np.float32))

    def one(self, window: Floats) -> Floats:
        """Windows [n, window, channels] float32 -> logits [n, labels]; checks nothing."""
        with torch.inference_mode():
            x = (torch.from_numpy(window) - self._mean) / self._std
            x = torch.nn.functional.conv1d(x.transpose(1, 2), self._weight, self._bias, stride=self._hop)
            if self._relu:
                x = torch.relu(x)
            x = x.transpose(1, 2)
            for module in self._stack:
                x, _ = module(x)
            answer: Floats = torch.nn.functional.linear(x[:, -1], *self._head).numpy()
            return answer


def _tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
