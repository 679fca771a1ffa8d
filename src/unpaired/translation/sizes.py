"""The sizes of an image on its way through a network: its own, the working size, the padded one."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from unpaired.config import MOST_PIXELS, require_within
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE
from unpaired.images.image import Image, from_signed, over_white, to_signed, with_bands
from unpaired.images.resize import resize

__all__ = ["Sizes", "from_network", "to_network"]


@dataclass(frozen=True)
class Sizes:
    """(height, width) in pixels of an image: its own, the one translated at, and that one padded.

    >>> Sizes.of((30, 50), 25)
    Sizes(original=(30, 50), working=(15, 25), padded=(16, 28))
    """

    original: tuple[int, int]
    working: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], working_size: int | None) -> Self:
        """The sizes of an image of `size` whose longer side is translated at `working_size`.

        None is its own size. The networks need padding to multiples of 4, at least 8.

        Raises:
            ConfigError: a working size under 8 or over 65,536.
        """
        working = size
        if working_size is not None:
            require_within("--working-size", working_size, SMALLEST_SIDE, MOST_PIXELS)
            scale = working_size / max(size)
            working = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        height, width = (max(-(-side // STRIDE) * STRIDE, SMALLEST_SIDE) for side in working)
        return cls(size, working, (height, width))


def to_network(image: Image, sizes: Sizes, bands: int) -> NDArray[np.float32]:
    """Converts an image to (height, width, `bands`) in [-1, 1], at the padded size.

    Transparency is composited over white. The padding mirrors the image to the right and below
    without repeating its edge; a side too short for its padding is mirrored again and again, and
    a side of one pixel is repeated.
    """
    pixels = with_bands(over_white(image), bands)
    if sizes.working == sizes.original:
        signed = to_signed(pixels)
    else:  # band by band: in floating point the whole image would be four times its size
        planes = np.split(pixels, bands, axis=2)
        resized = [resize(to_signed(plane), sizes.working, (-1, 1)) for plane in planes]
        signed = np.concatenate(resized, axis=2)
    if sizes.padded == sizes.working:
        return signed
    (height, width), (below, right) = sizes.working, sizes.padded
    return np.pad(signed, [(0, below - height), (0, right - width), (0, 0)], mode="reflect")


def from_network(
    signed: NDArray[np.float32], source: Image, sizes: Sizes, depth: Literal[8, 16]
) -> Image:
    """Converts a network's result to an image of the size and transparency of its source."""
    height, width = sizes.working
    signed = signed[:height, :width]
    if sizes.working == sizes.original:
        return Image(from_signed(signed, depth), source.alpha)
    planes = np.split(signed, signed.shape[2], axis=2)
    bands = [from_signed(resize(plane, sizes.original, (-1, 1)), depth) for plane in planes]
    return Image(np.concatenate(bands, axis=2), source.alpha)
