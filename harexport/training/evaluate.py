"""What a network in training answers: each head's loss and hits, in pieces that fit the processor's cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harexport.data.windows import Windows
from harexport.training import coarse
from harexport.training.models import HarNet

# Steps that go through the network together on a CPU. A batch is cut into pieces of about this many whose gradients
# add up to the batch's: 1500 windows of 128 steps outgrow the cache, in pieces of 64 windows the LSTM takes half the
# time. The GRU's operators are called one by one, which pays with longer pieces.
_PIECE_STEPS = {"lstm": 8192, "gru": 131072}


def evaluate(model: HarNet, windows: Windows, coarse_labels: tuple[int, ...] = ()) -> dict[str, tuple[float, float]]:
    """Each head's mean cross-entropy and accuracy on `windows`, without dropout."""
    model.eval()
    device = model.mean.device
    wanted = truth(windows.labels, coarse_labels, device)
    sums = dict.fromkeys(wanted, (0.0, 0.0))
    with torch.no_grad():
        size = piece(model, device)
        for start in range(0, len(windows), size):
            part = slice(start, start + size)
            state = model.last_state(torch.from_numpy(windows.signals[part].copy()).to(device))
            for name, head in model.heads().items():
                logits, answer = head(state), wanted[name][part]
                loss, right = float(cross_entropy(logits, answer, reduction="sum")), hits(logits, answer)
                sums[name] = (sums[name][0] + loss, sums[name][1] + right)
    return {name: (loss / len(windows), right / len(windows)) for name, (loss, right) in sums.items()}


def truth(labels: np.ndarray, coarse_labels: tuple[int, ...], device: torch.device) -> dict[str, Tensor]:
    """What each head should answer [n], under the heads' names."""
    named = {"head": labels.copy()} | ({"coarse": coarse.truth(coarse_labels, labels)} if coarse_labels else {})
    return {name: torch.from_numpy(values).to(device) for name, values in named.items()}


def hits(logits: Tensor, answers: Tensor) -> int:
    """How many windows [n, labels] are answered as they should be [n]."""
    return int((logits.argmax(1) == answers).sum())


def piece(model: HarNet, device: torch.device) -> int:
    """Windows that go through the network together; a GPU takes a batch as it is."""
    if device.type != "cpu":
        return 2**31
    return max(1, _PIECE_STEPS[model.cell] // model.steps)
