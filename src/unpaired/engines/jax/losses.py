"""The losses of a training step in JAX, without their weights: those of 2017, then the others.

Read it beside torch/losses.py. Scores are (N, h, w, 1), images (N, H, W, bands).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from unpaired.engines.architecture import Start

__all__ = ["discriminator_loss", "gradient_penalty", "least_absolute", "least_squares"]


def least_squares(scores: Array, target: float) -> Array:
    """Mean of (scores - target)^2 (Mao et al., "Least Squares GANs", arXiv 1611.04076)."""
    return jnp.square(scores - target).mean()


def least_absolute(generated: Array, real: Array, start: Start) -> Array:
    """Mean of |generated - real|, whose slope at 0, where an identity starts, is 0 as in PyTorch.

    Trainings from noise keep JAX's own slope at 0, which is 1: they hardly ever meet it, and stay
    equal, bit for bit, to those of earlier versions.
    """
    gap = generated - real
    if start == "identity":
        gap = jnp.where(gap == 0, 0.0, gap)
    return jnp.abs(gap).mean()


def discriminator_loss(on_real: Array, on_fake: Array) -> Array:
    """Scores of real images against 1 and of generated ones against 0."""
    return 0.5 * (least_squares(on_real, 1.0) + least_squares(on_fake, 0.0))


# ---- of later papers ----------------------------------------------------------------------


def gradient_penalty(judge: Callable[[Array], Array], images: Array) -> Array:
    """Half the mean over images of the squared slope of an image's mean score, zero-centred.

    `judge` gives the scores of images. Sources, and what is averaged: torch/losses.py. It is fp32
    at least, as `images` are.
    """
    slopes = jax.grad(lambda x: judge(x).mean((1, 2, 3)).sum())(images)
    return 0.5 * jnp.square(slopes).sum((1, 2, 3)).mean()
