"""The losses of a training step in PyTorch, without their weights: those of 2017, then the others.

Read it beside jax/losses.py. Scores are (N, 1, h, w), images (N, bands, H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["discriminator_loss", "gradient_penalty", "least_absolute", "least_squares"]


def least_squares(scores: Tensor, target: float) -> Tensor:
    """Mean of (scores - target)^2 (Mao et al., "Least Squares GANs", arXiv 1611.04076)."""
    return (scores - target).square().mean()


def least_absolute(generated: Tensor, real: Tensor) -> Tensor:
    """Mean of |generated - real|."""
    return F.l1_loss(generated, real)


def discriminator_loss(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Scores of real images against 1 and of generated ones against 0."""
    return 0.5 * (least_squares(on_real, 1.0) + least_squares(on_fake, 0.0))


# ---- of later papers ----------------------------------------------------------------------


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
