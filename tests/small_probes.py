"""Small probes for the tests of the diagnostics: images, translators made of functions, scores."""

import dataclasses
from pathlib import Path

import numpy as np
from skimage.filters import gaussian

from unpaired.data.crops import load_square
from unpaired.diagnostics.detect import detect
from unpaired.diagnostics.history import History
from unpaired.diagnostics.probe import Scores, take_probe
from unpaired.images.formats import read_image
from unpaired.seasons.landscapes import draw, paint

PHOTOGRAPHS = Path(__file__).parents[1].parent / "shared" / "data" / "summer2winter_yosemite"
NAMES = {"a": "summer", "b": "winter"}
COUNT = 8


def scenes():
    """Summer, and other scenes in winter: unpaired, 32 pixels."""
    a = [paint(draw(seed, 32, "full"), "a") for seed in range(COUNT)]
    b = [paint(draw(seed, 32, "full"), "b") for seed in range(COUNT, 2 * COUNT)]
    return signed(a), signed(b)


def signed(images):
    return np.stack(images).astype(np.float32) / np.float32(127.5) - 1


def by_domain(reals):
    return dict(zip("ab", reals, strict=True))


def photographs():
    def some(folder):
        paths = sorted((PHOTOGRAPHS / folder).iterdir())[7::25][:COUNT]
        return np.stack([load_square(read_image(path).pixels, 64, (0, 0), 64) for path in paths])

    return some("testA"), some("testB")


class Maps:
    """A translator of two functions."""

    def __init__(self, ab, ba):
        self.maps = {"ab": ab, "ba": ba}

    def translate(self, images, direction):
        assert images.dtype == np.float32
        return np.clip(self.maps[direction](images), -1, 1).astype(np.float32)


def both(function):
    return Maps(function, function)


def fired(findings):
    return {(finding.name, finding.where) for finding in findings if finding.fired}


def of(findings, name, where=None):
    (one,) = [f for f in findings if f.name == name and where in (None, f.where)]
    return one


def look(translator, reals, **options):
    """All findings of a model alone; options are those of `detect`."""
    probe = take_probe(translator, by_domain(reals), seed=1)
    return detect(probe, History(), NAMES, **options)


def blur(images):
    return gaussian(images, (0, 1, 1, 0))


def grain(images):
    return images + np.random.default_rng(3).normal(0, 8 / 127.5, images.shape)


def chessboard(images, period, levels):
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    sign = np.where((x // (period // 2) + y // (period // 2)) % 2, 1, -1)
    return images + levels * 2 / 255 * sign[None, :, :, None]


SHIFT = np.array([0.2, 0.05, -0.15])
HONEST = {
    "the identity": both(lambda x: x),
    "a shift of colour": Maps(lambda x: 0.8 * x + SHIFT, lambda y: (y - SHIFT) / 0.8),
    "gamma": Maps(
        lambda x: 2 * ((x + 1) / 2) ** 0.6 - 1, lambda y: 2 * ((y + 1) / 2) ** (5 / 3) - 1
    ),
    "blur": both(blur),
    "sharpening": Maps(lambda x: 2 * x - blur(x), blur),
    "grain": both(grain),
    "few levels": both(lambda x: np.rint(x * 16) / 16),
    "pixels enlarged": both(lambda x: x[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)),
}


def judged(reals, translator, real=0.8, generated=0.2, train=0.8, spread=0.0):
    """A probe whose discriminators give these mean scores, in both domains."""
    rng = np.random.default_rng(6)

    def scores(mean):
        each = rng.normal(mean, spread, (COUNT, 1, 1)) if spread else mean
        return np.full((COUNT, 6, 6), each, np.float32)

    probe = take_probe(translator, by_domain(reals), seed=1)
    for direction in ("ba", "ab"):
        said = Scores(scores(real), scores(train), scores(generated))
        probe = with_outputs(probe, direction, scores=said)
    return probe


def with_outputs(probe, direction, **changes):
    """The probe with some outputs of one direction replaced."""
    outputs = dataclasses.replace(probe.directions[direction], **changes)
    return dataclasses.replace(probe, directions={**probe.directions, direction: outputs})


def lines_of(losses, name="discriminator_a"):
    return [{"step": 50 * (i + 1), name: value, "seconds": 1.0} for i, value in enumerate(losses)]
