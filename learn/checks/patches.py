"""Lesson 2: the PatchGAN and least squares."""

import torch

from learn.checks.compare import Wrong, ask, expect

__all__ = ["EXERCISES"]

_PAPER = [(4, 2), (4, 2), (4, 2), (4, 1), (4, 1)]
_REAL, _GENERATED = torch.tensor([0.5, 2.0, -1.0, 0.7]), torch.tensor([-0.3, 1.2, 0.1, 3.0])


def receptive_field(answer: object) -> None:
    """The side of the patch, for the layers of the paper and others."""
    forward, plain, kernels = 1, 1, 1
    for kernel, stride in _PAPER:
        forward = (forward - 1) * stride + kernel
        plain += kernel - 1
        kernels *= stride
    product = 1
    for kernel, stride in reversed(_PAPER):
        product = product * stride + kernel
    hints = {
        "it goes through the layers from the first to the last: begin at the score, and go back": (
            forward
        ),
        "strides are missing: two neighbouring outputs of a layer are `stride` inputs apart": plain,
        "n outputs span n - 1 strides and one whole kernel: you take n strides": product,
        "this is how far apart neighbouring scores are: the product of the strides": kernels,
    }
    expect(ask(answer, _PAPER), 70, "for the layers of the paper", hints)
    expect(ask(answer, [(4, 2), (4, 1), (4, 1)]), 16, "for [(4, 2), (4, 1), (4, 1)]")
    expect(ask(answer, [(3, 1)]), 3, "for one layer of kernel 3")


def least_squares(answer: object) -> None:
    """The mean squared distance from a target, in PyTorch."""
    found = ask(answer, _REAL.clone().requires_grad_(), 0.75)
    if not isinstance(found, torch.Tensor) or not found.requires_grad:
        raise Wrong("the result has no gradient: keep it a tensor, without item() or numpy")
    _squares(found)


def least_squares_jax(answer: object) -> None:
    """The same in JAX, under `jit` as well: a function of arrays that is traced."""
    import jax
    import jax.numpy as jnp

    scores = jnp.asarray(_REAL.numpy())
    found = ask(answer, scores, 0.75)
    assert callable(answer)
    if not isinstance(found, jax.Array):
        raise Wrong("the result is no JAX array: use jnp, not numpy or torch")
    _squares(found)
    try:
        jax.jit(answer)(scores, 0.75)
    except Exception as error:
        raise Wrong("jax.jit cannot trace it: stay with jnp, without float() or item()") from error


def _squares(found: object) -> None:
    x = _REAL - 0.75
    hints = {
        "take the mean of the squares, not the sum: images of any size then count alike": (
            x.square().sum()
        ),
        "the target is missing: (scores - target) is squared": _REAL.square().mean(),
        "this is the mean distance: square it": x.abs().mean(),
        "this squares the mean: scores above and below the target would cancel out. Take the mean "
        "of the squares": x.mean().square(),
    }
    expect(found, x.square().mean(), "for four scores and target 0.75", hints)


def pull(answer: object) -> None:
    """The derivative of a square."""
    s = _REAL
    hints = {
        "the 2 that comes down from the exponent is missing": s - 1,
        "this is the derivative of s²: the target is 1": 2 * s,
        "the sign is turned round: below 1 the loss falls as the score rises": 2 * (1 - s),
        "this is the loss itself, not its derivative": (s - 1).square(),
        "this is the mean over the scores of a batch: here it is one score at a time": (
            2 * (s - 1) / len(s)
        ),
    }
    expect(ask(answer, s), 2 * (s - 1), "for four scores", hints)


def squares_for_discriminator(answer: object) -> None:
    """Half the squares of real scores from 1 and of generated ones from 0."""
    r, g = _REAL.view(1, 1, 2, 2), _GENERATED.view(1, 1, 2, 2)
    whole = (r - 1).square().mean() + g.square().mean()
    hints = {
        "the half is missing": whole,
        "generated patches are asked to be 1: that is the generator's goal": 0.5
        * ((r - 1).square().mean() + (g - 1).square().mean()),
        "the targets are swapped: real towards 1, generated towards 0": 0.5
        * (r.square().mean() + (g - 1).square().mean()),
        "only the real patches count": 0.5 * (r - 1).square().mean(),
        "only the generated patches count": 0.5 * g.square().mean(),
    }
    expect(ask(answer, r, g), 0.5 * whole, "for four real and four generated scores", hints)


def even_squares(answer: object) -> None:
    """The loss of a draw."""
    hints = {
        "that is the score c; the loss is half of (c - 1)² + c²": 0.5,
        "a loss of 0 needs real patches at 1, generated ones at 0: it tells them apart": 0.0,
        "there are two terms, for real and generated patches, before the half": 0.125,
        "a score of 0 or 1 for everything is not the best: try c between them": 1.0,
        "that is lesson 1's draw, of the logarithm": 1.386294,
    }
    expect(answer, 0.25, "as even_squares", hints)


EXERCISES = (
    receptive_field,
    least_squares,
    least_squares_jax,
    pull,
    squares_for_discriminator,
    even_squares,
)
