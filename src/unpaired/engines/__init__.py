"""Engines: the networks and one training step, natively in each framework.

`architecture` holds the facts of the networks, `seam` what every engine offers, `choice` imports
the framework that the runtime names; `torch/` and `jax/` are the engines themselves.
"""
