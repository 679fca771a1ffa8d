"""The configuration: what decides the result (Recipe) and what does not (Runtime), and bounds."""

from unpaired.config.config import Config, differences, drop_quiet, override
from unpaired.config.domain import DomainFacts
from unpaired.config.fields import (
    MOST_IMAGES,
    MOST_PIXELS,
    MOST_SEED,
    MOST_STEPS,
    MOST_THREADS,
    check,
    choices_of,
    option,
    require_values,
    require_within,
    unknown_name,
)
from unpaired.config.recipe import LOSS_KINDS, SETTLED, Recipe
from unpaired.config.runtime import DEFAULT_MAX_PIXELS, DEVICES, THREADS, Runtime

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEVICES",
    "LOSS_KINDS",
    "MOST_IMAGES",
    "MOST_PIXELS",
    "MOST_SEED",
    "MOST_STEPS",
    "MOST_THREADS",
    "SETTLED",
    "THREADS",
    "Config",
    "DomainFacts",
    "Recipe",
    "Runtime",
    "check",
    "choices_of",
    "differences",
    "drop_quiet",
    "option",
    "override",
    "require_values",
    "require_within",
    "unknown_name",
]
