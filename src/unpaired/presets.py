"""The presets: recipes with a name. A new one is added here and nowhere else."""

import math
from collections.abc import Container, Mapping
from typing import Literal

from unpaired.config import Recipe, override, require_values
from unpaired.engines.architecture import SMALLEST_SIDE
from unpaired.errors import ConfigError, quoted

__all__ = [
    "ABOUT",
    "FROM_NOISE",
    "PRESETS",
    "PresetName",
    "from_noise",
    "preset",
    "scaled_to_batch",
]

PresetName = Literal["paper", "modern", "small", "tiny"]

ABOUT: Mapping[PresetName, str] = {
    "paper": "the recipe of 2017",
    "modern": "128 and 256 px on a GPU",
    "small": "photographs at 64 px",
    "tiny": "32 px, in minutes",
}

PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    # The elements of `small` at the size of `paper`: docs/recipes.md gives the reason for each.
    "modern": Recipe(
        preset="modern",
        validation=0.1,
        upsample="resize",
        start="auto",
        discriminator_norm="none",
        cycle=1.0,
        identity=0.0,
        gradient_penalty=16.0,  # a mean over 16 times the patches of `small` has 1/16 of its slope
        discriminator_images=4,
        schedule="linear",
        steps=200_000,
        ema=0.999,
        precision="auto",
    ),
    "small": Recipe(
        preset="small",
        load_size=72,
        image_size=64,
        validation=0.1,
        width=32,
        blocks=2,
        upsample="resize",
        start="auto",
        discriminator_width=32,
        discriminator_layers=2,
        discriminator_norm="none",
        cycle=1.0,
        identity=0.0,
        gradient_penalty=1.0,
        discriminator_images=4,
        schedule="linear",
        steps=20_000,
        learning_rate=4e-4,
        discriminator_rate=4e-4,
        ema=0.999,
        precision="auto",
    ),
    "tiny": Recipe(
        preset="tiny",
        load_size=32,
        image_size=32,
        width=16,
        blocks=0,  # did best over seeds: docs/results.md, 2026-11-22
        upsample="resize",
        discriminator_width=24,
        discriminator_layers=2,
        discriminator_norm="none",
        identity=0.0,
        gradient_penalty=1.0,
        batch_size=2,
        schedule="linear",
        steps=7_500,
        learning_rate=4e-4,
        discriminator_rate=4e-4,
        ema=0.995,
    ),
}

FROM_NOISE: Mapping[str, Mapping[str, object]] = {
    "modern": {"cycle": 10.0},
    "small": {"cycle": 10.0},
}
"""What presets change where the start is noise: there the cycle loss has to teach generators to
give an image back, which those that start from the image do from the first step."""


def preset(name: str, overrides: Mapping[str, object] | None = None) -> Recipe:
    """The recipe of a preset, with some values replaced.

    An `image_size` without a `load_size` keeps the proportion of the two. The start "noise" brings
    the values of FROM_NOISE.

    >>> preset("tiny", {"image_size": 64}).load_size
    64

    Raises:
        ConfigError: no such preset, an unknown name in `overrides`, or a value out of its range.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {quoted(name)}: choose one of {', '.join(PRESETS)}")
    base, overrides = PRESETS[name], require_values(Recipe, overrides or {}, "the recipe")
    side = overrides.get("image_size")
    if "load_size" not in overrides and type(side) is int:
        scaled = round(side * base.load_size / base.image_size)
        overrides["load_size"] = max(scaled, side, SMALLEST_SIDE)
    recipe = override(base, overrides, "the recipe")
    return from_noise(recipe, overrides) if recipe.start == "noise" else recipe


def from_noise(recipe: Recipe, given: Container[str]) -> Recipe:
    """The recipe with the start "noise" and what its preset changes then, except values `given`."""
    changed = FROM_NOISE.get(recipe.preset, {})
    kept = {name: value for name, value in changed.items() if name not in given}
    return override(recipe, {"start": "noise", **kept}, "the preset")


def scaled_to_batch(name: str, given: Mapping[str, object]) -> dict[str, object]:
    """The values `given` for a preset, and those that follow from their `batch_size`.

    For a batch k times that of the preset the learning rates are sqrt(k) times as large, the
    half-lives of Adam's moments and of the running mean stay what they are in images (a decay
    becomes its k-th power), and so do the images of the whole training. Values `given` stay.
    Source: Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms",
    arXiv 2205.10287, whose 1 - k (1 - decay) is the first order of a power.

    >>> scaled_to_batch("tiny", {"batch_size": 8, "ema": 0.9})["steps"]
    1875

    Raises:
        ConfigError: no such preset, or no `batch_size` is given.
    """
    base = preset(name)
    if type(size := given.get("batch_size")) is not int or size < 1:
        raise ConfigError("--scale-with-batch scales a preset to --batch-size: give one")
    k = size / base.batch_size
    rates = ("learning_rate", "discriminator_rate")
    rule: dict[str, object] = {rate: getattr(base, rate) * math.sqrt(k) for rate in rates}
    rule |= {decay: getattr(base, decay) ** k for decay in ("beta1", "beta2", "ema")}
    if base.steps:
        rule["steps"] = max(1, round(base.steps / k))
    return rule | dict(given)
