"""What a network of features is to the rest of the program, and the resize in front of it.

As with the seam of engines, only numpy arrays cross. Pictures are uint8, (n, height, width, 3).
"""

from typing import Protocol

import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["FeatureNetwork", "PairDistance", "resize"]

Pictures = NDArray[np.uint8]


class FeatureNetwork(Protocol):
    """A pretrained network that makes a vector of each picture."""

    @property
    def name(self) -> str:
        """Network, layer, input size and resize; it stands beside every figure made with it."""
        ...

    @property
    def width(self) -> int:
        """Length of the vectors."""
        ...

    def features(self, pictures: Pictures) -> NDArray[np.float32]:
        """(n, height, width, 3) of any size, resized to the network's own -> (n, `width`)."""
        ...


class PairDistance(Protocol):
    """A learned distance between the pictures of a pair."""

    @property
    def name(self) -> str:
        """Measure and network; it stands beside every figure made with it."""
        ...

    def distance(self, x: Pictures, y: Pictures) -> NDArray[np.float64]:
        """Of each pair, (n,), at the size the pictures have.

        Raises:
            DataError: the shapes differ, or the pictures are too small for the network.
        """
        ...


def resize(pictures: Pictures, side: int) -> NDArray[np.float32]:
    """(n, height, width, bands) to (n, side, side, bands), 0 to 255, by an antialiased bicubic.

    Pillow's filter, which widens as it shrinks, each band in floating point, without rounding to
    levels: as Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN
    Evaluation", 2022, recommend. Pictures of that size already come back as they are.
    """
    if pictures.shape[1:3] == (side, side):
        return pictures.astype(np.float32)
    result = np.empty((len(pictures), side, side, pictures.shape[-1]), np.float32)
    for index, band in np.ndindex(len(pictures), pictures.shape[-1]):
        plane = PIL.Image.fromarray(pictures[index, :, :, band].astype(np.float32))
        plane = plane.resize((side, side), PIL.Image.Resampling.BICUBIC)
        result[index, :, :, band] = np.asarray(plane)
    return np.clip(result, 0, 255)
