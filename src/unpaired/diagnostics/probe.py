"""A probe: a few fixed held-out images of both domains and the outputs of the networks for them.

One is taken at every evaluation of a training, for the checks, and of a finished model, for its
report. The networks are reached through `Translates` and `Judge`; the rest is numpy.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unpaired import streams
from unpaired.directions import DIRECTIONS, Direction, Domain, reverse, source_of, target_of
from unpaired.engines.seam import Images
from unpaired.errors import DataError
from unpaired.streams import stream

__all__ = [
    "LEVEL",
    "NOISE",
    "DirectionProbe",
    "Judge",
    "Probe",
    "Scores",
    "Translates",
    "cycle_error",
    "reconstruction_errors",
    "take_probe",
]

Floats = NDArray[np.float32]
Judge = Callable[[Images, Domain], Floats]
"""`Engine.judge`: scores (N, h, w) of a domain's discriminator; 1 is real, 0 generated."""

LEVEL = 2 / 255  # one level of 255, of images in [-1, 1]
NOISE = 5.0  # standard deviation, in levels, of the noise that a cycle has to withstand


class Translates(Protocol):
    """An engine in training, or a loaded translator."""

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Translator.translate."""


@dataclass(frozen=True)
class Scores:
    """Scores of one discriminator, (N, h, w) each: 1 is real, 0 generated.

    `held_out` are of real images that it was not trained on, `train` of some that it was trained
    on (None: not computed), `generated` of images generated from held-out ones.
    """

    held_out: Floats
    train: Floats | None
    generated: Floats

    @property
    def accuracy(self) -> float:
        """Share of patches on the right side of 1/2, of real (`train` if given) and generated."""
        real = self.held_out if self.train is None else self.train
        return float((np.mean(real > 0.5) + np.mean(self.generated < 0.5)) / 2)


@dataclass(frozen=True)
class DirectionProbe:
    """Outputs for one direction, (N, H, W, bands) in [-1, 1]; None: not available or not asked for.

    Attributes:
        generated: the real images of the source domain, translated.
        cycle: `generated`, translated back; None for a model of one direction.
        noisy_cycle: `generated` in 8 bits under noise of 5 levels, translated back.
        identity: the real images of the target domain, given to the generator of this direction.
        scores: of the discriminator of the target domain; None for a model without one.
    """

    generated: Images
    cycle: Images | None = None
    noisy_cycle: Images | None = None
    identity: Images | None = None
    scores: Scores | None = None


@dataclass(frozen=True)
class Probe:
    """Real held-out images by domain, (N, H, W, bands) in [-1, 1], and outputs by direction.

    A model of one direction has the outputs of that direction only.
    """

    real: Mapping[Domain, Images]
    directions: Mapping[Direction, DirectionProbe]


def take_probe(
    networks: Translates,
    real: Mapping[Domain, Images],
    train: Mapping[Domain, Images] | None = None,
    *,
    judge: Judge | None = None,
    directions: Iterable[Direction] = DIRECTIONS,
    identity: bool = False,
    seed: int = 0,
) -> Probe:
    """Runs the networks: translates each image, and the result back, with and without noise.

    Args:
        networks: an engine, or a loaded translator.
        real: held-out images, at least 2 of each domain, all of one height and width.
        train: training images, prepared as the held-out ones are (a discriminator would also tell
            two ways of resizing apart); only judged, and only where `judge` is given.
        judge: None where there are no discriminators.
        directions: those that the networks translate.
        identity: translate each image to its own domain too (needs equal bands).
        seed: of the noise, which is the same in every call with it.

    Raises:
        DataError: fewer than 2 images of a domain, or sizes that differ.
    """
    if min(map(len, real.values())) < 2 or real["a"].shape[1:3] != real["b"].shape[1:3]:
        sizes = " and ".join("{} of {}x{}".format(*images.shape) for images in real.values())
        raise DataError(f"a probe needs at least 2 images of each domain, of one size, not {sizes}")
    train = train or {}
    directions = set(directions)

    def outputs(direction: Direction) -> DirectionProbe:
        target, back = target_of(direction), reverse(direction)
        generated = networks.translate(real[source_of(direction)], direction)
        cycle = noisy_cycle = scores = None
        if back in directions:
            cycle = networks.translate(generated, back)
            noise = stream(seed, streams.NOISE, DIRECTIONS.index(direction))
            noisy_cycle = networks.translate(_disturbed(generated, noise), back)
        if judge is not None:
            seen = judge(train[target], target) if target in train else None
            scores = Scores(judge(real[target], target), seen, judge(generated, target))
        same = networks.translate(real[target], direction) if identity else None
        return DirectionProbe(generated, cycle, noisy_cycle, same, scores)

    return Probe(real, {each: outputs(each) for each in DIRECTIONS if each in directions})


def cycle_error(real: Images, again: Images) -> float:
    """Mean absolute difference, in levels of 255, of images in [-1, 1]."""
    return float(np.mean(np.abs(real - again), dtype=np.float64) / LEVEL)


def reconstruction_errors(probe: Probe) -> dict[str, float]:
    """Errors of a probe in levels of 255: `cycle_a`, `noisy_cycle_a`, `identity_a` and so on.

    Each is named after the domain of the real images that are reconstructed.
    """
    errors = {}
    for direction, outputs in probe.directions.items():
        source, target = source_of(direction), target_of(direction)
        for name, domain, again in (
            (f"cycle_{source}", source, outputs.cycle),
            (f"noisy_cycle_{source}", source, outputs.noisy_cycle),
            (f"identity_{target}", target, outputs.identity),
        ):
            if again is not None:
                errors[name] = cycle_error(probe.real[domain], again)
    return errors


def _disturbed(images: Images, noise: np.random.Generator) -> Floats:
    """Images as an 8-bit file would hold them, with a little noise added."""
    levels = np.clip(np.rint((images + 1) / LEVEL), 0, 255)
    levels = levels + noise.normal(0.0, NOISE, images.shape)
    return np.clip(levels * LEVEL - 1, -1, 1).astype(np.float32)
