"""The losses of a training step in JAX, for one direction or domain at a time.

Read it beside torch/losses.py. Scores are (N, h, w, 1), images (N, H, W, bands). Source: arXiv
1703.10593, equations 1 to 3; what came later is off by default, and stands at the end.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from unpaired.config import Recipe
from unpaired.directions import Direction, Domain, reverse, source_of, target_of
from unpaired.engines.architecture import Start
from unpaired.engines.jax.networks import Discriminators, Generators, in_precision, through

__all__ = ["discriminators_loss", "generators_loss", "gradient_penalty"]


def generators_loss(
    generators: Generators,
    discriminators: Discriminators,
    direction: Direction,
    real: Mapping[Domain, Array],
    weights: Mapping[str, Array],
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[Array, Array, dict[str, Array]]:
    """The terms that begin with one direction: their weighted sum, the fake, and each of them.

    `weights` are those of `seam.pixel_weights`. The fake is as discriminators see it.
    """
    source, target = source_of(direction), target_of(direction)
    networks = in_precision(generators | discriminators, recipe.settled_precision)
    start = recipe.settled_start
    forth, back, judge = (
        partial(through, networks[name], one_by_one=one_by_one)
        for name in (
            f"generator_{direction}",
            f"generator_{reverse(direction)}",
            f"discriminator_{target}",
        )
    )
    if recipe.identity_weight:
        # Networks keep images apart, so two inputs may share one forward.
        both = jnp.concatenate([fed(real[source], recipe), fed(real[target], recipe)])
        fake, same = jnp.split(forth(both), 2)
    else:
        fake = forth(fed(real[source], recipe))
    seen = fake
    if weights:
        fake = jnp.where(weights[source] > 0, fake, jax.lax.stop_gradient(fake))
        seen = fake * weights["seen"]
    shown = fed(fake, recipe)
    adversarial = least_squares(judge(fed(seen, recipe) if weights else shown), 1.0)
    cycle = least_absolute(back(shown), real[source], start, weights.get(source))
    losses = {f"adversarial_{direction}": adversarial, f"cycle_{source}": cycle}
    total = adversarial + recipe.cycle * cycle
    if recipe.identity_weight:
        losses[f"identity_{target}"] = least_absolute(
            same, real[target], start, weights.get(target)
        )
        total = total + recipe.identity_weight * losses[f"identity_{target}"]
    return total, seen, losses


def discriminators_loss(
    discriminators: Discriminators,
    domain: Domain,
    real: Array,
    shown: Array,
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[Array, dict[str, Array]]:
    """One domain's reals against 1, pooled fakes against 0: the sum with penalty, and without."""
    name = f"discriminator_{domain}"
    network = in_precision(discriminators[name], recipe.settled_precision)
    judge = partial(through, network, one_by_one=one_by_one)
    on_real, on_fake = (
        judge(in_precision(images, recipe.settled_precision)) for images in (real, shown)
    )
    loss = discriminator_loss(on_real, on_fake)
    total = loss
    if recipe.gradient_penalty:
        images = jnp.concatenate([real, shown])
        total = loss + recipe.gradient_penalty * gradient_penalty(judge, images)
    return total, {name: loss}


def fed(images: Array, recipe: Recipe) -> Array:
    """Images for the networks of a step; not cast where a generator adds its head to its input."""
    return in_precision(images, recipe.settled_precision) if recipe.start == "noise" else images


# ---- terms of 2017 ------------------------------------------------------------------------


def least_squares(scores: Array, target: float) -> Array:
    """Mean of (scores - target)^2 (Mao et al., "Least Squares GANs", arXiv 1611.04076)."""
    return jnp.square(scores - target).mean()


def least_absolute(
    generated: Array, real: Array, start: Start, weights: Array | None = None
) -> Array:
    """Mean of |generated - real|, times the `weights` of the pixels, which are 1 on average.

    Its slope at 0, where trainings from the image start, is 0 as in PyTorch.
    Trainings from noise keep JAX's own slope at 0, which is 1: they hardly ever meet it, and stay
    equal, bit for bit, to those of earlier versions.
    """
    gap = generated - real
    if start != "noise":
        gap = jnp.where(gap == 0, 0.0, gap)
    errors = jnp.abs(gap)
    return (errors if weights is None else errors * weights).mean()


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
