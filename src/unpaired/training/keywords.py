"""The keywords of `unpaired.train`, typed, so that editors complete and check them.

They are the fields of Recipe and Runtime that a user may set; a test holds the two together.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from unpaired.config import drop_quiet, unknown_name
from unpaired.engines.architecture import Norm
from unpaired.errors import ConfigError

__all__ = ["OWN", "RecipeKeywords", "RuntimeKeywords", "TrainKeywords", "sort_keywords"]


class RecipeKeywords(TypedDict, total=False):
    """The values of a recipe that a user may give; see Recipe.

    `bands_a` and `bands_b` are numbers of bands, or texts that select bands by number or name, such
    as "4,3,2" or "B4,B3,B2"; of a single band with a comma after it.
    """

    load_size: int
    image_size: int
    alpha: Literal["auto", "mask", "band"]
    frames: Literal["reject", "first"]
    crops: Literal["auto", "resize", "native"]
    invalid: float
    gaps: Literal["omit", "count"]
    flip: bool
    validation: float
    width: int
    blocks: int
    upsample: Literal["transposed", "resize"]
    start: Literal["auto", "noise", "residual", "identity"]
    norm: Norm
    discriminator_width: int
    discriminator_layers: int
    discriminator_norm: Norm
    cycle: float
    identity: float
    gradient_penalty: float
    pool_size: int
    discriminator_images: int
    batch_size: int
    steps: int
    schedule: Literal["epochs", "linear"]
    learning_rate: float
    discriminator_rate: float
    beta1: float
    beta2: float
    ema: float
    precision: Literal["auto", "fp32", "bf16", "fp64"]
    seed: int
    name_a: str
    name_b: str
    bands_a: int | str
    bands_b: int | str
    depth_a: int
    depth_b: int
    scaling_a: str
    scaling_b: str


class RuntimeKeywords(TypedDict, total=False):
    """The values of a runtime; see Runtime."""

    engine: Literal["torch", "jax"]
    device: str
    threads: int
    workers: int
    accumulate: int
    activation_checkpointing: bool
    compile: Literal["auto", "off", "blocks", "full"]
    log_every: int
    sample_every: int
    checkpoint_every: int
    report: Literal["end", "evaluations", "none"]
    keep: int
    evaluate_every: int
    features: str
    patience: int
    tensorboard: bool
    track: str


class TrainKeywords(RecipeKeywords, RuntimeKeywords, total=False):
    """The keywords of `train` besides its own parameters, which are `OWN`."""


OWN = (
    "out", "preset", "init", "epochs", "minutes", "extend", "scale_with_batch", "domains",
    "aligned", "skip_unreadable", "max_pixels",
)  # fmt: skip


def sort_keywords(
    values: Mapping[str, Any],
    recipe: Mapping[str, object] | None = None,
    runtime: Mapping[str, object] | None = None,
) -> tuple[dict[str, object], dict[str, object]]:
    """The values of the recipe and those of the runtime: the mappings, joined by the keywords.

    >>> sort_keywords({"image_size": 64, "threads": 1}, recipe={"seed": 3})
    ({'seed': 3, 'image_size': 64}, {'threads': 1})

    Raises:
        ConfigError: an unknown keyword (suggests the nearest known one), or a value given twice.
    """
    tables = dict(recipe or {}), dict(runtime or {})
    names = RecipeKeywords.__annotations__, RuntimeKeywords.__annotations__
    for name, value in drop_quiet(values, stacklevel=4).items():
        if name not in names[0] and name not in names[1]:
            raise unknown_name(name, [*names[0], *names[1], *OWN], "the keywords of train")
        table = tables[name in names[1]]
        if name in table:
            raise ConfigError(f"{name} is given twice, as a keyword and in a mapping: give it once")
        table[name] = value
    return _with_selections(tables[0]), tables[1]


def _with_selections(recipe: dict[str, object]) -> dict[str, object]:
    """The values of a recipe, with bands that are selected as such.

    >>> _with_selections({"bands_a": "B4,B3", "bands_b": "3"})
    {'select_a': 'B4,B3', 'bands_b': 3}
    """
    found: dict[str, object] = {}
    for name, value in recipe.items():
        if name in ("bands_a", "bands_b") and isinstance(value, str):
            if value.strip().isdecimal():
                found[name] = int(value)
            else:
                found[f"select_{name[-1]}"] = value
        else:
            found[name] = value
    return found
