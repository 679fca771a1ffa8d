"""Lesson 1: the adversarial game."""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from learn.checks.compare import Wrong, ask, expect

__all__ = ["EXERCISES"]

_REAL, _GENERATED = torch.tensor([0.5, 2.0, -1.0]), torch.tensor([-0.3, 1.2, 0.1, 3.0])


def discriminator_loss(answer: object) -> None:
    """Log-likelihood of real and generated scores."""
    r, g = _REAL, _GENERATED
    right = F.softplus(-r).mean() + F.softplus(g).mean()
    hints = {
        "it rewards low scores of real points: swap the two, or one sign each": F.softplus(r).mean()
        + F.softplus(-g).mean(),
        "it takes the sum over the points: take the mean, so that it does not depend on how many "
        "there are": F.softplus(-r).sum() + F.softplus(g).sum(),
        "generated points are asked to be real as well: for them it is 1 - σ(s), and so +s inside "
        "softplus": F.softplus(-r).mean() + F.softplus(-g).mean(),
        "only the real points count: a discriminator that calls everything real would be perfect": (
            F.softplus(-r).mean()
        ),
        "only the generated points count: a discriminator that calls nothing real would be "
        "perfect": F.softplus(g).mean(),
        "it is the negative of the loss: a loss is to be minimised, a likelihood maximised": -right,
        "it is half of the loss: here the two means are added": right / 2,
    }
    expect(ask(answer, r, g), right, "for three real and four generated scores", hints)


def generator_loss(answer: object) -> None:
    """The loss that does not saturate."""
    g = _GENERATED
    hints = {
        "this is the opposite of the discriminator's loss: its slope is nearly 0 where the "
        "generator is bad. Maximise log σ(s) instead": -F.softplus(g).mean(),
        "this is what the discriminator minimises: the generator would help it": (
            F.softplus(g).mean()
        ),
        "the sign is turned round: it is to be minimised, and low where scores are high": (
            -F.softplus(-g).mean()
        ),
        "take the mean over the points, not the sum": F.softplus(-g).sum(),
    }
    expect(ask(answer, g), F.softplus(-g).mean(), "for four scores", hints)


def play(answer: object) -> None:
    """One round: what each network's weights are afterwards, against a plain restatement."""
    found = _after(answer, rounds=2)
    right = _after(_round, rounds=2)
    start = _after(lambda *_: (0.0, 0.0), rounds=1)
    moved = {name: not torch.equal(found[name], start[name]) for name in start}
    if not any(moved.values()):
        raise Wrong("neither network has moved: after backward(), call step() of its Adam")
    if not moved["generator"]:
        raise Wrong("the generator has not moved: is its loss computed from generated points that "
                    "were detached? Only the discriminator's step detaches them")  # fmt: skip
    if not moved["discriminator"]:
        raise Wrong("the discriminator has not moved: its loss needs backward() and step(), too")
    for hint, wrong in _WRONG_ROUNDS.items():
        if all(torch.allclose(found[n], _after(wrong, 2)[n], atol=1e-6) for n in found):
            raise Wrong(hint)
    for name in ("discriminator", "generator"):
        expect(found[name], right[name], f"after two rounds the weights of the {name}: there")


def best_discriminator(answer: object) -> None:
    """The share of the real density."""
    p, q = torch.tensor([0.2, 1.0, 3.0]), torch.tensor([0.6, 1.0, 0.5])
    hints = {
        "this is the probability that a point is generated": q / (p + q),
        "a ratio of densities may be above 1: divide by all that is found there, real and "
        "generated": p / q,
        "a difference is no probability: which part of all that is found there is real?": p - q,
    }
    expect(ask(answer, p, q), p / (p + q), "for three places", hints)


def even_loss(answer: object) -> None:
    """The loss of a draw."""
    hints = {
        "a discriminator whose loss is 0 is always certain and always right: it has won, and that "
        "is no draw": 0.0,
        "that is the loss for real points alone: those for generated ones come on top": math.log(2),
        "1/2 is what the discriminator says; its loss is -log(1/2), once for real and once for "
        "generated points": 0.5,
        "-log(1/2) is needed, not 1/2, for each of the two": 1.0,
        "take the natural logarithm": 2.0,
        "a loss of this kind is not negative: mind the sign of log(1/2)": -2 * math.log(2),
    }
    expect(answer, 2 * math.log(2), "as even_loss", hints)


EXERCISES = (discriminator_loss, generator_loss, play, best_discriminator, even_loss)


# ---- rounds -------------------------------------------------------------------------------


def _after(play: object, rounds: int) -> dict[str, Tensor]:
    """The weights of two small networks after rounds of a game."""
    state = torch.get_rng_state()
    torch.manual_seed(5)
    networks = [torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)]
    inputs = [(torch.randn(8, 2), torch.randn(8, 2) + 1) for _ in range(rounds)]
    torch.set_rng_state(state)
    # Plain gradient descent: its step shows the size of a gradient, which Adam's hides.
    adams = [torch.optim.SGD(network.parameters(), 0.5) for network in networks]
    for source, real in inputs:
        ask(play, *networks, *adams, source, real)
    return {
        name: copy.deepcopy(network.weight.detach())
        for name, network in zip(("generator", "discriminator"), networks, strict=True)
    }


def _rounds(
    *, detach: bool = True, clear_d: bool = True, clear_g: bool = True, first: str = "d"
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A round with mistakes: what is not detached, not cleared, or played in another order."""

    def play(g, d, g_adam, d_adam, source, real):  # type: ignore[no-untyped-def]
        generated = g(source)

        def discriminator_turn() -> Tensor:
            shown = generated.detach() if detach else generated
            loss = F.softplus(-d(real)).mean() + F.softplus(d(shown)).mean()
            if clear_d:
                d_adam.zero_grad()
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            d_adam.step()
            return loss

        def generator_turn() -> Tensor:
            loss = F.softplus(-d(generated)).mean()
            if clear_g:
                g_adam.zero_grad()
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            g_adam.step()
            return loss

        if first == "g":
            g_loss, d_loss = generator_turn(), discriminator_turn()
        else:
            d_loss, g_loss = discriminator_turn(), generator_turn()
        return d_loss, g_loss

    return play


_round = _rounds()
_WRONG_ROUNDS = {
    "the generator's loss has left gradients in the discriminator, and its next step uses them: "
    "call discriminator_adam.zero_grad() before the backward pass of its loss": (
        _rounds(clear_d=False)
    ),
    "the generator's gradients of earlier rounds add up: call generator_adam.zero_grad()": (
        _rounds(clear_g=False)
    ),
    "no gradient is ever cleared: call zero_grad() of each Adam before its backward pass": (
        _rounds(clear_d=False, clear_g=False)
    ),
    "the discriminator's loss has pushed the generator, too: give it generated.detach()": (
        _rounds(detach=False, clear_g=False)
    ),
    "the generator's turn comes second, judged by the new discriminator": _rounds(first="g"),
}
