"""The losses of a training step in PyTorch: their sums with weights, then each without.

Read it beside jax/losses.py. Scores are (N, 1, h, w), images (N, bands, H, W). Source: arXiv
1703.10593, equations 1 to 3; what came later is off by default, and stands at the end.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unpaired.config import Recipe

__all__ = ["discriminators_loss", "generators_loss", "gradient_penalty"]

Autocast = Callable[[], AbstractContextManager[object]]


def generators_loss(
    generators: nn.ModuleDict,
    discriminators: nn.ModuleDict,
    real_a: Tensor,
    real_b: Tensor,
    recipe: Recipe,
    autocast: Autocast,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The weighted sum of adversarial, cycle and identity losses; the fakes; and each loss."""
    generator_ab, generator_ba = generators.values()
    with autocast():
        if recipe.identity_weight:
            # Networks keep images apart, so two inputs may share one forward.
            fake_b, identity_b = generator_ab(torch.cat([real_a, real_b])).chunk(2)
            fake_a, identity_a = generator_ba(torch.cat([real_b, real_a])).chunk(2)
        else:
            fake_b, fake_a = generator_ab(real_a), generator_ba(real_b)
        cycle_a, cycle_b = generator_ba(fake_b), generator_ab(fake_a)
        score_a = discriminators["discriminator_a"](fake_a)
        score_b = discriminators["discriminator_b"](fake_b)
    losses = {
        "adversarial_ab": least_squares(score_b, 1.0),
        "adversarial_ba": least_squares(score_a, 1.0),
        "cycle_a": least_absolute(cycle_a, real_a),
        "cycle_b": least_absolute(cycle_b, real_b),
    }
    total = losses["adversarial_ab"] + losses["adversarial_ba"]
    total = total + recipe.cycle * (losses["cycle_a"] + losses["cycle_b"])
    if recipe.identity_weight:
        losses["identity_a"] = least_absolute(identity_a, real_a)
        losses["identity_b"] = least_absolute(identity_b, real_b)
        total = total + recipe.identity_weight * (losses["identity_a"] + losses["identity_b"])
    return total, {"a": fake_a, "b": fake_b}, losses


def discriminators_loss(
    discriminators: nn.ModuleDict,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    recipe: Recipe,
    autocast: Autocast,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reals against 1, pooled fakes against 0; `pairs` has (real, shown) by domain."""
    losses, penalties = {}, []
    for domain, pair in pairs.items():
        images = torch.cat(pair).requires_grad_(recipe.gradient_penalty > 0)
        with autocast():
            scores = discriminators[f"discriminator_{domain}"](images)
        losses[f"discriminator_{domain}"] = discriminator_loss(*scores.chunk(2))
        if recipe.gradient_penalty:
            penalties.append(gradient_penalty(scores, images))
    total = losses["discriminator_a"] + losses["discriminator_b"]
    if recipe.gradient_penalty:
        total = total + recipe.gradient_penalty * (penalties[0] + penalties[1])
    return total, losses


# ---- terms of 2017 ------------------------------------------------------------------------


def least_squares(scores: Tensor, target: float) -> Tensor:
    """Mean of (scores - target)^2 (Mao et al., "Least Squares GANs", arXiv 1611.04076)."""
    return (scores - target).square().mean()


def least_absolute(generated: Tensor, real: Tensor) -> Tensor:
    """Mean of |generated - real|."""
    return F.l1_loss(generated, real)


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
