"""From a recipe and windows to a trained network. Only `models`, `augment` and `loop` import torch."""
