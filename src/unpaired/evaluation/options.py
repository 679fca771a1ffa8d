"""The options of an evaluation, from which the flags of `evaluate` and `compare` are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from unpaired.config import DEFAULT_MAX_PIXELS, DEVICES, THREADS, check, option
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
        multiple_of=STRIDE,
    )
    limit: int = option(0, "the most test images of each domain, drawn at random (0: all)")
    seed: int = option(0, "seed of everything that is drawn at random")
    engine: Literal["auto", "torch", "jax"] = option(
        "auto", "framework that translates (auto: the one that trained, if installed)"
    )
    device: str = option("auto", DEVICES, metavar="DEVICE")
    threads: int = option(0, THREADS)
    max_pixels: int = option(
        DEFAULT_MAX_PIXELS, "reject images of more pixels than this before decoding them"
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
    limit: int
    seed: int
    engine: Literal["auto", "torch", "jax"]
    device: str
    threads: int
    max_pixels: int
