"""The JAX engine: networks, where they run (device), the step (step), and its state (engine)."""
