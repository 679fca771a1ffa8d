"""A probe: a few fixed held-out images of both domains, and what the networks make of them.

It is taken at every evaluation of a training, for the detectors, and of a finished model for its
report. The networks are met through `Translates` and a function that judges; the rest is numpy.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unpaired import streams
from unpaired.directions import Direction, Domain
from unpaired.engines.seam import Images
from unpaired.errors import DataError
from unpaired.streams import stream

__all__ = [
    "LEVEL",
    "LONG",
    "NOISE",
    "History",
    "Judge",
    "Probe",
    "Scores",
    "Translates",
    "cycle_error",
    "reconstruction_errors",
    "take_probe",
]

Floats = NDArray[np.float32]
Judge = Callable[[Images, Domain], NDArray[np.float32]]

LEVEL = 2 / 255  # one level of 255, of images in [-1, 1]
NOISE = 5.0  # standard deviation in levels, of the noise that a cycle has to stand
LONG = 5  # evaluations that a history holds: 5,000 steps with the default --evaluate-every


class Translates(Protocol):
    """An engine in training, or a translator that was loaded."""

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Translator.translate."""


@dataclass(frozen=True)
class Scores:
    """What one discriminator says, (N, h, w) each: 1 is real, 0 made.

    `held_out` is of real images it was not trained on, `train` of some it was (None: not asked),
    `fake` of images made from held-out ones.
    """

    held_out: Floats
    train: Floats | None
    fake: Floats

    @property
    def accuracy(self) -> float:
        """Share of patches on the right side of 1/2, of reals (`train` if there) and fakes."""
        real = self.held_out if self.train is None else self.train
        return float((np.mean(real > 0.5) + np.mean(self.fake < 0.5)) / 2)


@dataclass(frozen=True)
class Probe:
    """Held-out images and what the networks make of them, (N, H, W, bands) in [-1, 1].

    `fake_b` is made from `real_a`, `cycle_a` from `fake_b`, and `noisy_cycle_a` from `fake_b` in
    8 bits under noise of 5 levels; `identity_a` is what the generator towards A makes of `real_a`.
    None is what a model that goes one way cannot make, and what was not asked for. `scores_b` is
    of the discriminator that judges images of B; None where the model comes without.
    """

    real_a: Images
    real_b: Images
    fake_a: Images | None = None
    fake_b: Images | None = None
    cycle_a: Images | None = None
    cycle_b: Images | None = None
    noisy_cycle_a: Images | None = None
    noisy_cycle_b: Images | None = None
    identity_a: Images | None = None
    identity_b: Images | None = None
    scores_a: Scores | None = None
    scores_b: Scores | None = None


@dataclass(frozen=True)
class History:
    """What several evaluations leave behind: the discriminators' last accuracies, oldest first.

    It travels as JSON in a checkpoint, so that a resumed run warns as one that was never stopped.
    """

    accuracy_a: tuple[float, ...] = ()
    accuracy_b: tuple[float, ...] = ()

    def after(self, probe: Probe) -> "History":
        """The history with the evaluation of `probe` added."""

        def add(past: tuple[float, ...], scores: Scores | None) -> tuple[float, ...]:
            return (*past, scores.accuracy)[-LONG:] if scores else past

        return History(add(self.accuracy_a, probe.scores_a), add(self.accuracy_b, probe.scores_b))

    def to_json(self) -> str:
        """One line; `from_json` gives back an equal history."""
        return json.dumps({"accuracy_a": self.accuracy_a, "accuracy_b": self.accuracy_b})

    @classmethod
    def from_json(cls, text: str) -> "History":
        """Reads what `to_json` wrote; "{}" is an empty history."""
        table = json.loads(text)
        return cls(tuple(table.get("accuracy_a", ())), tuple(table.get("accuracy_b", ())))


def take_probe(
    networks: Translates,
    real_a: Images,
    real_b: Images,
    train_a: Images | None = None,
    train_b: Images | None = None,
    *,
    judge: Judge | None = None,
    directions: Sequence[Direction] = ("ab", "ba"),
    identity: bool = False,
    seed: int = 0,
) -> Probe:
    """Runs the networks: two translations of each image, and a third under noise.

    Args:
        networks: an engine, or a loaded translator.
        real_a, real_b: held-out images, at least 2 of each, all of one height and width.
        train_a, train_b: training images, prepared as the held-out ones are (a discriminator
            also tells apart two ways of resizing); only judged, and only where `judge` is given.
        judge: `Engine.judge`; None where there are no discriminators.
        directions: those that the networks go.
        identity: translate each image to its own domain too (needs equal bands).
        seed: of the noise, which is the same at every call with it.

    Raises:
        DataError: fewer than 2 images of a domain, or sizes that differ.
    """
    if min(len(real_a), len(real_b)) < 2 or real_a.shape[1:3] != real_b.shape[1:3]:
        raise DataError(
            f"a probe needs 2 images or more of each domain, of one size, not "
            f"{_size(real_a)} and {_size(real_b)}"
        )
    ab, ba = "ab" in directions, "ba" in directions
    fake_b = networks.translate(real_a, "ab") if ab else None
    fake_a = networks.translate(real_b, "ba") if ba else None
    cycle_a = cycle_b = noisy_a = noisy_b = None
    if fake_a is not None and fake_b is not None:
        cycle_a, cycle_b = networks.translate(fake_b, "ba"), networks.translate(fake_a, "ab")
        noisy_a = networks.translate(_disturbed(fake_b, seed, 0), "ba")
        noisy_b = networks.translate(_disturbed(fake_a, seed, 1), "ab")

    def scores(
        domain: Domain, real: Images, train: Images | None, fake: Images | None
    ) -> Scores | None:
        if judge is None or fake is None:
            return None
        seen = None if train is None else judge(train, domain)
        return Scores(judge(real, domain), seen, judge(fake, domain))

    return Probe(
        real_a=real_a,
        real_b=real_b,
        fake_a=fake_a,
        fake_b=fake_b,
        cycle_a=cycle_a,
        cycle_b=cycle_b,
        noisy_cycle_a=noisy_a,
        noisy_cycle_b=noisy_b,
        identity_a=networks.translate(real_a, "ba") if identity and ba else None,
        identity_b=networks.translate(real_b, "ab") if identity and ab else None,
        scores_a=scores("a", real_a, train_a, fake_a),
        scores_b=scores("b", real_b, train_b, fake_b),
    )


def cycle_error(real: Images, again: Images) -> float:
    """Mean absolute difference, in levels of 255, of images in [-1, 1]."""
    return float(np.mean(np.abs(real - again), dtype=np.float64) / LEVEL)


def reconstruction_errors(probe: Probe) -> dict[str, float]:
    """Errors, in levels of 255, of what a probe holds: `cycle_a`, `noisy_cycle_a` and so on."""
    pairs = {
        "cycle_a": (probe.real_a, probe.cycle_a),
        "cycle_b": (probe.real_b, probe.cycle_b),
        "noisy_cycle_a": (probe.real_a, probe.noisy_cycle_a),
        "noisy_cycle_b": (probe.real_b, probe.noisy_cycle_b),
        "identity_a": (probe.real_a, probe.identity_a),
        "identity_b": (probe.real_b, probe.identity_b),
    }
    return {
        name: cycle_error(real, again) for name, (real, again) in pairs.items() if again is not None
    }


def _disturbed(images: Images, seed: int, index: int) -> Floats:
    """Images as a file of 8 bits under a little noise would hold them."""
    noise = stream(seed, streams.NOISE, index).normal(0.0, NOISE, images.shape)
    levels = np.clip(np.rint((images + 1) / LEVEL), 0, 255) + noise
    return np.clip(levels * LEVEL - 1, -1, 1).astype(np.float32)


def _size(images: Images) -> str:
    count, height, width = images.shape[:3]
    return f"{count} of {height}x{width}"
