"""Engines: networks and one training step, natively in each framework."""
