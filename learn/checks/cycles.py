"""Lesson 3: why cycles."""

from itertools import pairwise

import torch
from torch import Tensor

from learn.checks.compare import Wrong, ask, expect

__all__ = ["EXERCISES"]

_ZERO = {"nothing", "negative", "mirror", "channels"}


def both_cycles(answer: object) -> None:
    """Which generator is called with what, and that gradients pass."""
    up, twice = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    a, b = torch.full((1, 3, 2, 2), 0.25), torch.full((1, 3, 2, 2), -0.5)
    found = ask(answer, lambda x: x + up, lambda x: x * twice, a, b)
    if len(found) != 4:
        raise Wrong("it returns the four images fake_b, cycle_a, fake_a, cycle_b")
    names = ("fake_b", "cycle_a", "fake_a", "cycle_b")
    right = (a + 1, (a + 1) * 2, b * 2, b * 2 + 1)
    hints: dict[str, dict[str, Tensor]] = {
        "fake_b": {"fake_b is generator_ab of real_a: a translation is named after what it becomes":
                   a * 2},
        "cycle_a": {"cycle_a is fake_b, translated back by generator_ba": a * 2 + 1,
                    "cycle_a goes back: by generator_ba, not by generator_ab again": a + 2,
                    "cycle_a begins with real_a, and goes over fake_b": b * 2 + 1,
                    "cycle_a is made of fake_b, not of real_a": a * 2},
        "fake_a": {"fake_a is generator_ba of real_b": b + 1},
        "cycle_b": {"cycle_b is fake_a, translated back by generator_ab": (b + 1) * 2,
                    "cycle_b goes back: by generator_ab, not by generator_ba again": b * 4,
                    "cycle_b begins with real_b, and goes over fake_a": (a + 1) * 2},
    }  # fmt: skip
    for name, value, wanted in zip(names, found, right, strict=True):
        expect(value, wanted, f"{name}:", hints[name])
    for cycle, forth, name, generator in (
        (found[1], up, "cycle_a", "generator_ab"),
        (found[3], twice, "cycle_b", "generator_ba"),
    ):
        (slope,) = torch.autograd.grad(cycle.sum(), forth, allow_unused=True, retain_graph=True)
        if slope is None:
            raise Wrong(f"{name} does not teach {generator}: do not detach what it begins with")


def cycle_loss(answer: object) -> None:
    """The sum of two mean absolute differences, in PyTorch."""
    a, ca, b, cb = _images()
    found = ask(answer, a, ca.requires_grad_(), b, cb)
    if not isinstance(found, Tensor) or not found.requires_grad:
        raise Wrong("the result has no gradient: keep it a tensor, without item() or numpy")
    _cycle(found)


def cycle_loss_jax(answer: object) -> None:
    """The same in JAX."""
    import jax
    import jax.numpy as jnp

    found = ask(answer, *(jnp.asarray(x.permute(0, 2, 3, 1).numpy()) for x in _images()))
    if not isinstance(found, jax.Array):
        raise Wrong("the result is no JAX array: use jnp, not numpy or torch")
    _cycle(found)


def generators_total(answer: object) -> None:
    """Adversarial terms and the weighted cycle loss."""
    a, b = torch.tensor([[0.5, -0.2]]), torch.tensor([[1.5, 0.4]])
    cycle = torch.tensor(0.3)
    one, other = (a - 1).square().mean(), (b - 1).square().mean()
    hints = {
        "scores are pushed towards 0: that is the discriminators' goal for generated images": (
            a.square().mean() + b.square().mean() + 10 * cycle
        ),
        "the weight belongs to the cycle loss alone": 10 * (one + other + cycle),
        "the weight is on the adversarial terms: it belongs to the cycle loss": 10 * (one + other)
        + cycle,
        "the weight is missing": one + other + cycle,
        "one adversarial term is missing: each direction has its own": one + 10 * cycle,
        "one adversarial term is missing: there is one for each direction": other + 10 * cycle,
        "the half is the discriminators' alone: generators have the whole": 0.5 * (one + other)
        + 10 * cycle,
    }
    right = one + other + 10 * cycle
    about = "for four scores, a cycle loss of 0.3, weight 10:"
    expect(ask(answer, a, b, cycle, 10.0), right, about, hints)


def free_of_cycle_loss(answer: object) -> None:
    """The translations that can be undone."""
    known = _ZERO | {"mean", "grey"}
    if not isinstance(answer, set | frozenset | list | tuple) or not set(answer) <= known:
        raise Wrong(f"give a set of names out of {', '.join(sorted(known))}")
    if "mean" in answer:
        raise Wrong(
            '"mean": the other generator gives the mean image of A, whatever it was before. '
            "What is lost cannot be restored"
        )
    if "grey" in answer:
        raise Wrong('"grey": the colours are lost, and the cycle gives a grey image')
    hints = {
        "nothing": "each image comes back as it was: nothing was done",
        "negative": "the negative of the negative is the image: the cycle loss does not see it",
        "mirror": "mirrored twice is not mirrored: the cycle loss sees the end alone",
        "channels": "what is only moved can be moved back",
    }
    for name, hint in hints.items():
        if name not in answer:
            raise Wrong(f'one is missing: "{name}": {hint}')


EXERCISES = (both_cycles, cycle_loss, cycle_loss_jax, generators_total, free_of_cycle_loss)


def _images() -> list[Tensor]:
    """Two images of A and of B, and their cycles."""
    draw = torch.Generator().manual_seed(3)
    return [torch.rand(2, 3, 4, 4, generator=draw) * 2 - 1 for _ in range(4)]


def _cycle(found: object) -> None:
    a, ca, b, cb = _images()
    one, other = (ca - a).abs().mean(), (cb - b).abs().mean()
    hints = {
        "these are squares: take the absolute difference, which does not reward the mean of "
        "what could be": (ca - a).square().mean() + (cb - b).square().mean(),
        "only the cycle of A counts: generators then may lose what they like of B": one,
        "only the cycle of B counts: generators then may lose what they like of A": other,
        "take means over pixels and bands, not sums: the weight of 10 is meant for these": (
            (ca - a).abs().sum() + (cb - b).abs().sum()
        ),
        "the two are added, not averaged": (one + other) / 2,
        "differences cancel out without the absolute value": (ca - a).mean() + (cb - b).mean(),
        "a cycle belongs beside its own original: cycle_a and real_a": (ca - b).abs().mean()
        + (cb - a).abs().mean(),
    }
    assert all(x.shape == y.shape for x, y in pairwise(_images()))
    expect(found, one + other, "for two images of each domain", hints)
