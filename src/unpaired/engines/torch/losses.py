"""The losses of a training step in PyTorch, for one direction or domain at a time.

Read it beside jax/losses.py. Scores are (N, 1, h, w), images (N, bands, H, W). Source: arXiv
1703.10593, equations 1 to 3; what came later is off by default, and stands at the end.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unpaired.config import Recipe
from unpaired.directions import Direction, Domain, reverse, source_of, target_of

__all__ = ["discriminators_loss", "generators_loss", "gradient_penalty"]

Autocast = Callable[[], AbstractContextManager[object]]


def generators_loss(
    generators: nn.ModuleDict,
    discriminators: nn.ModuleDict,
    direction: Direction,
    real: Mapping[Domain, Tensor],
    weights: Mapping[str, Tensor],
    recipe: Recipe,
    autocast: Autocast,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The terms that begin with one direction: their weighted sum, the fake, and each of them.

    Adversarial, cycle and identity terms of the other direction share no activations with these.
    `weights` are those of `seam.pixel_weights`. The fake is as discriminators see it.
    """
    source, target = source_of(direction), target_of(direction)
    forth, back = (generators[f"generator_{each}"] for each in (direction, reverse(direction)))
    with autocast():
        if recipe.identity_weight:
            # Networks keep images apart, so two inputs may share one forward.
            fake, same = forth(torch.cat([real[source], real[target]])).chunk(2)
        else:
            fake = forth(real[source])
        seen = fake
        if weights:
            fake = torch.where(weights[source] > 0, fake, fake.detach())
            seen = fake * weights["seen"]
        cycled = back(fake)
        scores = discriminators[f"discriminator_{target}"](seen)
    adversarial = least_squares(scores, 1.0)
    cycle = least_absolute(cycled, real[source], weights.get(source))
    losses = {f"adversarial_{direction}": adversarial, f"cycle_{source}": cycle}
    total = adversarial + recipe.cycle * cycle
    if recipe.identity_weight:
        losses[f"identity_{target}"] = least_absolute(same, real[target], weights.get(target))
        total = total + recipe.identity_weight * losses[f"identity_{target}"]
    return total, seen, losses


def discriminators_loss(
    discriminators: nn.ModuleDict,
    domain: Domain,
    real: Tensor,
    shown: Tensor,
    recipe: Recipe,
    autocast: Autocast,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One domain's reals against 1, pooled fakes against 0: the sum with penalty, and without."""
    judge = discriminators[f"discriminator_{domain}"]
    images = torch.cat([real, shown]).requires_grad_(recipe.gradient_penalty > 0)
    with autocast():
        scores = judge(images)
    loss = discriminator_loss(*scores.chunk(2))
    total = loss
    if recipe.gradient_penalty:
        total = loss + recipe.gradient_penalty * gradient_penalty(scores, images)
    return total, {f"discriminator_{domain}": loss}


# ---- terms of 2017 ------------------------------------------------------------------------


def least_squares(scores: Tensor, target: float) -> Tensor:
    """Mean of (scores - target)^2 (Mao et al., "Least Squares GANs", arXiv 1611.04076)."""
    return (scores - target).square().mean()


def least_absolute(generated: Tensor, real: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of |generated - real|, times the `weights` of the pixels, which are 1 on average."""
    if weights is None:
        return F.l1_loss(generated, real)
    return ((generated - real).abs() * weights).mean()


def discriminator_loss(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Scores of real images against 1 and of generated ones against 0."""
    return 0.5 * (least_squares(on_real, 1.0) + least_squares(on_fake, 0.0))


# ---- terms of later papers ----------------------------------------------------------------------


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Half the mean over images of the squared slope of an image's mean score, zero-centred.

    The squared slope is the sum over pixels and bands of (d mean score / d pixel)^2. Of real and
    generated images together (Roth et al., arXiv 1705.09367; Huang et al., "R3GAN", arXiv
    2501.05441; of one kind alone: Mescheder et al., arXiv 1801.04406). A mean over patches, not one
    score, is judged here, so slopes are smaller and weights larger than in those papers. `images`
    require gradients, and the result has gradients for the discriminator; it is fp32 at least, as
    `images` are.
    """
    means = scores.flatten(1).mean(1)
    (slopes,) = torch.autograd.grad(means.sum(), images, create_graph=True)
    return 0.5 * slopes.square().sum((1, 2, 3)).mean()
