"""The options of an evaluation, from which the flags of `evaluate` and `compare` are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from unpaired.config import (
    DEFAULT_MAX_PIXELS,
    DEVICES,
    MOST_PIXELS,
    MOST_SEED,
    MOST_STEPS,
    MOST_THREADS,
    THREADS,
    check,
    option,
)
from unpaired.directions import Aligned
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE
from unpaired.errors import ConfigError

__all__ = ["FEWEST", "OptionKeywords", "Options"]

FEWEST = 3  # images that a metric of a set needs


@dataclass(frozen=True)
class Options:
    """How an evaluation is made. The flags of the command line are made of these fields.

    Raises:
        ConfigError: a value is out of its range.
    """

    features: str | Path | None = option(
        None,
        "weights for KID and FID: AlexNet, VGG16 or EfficientNet-Lite0; or inception (extra: fid)",
        metavar="FILE",
    )
    lpips: str | Path | None = option(
        None, "LPIPS heads for AlexNet, whose weights --features then gives", metavar="FILE"
    )
    image_size: int | None = option(
        None,
        "side in pixels at which images are translated and compared",
        metavar="INT",
        shown="(default: as trained)",
        at_least=SMALLEST_SIDE,
        at_most=MOST_PIXELS,
        multiple_of=STRIDE,
    )
    paired: bool | None = option(
        None,
        "test images of equal names are pairs, each other's true translations",
        shown="(default: if the data set says so, or names and contents agree)",
        negative="test images of equal names are not pairs",
    )
    domains: tuple[str, str] | None = option(
        None,
        "folders of the domains A and B in DATA, which has several",
        metavar="A B",
        shown="(default: found by their names)",
    )
    aligned: Aligned | None = option(
        None,
        "every image shows A and B side by side, as in pix2pix: A at the left or at the right",
        metavar="{left-right,right-left}",
    )
    limit: int = option(
        0, "the most test images of each domain, drawn at random (0: all)", at_most=MOST_STEPS
    )
    seed: int = option(0, "seed of everything that is drawn at random", at_most=MOST_SEED)
    engine: Literal["auto", "torch", "jax"] = option(
        "auto", "framework that translates (auto: the one that trained, if installed)"
    )
    device: str = option("auto", DEVICES, metavar="DEVICE")
    threads: int = option(0, THREADS, at_most=MOST_THREADS)
    precision: Literal["recipe", "auto", "fp32", "bf16"] = option(
        "recipe", "arithmetic that translates: as trained (recipe), fp32, bf16, or auto"
    )
    max_pixels: int = option(
        DEFAULT_MAX_PIXELS,
        "reject images of more pixels than this before decoding them",
        at_most=MOST_STEPS,
    )

    def __post_init__(self) -> None:
        check(self)
        if 0 < self.limit < FEWEST:
            raise ConfigError(f"--limit is {self.limit}: it must be 0 (all) or at least {FEWEST}")


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options`, for calls with keywords; a test holds the two together."""

    features: str | Path | None
    lpips: str | Path | None
    image_size: int | None
    paired: bool | None
    domains: tuple[str, str] | None
    aligned: Aligned | None
    limit: int
    seed: int
    engine: Literal["auto", "torch", "jax"]
    device: str
    threads: int
    precision: Literal["recipe", "auto", "fp32", "bf16"]
    max_pixels: int
