"""What a network of features is to the rest of the program, and the resize in front of it.

As with the seam of engines, only numpy arrays cross. Images are uint8, (n, height, width, 3).
"""

from typing import Protocol

import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["FeatureNetwork", "PairDistance", "resize"]

Images8 = NDArray[np.uint8]


class FeatureNetwork(Protocol):
    """A pretrained network that makes a vector of each image."""

    @property
    def name(self) -> str:
        """Network, layer, input size and resize; it stands beside every figure made with it."""
        ...

    @property
    def width(self) -> int:
        """Length of the vectors."""
        ...

    def features(self, images: Images8) -> NDArray[np.float32]:
        """(n, height, width, 3) of any size, resized to the network's own -> (n, `width`)."""
        ...


class PairDistance(Protocol):
    """A learned distance between the images of a pair."""

    @property
    def name(self) -> str:
        """Measure and network; it stands beside every figure made with it."""
        ...

    def distance(self, x: Images8, y: Images8) -> NDArray[np.float64]:
        """Of each pair, (n,), at the size the images have.

        Raises:
            DataError: the shapes differ, or the images are too small for the network.
        """
        ...


def resize(images: Images8, side: int) -> NDArray[np.float32]:
    """(n, height, width, bands) to (n, side, side, bands), 0 to 255, by an antialiased bicubic.

    Pillow's filter, which widens as it shrinks, each band in floating point, without rounding to
    levels: as Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN
    Evaluation", 2022, recommend. Images of that size already come back as they are.
    """
    if images.shape[1:3] == (side, side):
        return images.astype(np.float32)
    result = np.empty((len(images), side, side, images.shape[-1]), np.float32)
    for index, band in np.ndindex(len(images), images.shape[-1]):
        plane = PIL.Image.fromarray(images[index, :, :, band].astype(np.float32))
        plane = plane.resize((side, side), PIL.Image.Resampling.BICUBIC)
        result[index, :, :, band] = np.asarray(plane)
    return np.clip(result, 0, 255)
