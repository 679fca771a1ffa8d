"""The PyTorch engine: networks, where they run (device), and the training step (engine)."""
