"""The recipe: everything that decides the result of a training."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unpaired.config.domain import DomainFacts, parse_scaling
from unpaired.config.fields import (
    MOST_IMAGES,
    MOST_PIXELS,
    MOST_SEED,
    MOST_STEPS,
    MOST_WIDTH,
    check,
    option,
)
from unpaired.directions import DIRECTIONS, DOMAINS, Domain, can_be_a_name
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE, Norm, Start, smallest_crop
from unpaired.errors import ConfigError, quoted

__all__ = ["LOSS_KINDS", "SETTLED", "Recipe"]

_SCALING = (
    "values of domain a that networks see as -1 and 1: of each band low:high, such as 0:3000; "
    "linear, db (decibels) or log of percentiles; full (the range of the bits); or auto"
)
_BANDS = (
    "bands of domain a that are read, listed by number or name, such as 4,3,2 or B4,B3,B2, or one "
    'alone with a comma ("3,"); "3" is how many bands there are, and selects none'
)
_DEPTHS = (0, 8, 16, 32)
_DTYPES = ("", "uint8", "uint16", "int16", "int32", "float32")
_TEXT = 8192  # characters of what is said of the bands of a raster, such as the ends of each


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
    crops: Literal["auto", "resize", "native"] = option(
        "auto",
        "crops: of images resized to --load-size; native, windows of rasters at their own "
        "resolution; or native if there are rasters (auto)",
    )
    invalid: float = option(
        0.25, "share of pixels without data, above which a native crop is not drawn", at_most=1.0
    )
    gaps: Literal["omit", "count"] = option(
        "omit",
        "pixels without data, which networks see filled from those near them: omit them from the "
        "losses, or count them",
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
    start: Literal["auto", "noise", "residual", "identity"] = option(
        "noise",
        "first output of a generator: noise, its input (residual; equal bands only), or that of "
        "the two which suits the data (auto); identity: the input, as earlier versions had it",
    )
    norm: Norm = option("instance", "norm of the generators: instance norm, or none and biases")
    discriminator_width: int = option(
        64, "channels after the first layer of a discriminator", at_least=1, at_most=MOST_WIDTH
    )
    discriminator_layers: int = option(
        3, "layers of a PatchGAN discriminator (3: patches of 70x70 pixels)", at_least=1, at_most=16
    )
    discriminator_norm: Norm = option("instance", "norm of the discriminators, likewise")
    # losses
    cycle: float = option(10.0, "weight of the cycle loss", at_most=1e6)
    identity: float = option(
        0.5, "weight of the identity loss, relative to the cycle loss", at_most=1e6
    )
    gradient_penalty: float = option(
        0.0,
        "weight of a zero-centred penalty on the discriminators' gradients (0: none)",
        at_most=1e6,
    )
    pool_size: int = option(
        50,
        "earlier generated images kept for a discriminator, per image of a batch",
        at_most=MOST_IMAGES,
    )
    discriminator_images: int = option(
        1,
        "real and generated images that a discriminator sees per image of a batch; those beyond 1 "
        "are further real ones, and generated ones of the pool",
        at_least=1,
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
    precision: Literal["auto", "fp32", "bf16", "fp64"] = option(
        "fp32",
        "arithmetic of the convolutions: bf16 where the device is faster in it, else fp32 (auto); "
        "or fp32, bf16, or fp64 (for tests of equality)",
    )
    seed: int = option(
        0, "seed of everything random: initial weights, order of images, crops", at_most=MOST_SEED
    )
    # settled by the data
    name_a: str = option("a", "name of domain a", metavar="NAME")
    name_b: str = option("b", "name of domain b", metavar="NAME")
    bands_a: int = option(0, _BANDS, metavar="BANDS", at_most=MOST_WIDTH)
    bands_b: int = option(0, "likewise, of domain b", metavar="BANDS", at_most=MOST_WIDTH)
    depth_a: int = option(0, "bits per sample of domain a (0: as in its images)", choices=_DEPTHS)
    depth_b: int = option(0, "bits per sample of domain b (0: as in its images)", choices=_DEPTHS)
    select_a: str = option("", "bands of domain a that are read, by number or name", longest=_TEXT)
    select_b: str = option("", "bands of domain b that are read, by number or name", longest=_TEXT)
    scaling_a: str = option("auto", _SCALING, metavar="VALUES", longest=_TEXT)
    scaling_b: str = option("auto", "likewise, of domain b", metavar="VALUES", longest=_TEXT)
    dtype_a: str = option("", "type of the samples of domain a, if it is a raster")
    dtype_b: str = option("", "type of the samples of domain b, if it is a raster")
    band_names_a: str = option("", "names of the bands of domain a", longest=_TEXT)
    band_names_b: str = option("", "names of the bands of domain b", longest=_TEXT)
    units_a: str = option("", "units of the bands of domain a", longest=_TEXT)
    units_b: str = option("", "units of the bands of domain b", longest=_TEXT)
    nodata_a: str = option("", "value of pixels without data of domain a")
    nodata_b: str = option("", "value of pixels without data of domain b")
    resolution_a: float = option(
        0.0, "side of a pixel of domain a on the ground, in metres", at_most=1e7
    )
    resolution_b: float = option(
        0.0, "side of a pixel of domain b on the ground, in metres", at_most=1e7
    )
    epoch_steps: int = option(
        0, "steps per epoch: images of the larger domain over batch size", at_most=MOST_STEPS
    )
    data_fingerprint: str = option("", "hash of the training images, their names and order")
    init_fingerprint: str = option(
        "", "hash of the weights that the training started from (--init); empty: they were drawn"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.bands_a and self.bands_b and self.bands_a != self.bands_b:
            object.__setattr__(self, "start", "noise")
        if self.discriminator_images > 1 and not self.pool_size:
            raise ConfigError(
                f"--discriminator-images {self.discriminator_images} needs earlier generated "
                "images: give a --pool-size of at least 1"
            )
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
            self._check_raster(domain)
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

    def _check_raster(self, domain: Domain) -> None:
        """Rejects facts of a raster that cannot be; files of others hold some."""
        parse_scaling(getattr(self, f"scaling_{domain}"), f"--scaling-{domain}")
        if (dtype := getattr(self, f"dtype_{domain}")) not in _DTYPES:
            raise ConfigError(f"--dtype-{domain} is {quoted(dtype)}: choose one of {_DTYPES[1:]}")
        nodata = getattr(self, f"nodata_{domain}")
        try:
            float(nodata or 0)
        except ValueError:
            raise ConfigError(f"--nodata-{domain} is {quoted(nodata)}: give a number") from None

    @property
    def domains(self) -> Mapping[Domain, DomainFacts]:
        """The facts of both domains, in the order a, b."""
        names = [item.name for item in dataclasses.fields(DomainFacts)]
        return {
            domain: DomainFacts(*(getattr(self, f"{name}_{domain}") for name in names))
            for domain in DOMAINS
        }

    def select(self, domain: Domain) -> tuple[str, ...]:
        """The bands of a domain that are read, by number or name; empty: all."""
        return tuple(filter(None, map(str.strip, getattr(self, f"select_{domain}").split(","))))

    @property
    def settled_start(self) -> Start:
        """The start of the generators, which is settled when a run is created.

        Raises:
            ConfigError: it is "auto" still, which no network can be made of.
        """
        if self.start == "auto":
            raise ConfigError(
                "--start auto is for new runs, which settle it: give noise or identity"
            )
        return self.start

    @property
    def settled_precision(self) -> Literal["fp32", "bf16", "fp64"]:
        """The arithmetic, which is settled when a run is created.

        Raises:
            ConfigError: it is "auto" still, which depends on the device.
        """
        if self.precision == "auto":
            raise ConfigError(
                "--precision auto is for new runs, which settle it: give fp32 or bf16"
            )
        return self.precision

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
    "init_fingerprint",
)
