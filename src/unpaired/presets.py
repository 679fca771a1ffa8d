"""The presets: recipes with a name. A new one is added here and nowhere else."""

from collections.abc import Mapping
from typing import Literal

from unpaired.config import Recipe, override, require_values
from unpaired.engines.architecture import SMALLEST_SIDE
from unpaired.errors import ConfigError, quoted

__all__ = ["ABOUT", "PRESETS", "PresetName", "preset"]

PresetName = Literal["paper", "small", "tiny"]

ABOUT: Mapping[PresetName, str] = {
    "paper": "the recipe of 2017",
    "small": "photographs at 64 px",
    "tiny": "32 px, in minutes",
}

PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "small": Recipe(
        preset="small",
        load_size=72,
        image_size=64,
        validation=0.1,
        width=32,
        blocks=6,
        upsample="resize",
        discriminator_width=32,
        discriminator_layers=2,
        schedule="linear",
        steps=20_000,
        ema=0.999,
        precision="bf16",
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
        identity=0.0,
        batch_size=2,
        schedule="linear",
        steps=7_500,
        learning_rate=4e-4,
        discriminator_rate=4e-4,
        ema=0.995,
    ),
}


def preset(name: str, overrides: Mapping[str, object] | None = None) -> Recipe:
    """The recipe of a preset, with some values replaced.

    An `image_size` without a `load_size` keeps the proportion of the two.

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
    return override(base, overrides, "the recipe")
