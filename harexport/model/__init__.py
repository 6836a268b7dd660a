"""The model without a framework: contract, layers, network, recipe and checkpoint (NumPy only)."""
