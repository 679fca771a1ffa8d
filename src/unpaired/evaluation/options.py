"""How an evaluation is made: the options of `evaluate` and `compare`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, TypeVar

from unpaired.config import DEFAULT_MAX_PIXELS

__all__ = ["OptionKeywords", "Options"]


T = TypeVar("T")


def option(default: T, text: str, metavar: str = "", shown: str = "") -> T:
    """A field with its help; `metavar` and `shown` say how the flag and its default are shown."""
    made: T = field(default=default, metadata={"help": text, "metavar": metavar, "shown": shown})
    return made


@dataclass(frozen=True)
class Options:
    """How an evaluation is made. The flags of the command line are made of these fields."""

    features: str | Path | None = option(
        None,
        "weights for KID and FID: AlexNet, VGG16 or EfficientNet-Lite0; or inception (extra: fid)",
        "FILE",
    )
    lpips: str | Path | None = option(
        None, "LPIPS heads of AlexNet, whose weights --features then names", "FILE"
    )
    image_size: int | None = option(
        None, "side in pixels to translate and compare at", shown="(that of the training)"
    )
    limit: int = option(0, "test images of each domain at most, drawn at random (0: all)")
    seed: int = option(0, "seed of everything that is drawn at random")
    engine: Literal["auto", "torch", "jax"] = option(
        "auto", "framework that translates (auto: the one that trained, where it is installed)"
    )
    device: str = option("auto", "auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps")
    threads: int = option(0, "CPU threads for computing (0: one per core)")
    max_pixels: int = option(
        DEFAULT_MAX_PIXELS, "refuse images of more pixels than this, before they are decoded"
    )


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
