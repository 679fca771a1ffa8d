"""Lesson 4: identity loss, pool, schedule; inversion and collapse."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from learn.checks.compare import Wrong, ask, expect

__all__ = ["EXERCISES"]


def identity_loss(answer: object) -> None:
    """What generator_ab does to images of B."""
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3, 4, 4, generator=draw) * 2 - 1 for _ in range(2))
    factor = torch.tensor(0.5, requires_grad=True)

    def generator(images: torch.Tensor) -> torch.Tensor:
        return factor * images + 0.1

    found = ask(answer, generator, a, b)
    with torch.no_grad():
        of_a, of_b = generator(a), generator(b)
    hints = {
        "it is given summer: generator_ab is to change that. Give it what is already winter": (
            (of_a - a).abs().mean()
        ),
        "summer is translated and compared with other scenes in winter: they are no pairs": (
            (of_a - b).abs().mean()
        ),
        "these are squares: the paper takes the absolute difference": (of_b - b).square().mean(),
        "take the mean over pixels and bands, not the sum": (of_b - b).abs().sum(),
    }
    expect(found, (of_b - b).abs().mean(), "for two images of each domain", hints)
    if not isinstance(found, torch.Tensor) or not found.requires_grad:
        raise Wrong("the result has no gradient: nothing is to be detached, and no no_grad()")


def exchange(answer: object) -> None:
    """The pool, by what it shows over many steps."""
    size, steps = 20, 4000
    random, pool = np.random.default_rng(0), []  # type: ignore[var-annotated]
    shown = []
    for step in range(steps):
        shown.append(ask(answer, pool, step, size, random))
        if len(pool) > size:
            raise Wrong(f"the pool holds {len(pool)} images, and its size is {size}")
        if step < size and (shown[-1] != step or step not in pool):
            raise Wrong("while the pool is not full, the new image is stored and shown")
    later = np.arange(size, steps)
    ages = later - np.array(shown[size:])
    new = float(np.mean(ages == 0))
    if new == 1:
        raise Wrong("only new images are ever shown once the pool is full: half are to be old ones")
    if new == 0:
        raise Wrong("no new image is ever shown once the pool is full: half of them are to be")
    if not 0.45 < new < 0.55:
        raise Wrong(f"{new:.0%} of the images shown are new, expected half of them")
    if len(set(shown)) < len(shown) * 0.9:
        raise Wrong("an old image that is shown leaves the pool: put the new one in its place")
    if max(pool) < steps - 30 * size:
        raise Wrong("the pool no longer changes: put the new image in the place of the old one")
    if np.median(ages[ages > 0]) < 10 or np.std(ages[ages > 0]) < 15:
        raise Wrong("the old image is to be a random one of the pool, not always of one place")
    if not 30 < ages[ages > 0].mean() < 50:
        raise Wrong("old images have another age than expected: which image is replaced, and when? "
                    "A new one that is shown is not stored once the pool is full")  # fmt: skip


def rate_factor(answer: object) -> None:
    """Constant, then linear to 0."""

    def values(function: Callable[[float], float]) -> list[float]:
        return [function(step) for step in (0, 30, 50, 75, 99)]

    found = [float(ask(answer, step, 100)) for step in (0, 30, 50, 75, 99)]
    hints = {
        "it decays from the first step on: it is constant over the first half": values(
            lambda step: 1 - step / 100
        ),
        "over the second half it falls to 1/2 only: divide by the steps of that half": values(
            lambda step: 1 - max(0.0, step - 50) / 100
        ),
        "this is the share of the second half that is done: the factor is 1 minus it": values(
            lambda step: max(0.0, step - 50) / 50
        ),
        "in the first half it is above 1: take max(0, ...)": values(
            lambda step: 1 - (step - 50) / 50
        ),
        "it drops to 0 in the middle: it decays linearly": values(lambda step: float(step < 50)),
    }
    right = values(lambda step: 1 - max(0.0, step - 50) / 50)
    expect(found, right, "in the steps 0, 30, 50, 75, 99 of 100", hints)


def light_stays_light(answer: object) -> None:
    """The median correlation, of images of which some are inverted and offset."""
    rng = np.random.default_rng(2)
    before = rng.random((5, 6, 6)) + 3 * np.arange(5)[:, None, None]
    noise = 0.3 * rng.random(before.shape)
    sign = np.array([1, -1, -1, -1, 1])[:, None, None]
    after = 0.5 * sign * (before - before.mean((1, 2), keepdims=True)) + noise
    after += 2 * np.arange(5)[:, None, None]
    each = [_correlation(x, y) for x, y in zip(before, after, strict=True)]
    centred = [(x - x.mean()) * (y - y.mean()) for x, y in zip(before, after, strict=True)]
    hints = {
        "this is one correlation over all images together: how light whole images are then counts, "
        "too. Take that of each image": _correlation(before, after),
        "this is the mean over the images: take the median": np.mean(each),
        "this is a covariance, which depends on contrast: divide by both standard deviations": (
            np.median([c.mean() for c in centred])
        ),
        "the absolute value hides what is sought: the sign": np.median(np.abs(each)),
    }
    expect(ask(answer, before, after), np.median(each), "for five images", hints)


def variety(answer: object) -> None:
    """The spread over the images against that of real ones."""
    rng = np.random.default_rng(4)
    generated, real = rng.random((6, 8, 8, 3)), 2 * rng.random((9, 8, 8, 3))
    generated += np.linspace(0, 3, 8)[:, None, None]

    def over(axis: Any, root: bool = True) -> float:
        one, other = generated.var(axis=axis).mean(), real.var(axis=axis).mean()
        return float(np.sqrt(one / other) if root else one / other)

    hints = {
        "this is the spread within each image, over its pixels: a single image repeated would "
        "have it as well. Take it over the images, axis 0": over((1, 2)),
        "this is the spread within each image, pixels and bands: take it over the images, axis 0": (
            over((1, 2, 3))
        ),
        "this is the spread of all numbers together, in which an image repeated would have "
        "variety: take it over the images, axis 0": over(None),
        "these are variances: take the root of their mean": over(0, root=False),
        "divide by the spread of the real images, not the other way round": 1 / over(0),
        "this is the mean of the standard deviations: take the root of the mean variance": float(
            generated.std(axis=0).mean() / real.std(axis=0).mean()
        ),
        "divide by the same of real images": float(np.sqrt(generated.var(axis=0).mean())),
    }
    found = float(np.asarray(ask(answer, generated, real)))
    sample = over(0) * float(np.sqrt((6 / 5) / (9 / 8)))
    if not np.isclose(found, sample, rtol=1e-4):  # n - 1 in place of n is right as well
        expect(found, over(0), "for six generated and nine real images", hints)


EXERCISES = (identity_loss, exchange, rate_factor, light_stays_light, variety)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])
