"""The interface of feature networks: only numpy arrays cross it, as with the seam of engines.

Images are uint8, (n, height, width, 3).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureNetwork", "PairDistance"]

Images8 = NDArray[np.uint8]


class FeatureNetwork(Protocol):
    """A pretrained network that computes a vector for each image."""

    @property
    def name(self) -> str:
        """Network, layer, input size and resize; stated beside every metric that uses it."""
        ...

    @property
    def width(self) -> int:
        """Length of the vectors."""
        ...

    def features(self, images: Images8) -> NDArray[np.float32]:
        """(n, height, width, 3) of any size, resized to the network's own -> (n, `width`)."""
        ...


class PairDistance(Protocol):
    """A learned distance between the two images of a pair."""

    @property
    def name(self) -> str:
        """Distance and network; stated beside the metric."""
        ...

    def distance(self, x: Images8, y: Images8) -> NDArray[np.float64]:
        """The distance of each pair, (n,), at the size that the images have.

        Raises:
            DataError: the shapes differ, or the images are too small for the network.
        """
        ...
