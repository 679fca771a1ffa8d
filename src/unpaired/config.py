"""The configuration: what decides the result (Recipe), what does not (Runtime), and presets.

`config.toml` in a run folder and the header of every weights file hold it complete.
"""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from unpaired.directions import Domain
from unpaired.errors import ConfigError

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "PRESETS",
    "SETTLED",
    "Config",
    "DomainFacts",
    "Recipe",
    "Runtime",
    "differences",
    "override",
    "preset",
]

DEFAULT_MAX_PIXELS = 178_956_970
"""Larger images are refused before they are decoded: where Pillow stops too, RGB of 512 MiB."""

T = TypeVar("T")
Table = TypeVar("Table", "Recipe", "Runtime")


def _option(default: T, text: str) -> T:
    """A dataclass field with its explanation, which the command line shows as help."""
    made: T = field(default=default, metadata={"help": text})
    return made


def _check_choices(table: "Recipe | Runtime") -> None:
    for name, kind in get_type_hints(type(table)).items():
        if get_origin(kind) is Literal and getattr(table, name) not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise ConfigError(f"{_flag(name)} is {getattr(table, name)!r}: choose one of {choices}")


@dataclass(frozen=True)
class DomainFacts:
    """The name, bands and bits per sample (8 or 16) of one domain; 0 until the data settles them."""

    name: str
    bands: int
    depth: int


@dataclass(frozen=True)
class Recipe:
    """All that decides the result of a training. The defaults are the recipe of 2017 (`paper`).

    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", arXiv 1703.10593, and the authors' code where the two differ.

    Raises:
        ConfigError: a value is out of its range.
    """

    preset: str = _option("paper", "the preset this recipe began with")
    # images
    load_size: int = _option(286, "side in pixels that images are resized to before the crop")
    image_size: int = _option(256, "side in pixels of the random crop that is trained on")
    flip: bool = _option(True, "mirror images left to right at random")
    validation: float = _option(
        0.0, "share of the training images set aside to choose the best checkpoint (0: none)"
    )
    # networks
    width: int = _option(64, "channels after the first layer of a generator")
    blocks: int = _option(9, "residual blocks of a generator")
    upsample: Literal["transposed", "resize"] = _option(
        "transposed", "how generators go up: transposed or resize convolution (no checkerboards)"
    )
    discriminator_width: int = _option(64, "channels after the first layer of a discriminator")
    discriminator_layers: int = _option(3, "layers of a PatchGAN discriminator (3 is 70x70)")
    # losses
    cycle: float = _option(10.0, "weight of the cycle loss")
    identity: float = _option(0.5, "weight of the identity loss, times that of the cycle loss")
    pool_size: int = _option(50, "earlier fakes kept for a discriminator, a lane of the batch")
    # optimisation
    batch_size: int = _option(1, "images of each domain in a step")
    steps: int = _option(0, "training steps in all (0: 200 epochs, settled by the data)")
    schedule: Literal["epochs", "linear"] = _option(
        "epochs", "fall of the rates over the second half: by epochs (2017) or at every step"
    )
    learning_rate: float = _option(2e-4, "rate of the generators' Adam")
    discriminator_rate: float = _option(2e-4, "rate of the discriminators' Adam")
    beta1: float = _option(0.5, "Adam's decay of the first moment")
    beta2: float = _option(0.999, "Adam's decay of the second moment")
    ema: float = _option(0.0, "decay of the running mean of the generators' weights (0: none)")
    precision: Literal["fp32", "bf16", "fp64"] = _option(
        "fp32", "arithmetic of the convolutions (fp64 is for tests of equality)"
    )
    seed: int = _option(0, "seed of all that is drawn, such as first weights, order and crops")
    # what the data settled
    name_a: str = _option("a", "name of domain a")
    name_b: str = _option("b", "name of domain b")
    bands_a: int = _option(0, "bands of domain a (0: as its images have)")
    bands_b: int = _option(0, "bands of domain b (0: as its images have)")
    depth_a: int = _option(0, "bits a sample of domain a, 8 or 16 (0: as its images have)")
    depth_b: int = _option(0, "bits a sample of domain b, 8 or 16 (0: as its images have)")
    epoch_steps: int = _option(0, "steps of one epoch: the larger domain over the batch")
    data_fingerprint: str = _option("", "hash of the training images, their names and order")

    def __post_init__(self) -> None:
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ConfigError(f"{_flag(name)} is {value}: it must be a number")
            if value < low:
                raise ConfigError(f"{_flag(name)} is {value}: it must be at least {low}")
        for name in ("beta1", "beta2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{_flag(name)} is {getattr(self, name)}: it must be from 0 to under 1"
                )
        _check_choices(self)
        if self.validation > 0.5:
            raise ConfigError(f"--validation is {self.validation}: it must be at most 0.5")
        if self.image_size % 4:
            raise ConfigError(f"--image-size is {self.image_size}: it must be a multiple of 4")
        if self.load_size < self.image_size:
            raise ConfigError(
                f"--load-size {self.load_size} is under --image-size {self.image_size}: "
                "a crop must fit into the image"
            )
        if (smallest := self.smallest_crop()) > self.image_size:
            raise ConfigError(
                f"--image-size {self.image_size} is too small for a discriminator of "
                f"{self.discriminator_layers} layers: at least {smallest}, "
                "or fewer --discriminator-layers"
            )
        a, b = self.name_a.casefold(), self.name_b.casefold()
        if not a or not b or a == b or a == "b" or b == "a":
            raise ConfigError(
                f"--name-a {self.name_a!r} and --name-b {self.name_b!r} do not tell the domains "
                "apart: give two different names, and neither the other side's letter"
            )
        for name in ("depth_a", "depth_b"):
            if getattr(self, name) not in (0, 8, 16):
                raise ConfigError(f"{_flag(name)} is {getattr(self, name)}: choose 8 or 16")

    def smallest_crop(self) -> int:
        """The smallest side, in pixels, on which both networks are defined."""
        # A discriminator halves once a layer, then loses a pixel in each of two convolutions, and
        # the instance norm between them needs more than one value. A generator needs 8.
        return int(max(8, 2**self.discriminator_layers * 3))

    @property
    def domains(self) -> Mapping[Domain, DomainFacts]:
        """The facts of both domains, in the order a, b."""
        return {
            "a": DomainFacts(self.name_a, self.bands_a, self.depth_a),
            "b": DomainFacts(self.name_b, self.bands_b, self.depth_b),
        }

    @property
    def identity_weight(self) -> float:
        """Weight of the identity loss in the sum; 0 where the domains' band counts differ."""
        return self.cycle * self.identity if self.bands_a == self.bands_b else 0.0

    def rate_factor(self, step: int) -> float:
        """What the base rates are multiplied by in the step of index `step` (from 0), in [0, 1].

        "epochs": in epoch e (from 1) of E, 1 - max(0, e + 1 - c) / (d + 1), where c = E - d epochs
        are constant and d = E // 2 fall (the authors' code; 200 epochs: 100 and 100).
        "linear": constant over the first half of the steps, then straight down towards 0.
        """
        if self.schedule == "linear":
            half = self.steps / 2
            return 1.0 - max(0.0, step - half) / max(self.steps - half, 1)
        epochs = math.ceil(self.steps / self.epoch_steps)
        falling = epochs // 2
        if falling == 0:
            return 1.0
        epoch = step // self.epoch_steps + 1
        return 1.0 - max(0, epoch + 1 - (epochs - falling)) / (falling + 1)


_AT_LEAST: Mapping[str, float] = {
    "image_size": 8,
    "load_size": 8,
    "validation": 0,
    "width": 1,
    "blocks": 0,
    "discriminator_width": 1,
    "discriminator_layers": 1,
    "cycle": 0,
    "identity": 0,
    "pool_size": 0,
    "batch_size": 1,
    "steps": 0,
    "learning_rate": 0,
    "discriminator_rate": 0,
    "seed": 0,
    "bands_a": 0,
    "bands_b": 0,
    "epoch_steps": 0,
}

# What the data or the clock settle at the birth of a run: not compared unless asked for by name.
SETTLED = (
    "name_a",
    "name_b",
    "bands_a",
    "bands_b",
    "depth_a",
    "depth_b",
    "epoch_steps",
    "data_fingerprint",
)


@dataclass(frozen=True)
class Runtime:
    """What does not decide the weights after a step, and may change from start to start.

    Bit for bit equality of two runs holds for the same machine, engine and number of threads.

    Raises:
        ConfigError: a value is out of its range.
    """

    engine: Literal["torch", "jax"] = _option("torch", "framework that trains and translates")
    device: str = _option("auto", "auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps")
    threads: int = _option(0, "threads of the arithmetic on a CPU (0: as many as cores)")
    workers: int = _option(2, "threads that load images")
    log_every: int = _option(50, "steps between two lines of metrics.jsonl")
    sample_every: int = _option(500, "steps between two sample grids (0: only at the end)")
    checkpoint_every: int = _option(500, "steps between two checkpoints")
    report: Literal["end", "evaluations", "none"] = _option(
        "end", "when the report page is written: at the end, at every evaluation too, or never"
    )
    keep: int = _option(3, "checkpoints kept; older ones are removed")
    evaluate_every: int = _option(1000, "steps between two evaluations (0: only at the end)")
    features: str = _option(
        "", "file of feature weights: the best is chosen by KID on them (none: without weights)"
    )
    patience: int = _option(
        0, "evaluations without a better one after which the training ends (0: never)"
    )
    tensorboard: bool = _option(False, "write TensorBoard event files too (extra: track)")

    def __post_init__(self) -> None:
        _check_choices(self)
        for name, low in {
            "threads": 0,
            "workers": 1,
            "log_every": 1,
            "sample_every": 0,
            "checkpoint_every": 1,
            "keep": 1,
            "evaluate_every": 0,
            "patience": 0,
        }.items():
            if getattr(self, name) < low:
                raise ConfigError(
                    f"{_flag(name)} is {getattr(self, name)}: it must be at least {low}"
                )


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

    With an `image_size` alone, `load_size` keeps its proportion to it.

    Raises:
        ConfigError: no such preset, an unknown name among `overrides`, or a value out of range.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}: choose one of {', '.join(PRESETS)}")
    base, overrides = PRESETS[name], dict(overrides or {})
    side = overrides.get("image_size")
    if "load_size" not in overrides and type(side) is int:
        overrides["load_size"] = max(round(side * base.load_size / base.image_size), side)
    return override(base, overrides, "the recipe")


@dataclass(frozen=True)
class Config:
    """The two tables of `config.toml`."""

    recipe: Recipe
    runtime: Runtime

    def to_toml(self) -> str:
        """The file `config.toml`, every value with its explanation."""
        tables = []
        for title, table in (("recipe", self.recipe), ("runtime", self.runtime)):
            rows = [f"[{title}]"]
            for item in dataclasses.fields(table):
                value = _toml(getattr(table, item.name))
                rows.append(f"{item.name} = {value}  # {item.metadata['help']}")
            tables.append("\n".join(rows) + "\n")
        return "\n".join(tables)

    @classmethod
    def from_toml(cls, text: str, where: str) -> "Config":
        """Reads `config.toml`, whose place `where` is named in errors.

        Raises:
            ConfigError: not TOML, an unknown key, a wrong type or a value out of range.
        """
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{where} is not valid TOML: {error}") from error
        if unknown := sorted(set(tables) - {"recipe", "runtime"}):
            raise ConfigError(f"{where} has an unknown table [{unknown[0]}]")
        return cls(
            recipe=override(Recipe(), tables.get("recipe", {}), where),
            runtime=override(Runtime(), tables.get("runtime", {}), where),
        )


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Lines `--flag old -> new`, one for every value in which two recipes differ."""
    return [
        f"{_flag(item.name)} {getattr(old, item.name)} -> {getattr(new, item.name)}"
        for item in dataclasses.fields(Recipe)
        if getattr(old, item.name) != getattr(new, item.name)
    ]


def override(base: Table, values: Mapping[str, object], where: str) -> Table:
    """`base`, a Recipe or Runtime, with `values` in place; `where` they stand is named in errors.

    Raises:
        ConfigError: an unknown name (the nearest known one is told), a wrong type, or a value out
            of range.
    """
    hints = get_type_hints(type(base))
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f", which has {', '.join(hints)}"
            raise ConfigError(f"unknown key {name!r} in {where}{hint}")
        wanted = hints[name]
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if wanted in (int, float, str, bool) and type(value) is not wanted:
            raise ConfigError(
                f"{name} in {where} is {value!r}: it must be of type {wanted.__name__}"
            )
        checked[name] = value
    return dataclasses.replace(base, **checked)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    return repr(value)
