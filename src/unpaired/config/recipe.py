"""The configuration: what decides the result (Recipe) and what does not (Runtime).

`config.toml` in a run folder and the header of every weights file hold it in full.
"""

import dataclasses
import math
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from unpaired.config.fields import (
    MOST_IMAGES,
    MOST_PATH,
    MOST_PIXELS,
    MOST_SEED,
    MOST_STEPS,
    MOST_THREADS,
    MOST_WIDTH,
    check,
    flag,
    option,
    require_values,
)
from unpaired.directions import DIRECTIONS, DOMAINS, Domain, can_be_a_name
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE, Start, smallest_crop
from unpaired.errors import ConfigError, quoted, reason_of

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEVICES",
    "LOSS_KINDS",
    "SETTLED",
    "THREADS",
    "Config",
    "DomainFacts",
    "Recipe",
    "Runtime",
    "differences",
    "drop_quiet",
    "override",
]

DEFAULT_MAX_PIXELS = 178_956_970
"""Larger images are rejected before they are decoded. Pillow's own limit: RGB of 512 MiB."""

DEVICES = "auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1 or mps"
THREADS = "CPU threads for computing (0: one per core)"
_DEPTHS = (0, 8, 16)
_MOST_TEXT = 100_000  # characters of a config.toml; ours have some 5,000

Table = TypeVar("Table", "Recipe", "Runtime")


@dataclass(frozen=True)
class DomainFacts:
    """Name, bands and bits per sample (8 or 16) of one domain; 0 until the data settles them."""

    name: str
    bands: int
    depth: int


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training. The defaults are the recipe of 2017.

    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", arXiv 1703.10593, and the authors' code where the two differ.

    Where the domains' bands differ, `start` becomes "noise": no generator can give its input there.

    Raises:
        ConfigError: a value is out of its range.
    """

    preset: str = option("paper", "the preset that this recipe started from")
    # images
    load_size: int = option(
        286,
        "side in pixels that images are resized to before cropping",
        at_least=SMALLEST_SIDE,
        at_most=MOST_PIXELS,
    )
    image_size: int = option(
        256,
        "side in pixels of the random crops",
        at_least=SMALLEST_SIDE,
        at_most=MOST_PIXELS,
        multiple_of=STRIDE,
    )
    alpha: Literal["auto", "mask", "band"] = option(
        "auto",
        "a last band marked as transparency: of TIFF and JPEG 2000 a mask only where its values "
        "are one (auto), always (mask), or never (band)",
    )
    frames: Literal["reject", "first"] = option(
        "reject", "files of several frames (pages, animations): reject them, or take the first"
    )
    flip: bool = option(True, "flip images left to right at random")
    validation: float = option(
        0.0,
        "share of training images held out to choose the best checkpoint (0: none)",
        at_most=0.5,
    )
    # networks
    width: int = option(
        64, "channels after the first layer of a generator", at_least=1, at_most=MOST_WIDTH
    )
    blocks: int = option(9, "residual blocks of a generator", at_most=1000)
    upsample: Literal["transposed", "resize"] = option(
        "transposed", "upsampling: transposed convolution, or resize and convolve (no checkerboard)"
    )
    start: Start = option(
        "noise", "first output of a generator: noise, or its input (identity; equal bands only)"
    )
    discriminator_width: int = option(
        64, "channels after the first layer of a discriminator", at_least=1, at_most=MOST_WIDTH
    )
    discriminator_layers: int = option(
        3, "layers of a PatchGAN discriminator (3: patches of 70x70 pixels)", at_least=1, at_most=16
    )
    # losses
    cycle: float = option(10.0, "weight of the cycle loss", at_most=1e6)
    identity: float = option(
        0.5, "weight of the identity loss, relative to the cycle loss", at_most=1e6
    )
    pool_size: int = option(
        50,
        "earlier generated images kept for a discriminator, per image of a batch",
        at_most=MOST_IMAGES,
    )
    # optimisation
    batch_size: int = option(1, "images of each domain per step", at_least=1, at_most=MOST_IMAGES)
    steps: int = option(
        0, "training steps in total (0: as many as 200 epochs take)", at_most=MOST_STEPS
    )
    schedule: Literal["epochs", "linear"] = option(
        "epochs", "learning-rate decay over the second half: per epoch (as in 2017) or per step"
    )
    learning_rate: float = option(2e-4, "learning rate of the generators (Adam)", at_most=1e3)
    discriminator_rate: float = option(
        2e-4, "learning rate of the discriminators (Adam)", at_most=1e3
    )
    beta1: float = option(0.5, "decay of Adam's first moment", below=1)
    beta2: float = option(0.999, "decay of Adam's second moment", below=1)
    ema: float = option(
        0.0, "decay of the running mean of the generators' weights (0: none)", below=1
    )
    precision: Literal["fp32", "bf16", "fp64"] = option(
        "fp32", "arithmetic of the convolutions (fp64: for tests of equality)"
    )
    seed: int = option(
        0, "seed of everything random: initial weights, order of images, crops", at_most=MOST_SEED
    )
    # settled by the data
    name_a: str = option("a", "name of domain a", metavar="NAME")
    name_b: str = option("b", "name of domain b", metavar="NAME")
    bands_a: int = option(0, "bands of domain a (0: as in its images)", at_most=MOST_WIDTH)
    bands_b: int = option(0, "bands of domain b (0: as in its images)", at_most=MOST_WIDTH)
    depth_a: int = option(0, "bits per sample of domain a (0: as in its images)", choices=_DEPTHS)
    depth_b: int = option(0, "bits per sample of domain b (0: as in its images)", choices=_DEPTHS)
    epoch_steps: int = option(
        0, "steps per epoch: images of the larger domain over batch size", at_most=MOST_STEPS
    )
    data_fingerprint: str = option("", "hash of the training images, their names and order")

    def __post_init__(self) -> None:
        check(self)
        if self.bands_a and self.bands_b and self.bands_a != self.bands_b:
            object.__setattr__(self, "start", "noise")
        if self.load_size < self.image_size:
            raise ConfigError(
                f"--load-size {self.load_size} is under --image-size {self.image_size}: "
                "a crop must fit into the image"
            )
        if (smallest := smallest_crop(self.discriminator_layers)) > self.image_size:
            raise ConfigError(
                f"--image-size {self.image_size} is too small for a discriminator of "
                f"{self.discriminator_layers} layers: give at least {smallest}, "
                "or fewer --discriminator-layers"
            )
        for domain in DOMAINS:
            name = getattr(self, f"name_{domain}")
            if name and not can_be_a_name(name):
                raise ConfigError(
                    f"--name-{domain} is {quoted(name)}: a control character or half a character "
                    "is no part of a name"
                )
        a, b = self.name_a.casefold(), self.name_b.casefold()
        if not a or not b or a == b or a == "b" or b == "a":
            raise ConfigError(
                f"--name-a {self.name_a!r} and --name-b {self.name_b!r} do not tell the domains "
                "apart: give two different names, and neither the other domain's letter"
            )

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
        """The factor of both learning rates in the step of index `step` (from 0), in [0, 1].

        "epochs": in epoch e (from 1) of E, 1 - max(0, e + 1 - c) / (d + 1): constant for
        c = E - d epochs, then decaying for d = E // 2 (the authors' code; 200 epochs: 100 and 100).
        "linear": constant over the first half of the steps, then decaying linearly towards 0.
        """
        if self.schedule == "linear":
            half = self.steps / 2
            return 1.0 - max(0.0, step - half) / max(self.steps - half, 1)
        epoch_steps = max(self.epoch_steps, 1)
        epochs = math.ceil(self.steps / epoch_steps)
        decaying = epochs // 2
        if decaying == 0:
            return 1.0
        epoch = step // epoch_steps + 1
        return 1.0 - max(0, epoch + 1 - (epochs - decaying)) / (decaying + 1)


# The losses of a step by kind and side, in the order engines report them; a kind may be off.
LOSS_KINDS: Mapping[str, tuple[str, str]] = {
    "adversarial": DIRECTIONS,
    "cycle": DOMAINS,
    "identity": DOMAINS,
    "discriminator": DOMAINS,
}

# Settled by the data or the clock when a run is created: compared only where given by name.
SETTLED = (
    *(f"{fact.name}_{domain}" for fact in dataclasses.fields(DomainFacts) for domain in DOMAINS),
    "epoch_steps",
    "data_fingerprint",
)


@dataclass(frozen=True)
class Runtime:
    """Everything that does not decide the weights after a step, and may change at every start.

    Two runs are equal bit for bit on the same machine, engine and number of threads.

    Raises:
        ConfigError: a value is out of its range.
    """

    engine: Literal["torch", "jax"] = option("torch", "framework that trains and translates")
    device: str = option("auto", DEVICES, metavar="DEVICE")
    threads: int = option(0, THREADS, at_most=MOST_THREADS)
    workers: int = option(2, "threads that load images", at_least=1, at_most=MOST_THREADS)
    # Losses between two lines are in the header of a checkpoint, which is not to grow without end.
    log_every: int = option(50, "steps between lines of metrics.jsonl", at_least=1, at_most=100_000)
    sample_every: int = option(
        500, "steps between sample grids (0: only at the end)", at_most=MOST_STEPS
    )
    checkpoint_every: int = option(500, "steps between checkpoints", at_least=1, at_most=MOST_STEPS)
    report: Literal["end", "evaluations", "none"] = option(
        "end", "write the report page at the end, at every evaluation too, or never"
    )
    keep: int = option(3, "checkpoints to keep; older ones are removed", at_least=1, at_most=10**6)
    evaluate_every: int = option(
        1000, "steps between evaluations (0: only at the end)", at_most=MOST_STEPS
    )
    features: str = option(
        "",
        "feature weights for KID, which then chooses the best checkpoint",
        metavar="FILE",
        shown="(default: choose it without weights)",
        longest=MOST_PATH,
    )
    patience: int = option(
        0, "evaluations without improvement until training ends (0: never)", at_most=MOST_STEPS
    )
    tensorboard: bool = option(False, "write TensorBoard event files too (extra: track)")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Config:
    """The two tables of `config.toml`."""

    recipe: Recipe
    runtime: Runtime

    def to_toml(self) -> str:
        """The text of `config.toml`, every value with its explanation."""
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
        """Reads `config.toml`; errors name its location `where`.

        Raises:
            ConfigError: not TOML, an unknown key, a wrong type or a value out of range.
        """
        if len(text) > _MOST_TEXT:
            raise ConfigError(f"{where} has {len(text):,} characters: no configuration is so long")
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where} is not valid TOML: {reason_of(error)}") from error
        if unknown := sorted(set(tables) - {"recipe", "runtime"}):
            raise ConfigError(f"{where} has an unknown table or value {quoted(unknown[0])}")
        if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
            raise ConfigError(f"{where} has no table [{wrong[0]}], but a value of that name")
        # Before these two values existed, images were read like this.
        before = {"alpha": "mask", "frames": "first"}
        recipe = before | tables["recipe"] if "recipe" in tables else {}
        return cls(
            recipe=override(Recipe(), recipe, where),
            runtime=override(Runtime(), tables.get("runtime", {}), where),
        )


def differences(old: Recipe, new: Recipe | Mapping[str, object]) -> list[str]:
    """Lines `--flag old -> new`, one for every value in which two recipes differ.

    Of a mapping, which may have a few values only, those are compared.
    """
    values = new if isinstance(new, Mapping) else vars(new)
    return [
        f"{flag(item.name)} {getattr(old, item.name)} -> {values[item.name]}"
        for item in dataclasses.fields(Recipe)
        if item.name in values and getattr(old, item.name) != values[item.name]
    ]


def override(base: Table, values: Mapping[str, object], where: str) -> Table:
    """`base`, a Recipe or Runtime, with `values` replaced; errors name their source `where`.

    Raises:
        ConfigError: an unknown name (the nearest known one is suggested), a wrong type, or a value
            out of its range.
    """
    return dataclasses.replace(base, **require_values(type(base), values, where))


def drop_quiet(values: Mapping[str, Any], stacklevel: int = 3) -> dict[str, Any]:
    """Keywords without `quiet`, which earlier versions took; warns the caller's caller about it."""
    if "quiet" in values:
        told = "quiet has no effect: nothing is shown unless unpaired.console.show() was called"
        warnings.warn(told, DeprecationWarning, stacklevel=stacklevel)
    return {name: value for name, value in values.items() if name != "quiet"}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    return repr(value)
