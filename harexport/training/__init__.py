"""Training: from a recipe and windows to a trained network."""
