"""Trains the networks of networks.py for a few minutes, so that converters get real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.converters.networks import NETWORKS
from harexport.data import Dataset
from harexport.utils.console import info

EPOCHS, BATCH, SEED = 3, 128, 0
_STRIDE = 2  # windows overlap by half, so that every second one covers the recordings


def train(name: str, dataset: Dataset, path: Path) -> None:
    """Train a network on the training windows and save its weights; an existing file is kept."""
    if path.exists():
        return
    torch.manual_seed(SEED)
    signals = torch.from_numpy(np.ascontiguousarray(dataset.train.signals[::_STRIDE], np.float32))
    labels = torch.from_numpy(np.asarray(dataset.train.labels[::_STRIDE], np.int64))
    module = NETWORKS[name]()
    module.mean.copy_(signals.mean(dim=(0, 1)))
    module.std.copy_(signals.std(dim=(0, 1)))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.001)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.005, EPOCHS * (len(labels) // BATCH))
    random = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        order, total = torch.from_numpy(random.permutation(len(labels))), 0.0
        for start in range(0, len(labels) - BATCH + 1, BATCH):
            part = order[start : start + BATCH]
            loss = nn.functional.cross_entropy(module(signals[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * BATCH / len(labels)
        info(f"{name}: epoch {epoch + 1} of {EPOCHS}, loss {total:.3f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)
