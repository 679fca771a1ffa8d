"""Floating-point operations of a translation and of a training step, counted from the layers.

Only convolutions count, a multiply-add as two, padding included: norms, activations and Adam are a
few operations a number. The count is what the algorithm needs, however an engine computes it.
"""

import math
from collections.abc import Sequence

from unpaired.config import Recipe
from unpaired.engines.architecture import Layer
from unpaired.engines.seam import discriminators_of, generators_of

__all__ = ["forward_flops", "step_flops", "translation_flops"]


def forward_flops(layers: Sequence[Layer], side: int) -> tuple[int, ...]:
    """The operations of each layer for one square image of `side` pixels.

    >>> from unpaired.engines.architecture import generator_layers
    >>> paper = generator_layers(3, 3, width=64, blocks=9, upsample="transposed")
    >>> round(sum(forward_flops(paper, 256)) / 1e9)
    99
    """
    counts = []
    for layer in layers:
        if layer.transposed:  # every input pixel meets the whole kernel
            positions, side = side**2, side * layer.stride
        else:
            whole = side * layer.enlarge + 2 * layer.padding
            side = (whole - layer.shape[-1]) // layer.stride + 1
            positions = side**2
        counts.append(2 * positions * math.prod(layer.shape))
    return tuple(counts)


def translation_flops(recipe: Recipe) -> int:
    """The operations of a batch of translations from a to b, at the recipe's sizes."""
    layers = generators_of(recipe)["generator_ab"]
    return recipe.batch_size * sum(forward_flops(layers, recipe.image_size))


def step_flops(recipe: Recipe) -> int:
    """The operations of a training step at the recipe's sizes.

    A layer takes one forward pass, one for the gradient of its weights and one for that of its
    input. A first layer whose input is a given image needs no gradient of it; discriminators that
    judge for a generator need none of their weights. A gradient penalty adds a
    pass back to the images and two more to differentiate it; they then have gradients too.
    """
    side, count = recipe.image_size, recipe.batch_size
    total = 0
    for layers in generators_of(recipe).values():
        first, *_ = counts = forward_flops(layers, side)
        translation = cycle = 3 * sum(counts)
        translation -= first
        total += count * (translation + cycle + (translation if recipe.identity_weight else 0))
    for layers in discriminators_of(recipe).values():
        first, *_ = counts = forward_flops(layers, side)
        total += count * 2 * sum(counts)
        once = 3 * sum(counts) - first
        each = 6 * sum(counts) if recipe.gradient_penalty else once
        total += 2 * count * recipe.discriminator_images * each
    return total
