"""The losses of a training step in JAX: their sums with weights, then each without.

Read it beside torch/losses.py. Scores are (N, h, w, 1), images (N, H, W, bands). Source: arXiv
1703.10593, equations 1 to 3; what came later is off by default, and stands at the end.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from unpaired.config import Recipe
from unpaired.engines.architecture import Start
from unpaired.engines.jax.networks import Discriminators, Generators, Tree, in_precision, through

__all__ = ["discriminators_loss", "generators_loss", "gradient_penalty"]


def generators_loss(
    generators: Generators,
    discriminators: Discriminators,
    real_a: Array,
    real_b: Array,
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[Array, tuple[dict[str, Array], dict[str, Array]]]:
    """The weighted sum of adversarial, cycle and identity losses; (fakes, losses) beside it."""
    networks = in_precision(generators | discriminators, recipe.precision)
    start, (a, b) = recipe.settled_start, fed((real_a, real_b), recipe)
    generator_ab, generator_ba, discriminator_a, discriminator_b = (
        partial(through, networks[name], one_by_one=one_by_one)
        for name in ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
    )
    if recipe.identity_weight:
        # Networks keep images apart, so two inputs may share one forward.
        fake_b, identity_b = jnp.split(generator_ab(jnp.concatenate([a, b])), 2)
        fake_a, identity_a = jnp.split(generator_ba(jnp.concatenate([b, a])), 2)
    else:
        fake_b, fake_a = generator_ab(a), generator_ba(b)
    fed_a, fed_b = fed((fake_a, fake_b), recipe)
    cycle_a, cycle_b = generator_ba(fed_b), generator_ab(fed_a)
    losses = {
        "adversarial_ab": least_squares(discriminator_b(fed_b), 1.0),
        "adversarial_ba": least_squares(discriminator_a(fed_a), 1.0),
        "cycle_a": least_absolute(cycle_a, real_a, start),
        "cycle_b": least_absolute(cycle_b, real_b, start),
    }
    total = losses["adversarial_ab"] + losses["adversarial_ba"]
    total = total + recipe.cycle * (losses["cycle_a"] + losses["cycle_b"])
    if recipe.identity_weight:
        losses["identity_a"] = least_absolute(identity_a, real_a, start)
        losses["identity_b"] = least_absolute(identity_b, real_b, start)
        total = total + recipe.identity_weight * (losses["identity_a"] + losses["identity_b"])
    return total, ({"a": fake_a, "b": fake_b}, losses)


def discriminators_loss(
    discriminators: Discriminators,
    pairs: Mapping[str, tuple[Array, Array]],
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[Array, dict[str, Array]]:
    """Reals against 1, pooled fakes against 0; `pairs` has (real, shown) by domain."""
    losses, penalties = {}, []
    for domain, pair in pairs.items():
        name = f"discriminator_{domain}"
        network = in_precision(discriminators[name], recipe.precision)
        judge = partial(through, network, one_by_one=one_by_one)
        images = jnp.concatenate(pair)
        losses[name] = discriminator_loss(
            *jnp.split(judge(in_precision(images, recipe.precision)), 2)
        )
        if recipe.gradient_penalty:
            penalties.append(gradient_penalty(judge, images))
    total = losses["discriminator_a"] + losses["discriminator_b"]
    if recipe.gradient_penalty:
        total = total + recipe.gradient_penalty * (penalties[0] + penalties[1])
    return total, losses


def fed(images: Tree, recipe: Recipe) -> Tree:
    """Images for the networks of a step; not cast where a generator adds its head to its input."""
    return images if recipe.start == "identity" else in_precision(images, recipe.precision)


# ---- terms of 2017 ------------------------------------------------------------------------


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


# ---- terms of later papers ----------------------------------------------------------------------


def gradient_penalty(judge: Callable[[Array], Array], images: Array) -> Array:
    """Half the mean over images of the squared slope of an image's mean score, zero-centred.

    `judge` gives the scores of images. Sources, and what is averaged: torch/losses.py. It is fp32
    at least, as `images` are.
    """
    slopes = jax.grad(lambda x: judge(x).mean((1, 2, 3)).sum())(images)
    return 0.5 * jnp.square(slopes).sum((1, 2, 3)).mean()
