"""The input of the checks of one direction, and what several of them share."""

from dataclasses import dataclass

import numpy as np

from unpaired.diagnostics.probe import DirectionProbe
from unpaired.engines.seam import Images

__all__ = ["FLAT", "NO_DISCRIMINATOR", "Evidence", "luminance"]

FLAT = 0.1  # level; smaller variances are below the 1e-5 that instance norm adds
NO_DISCRIMINATOR = "this needs the discriminators, which a run folder has and a model alone has not"


@dataclass(frozen=True)
class Evidence:
    """One direction of a probe, from the domain named `source` to the one named `target`.

    `where` is the direction as messages name it; `accuracies` are those of the target's
    discriminator in the last evaluations, oldest first.
    """

    where: str
    source: str
    target: str
    real: Images
    real_target: Images
    outputs: DirectionProbe
    accuracies: tuple[float, ...]


def luminance(images: Images) -> Images:
    """(N, H, W, bands) to (N, H, W): Rec. 601 for three bands, otherwise the mean."""
    bands = images.shape[-1]
    weights = np.array([0.299, 0.587, 0.114]) if bands == 3 else np.full(bands, 1 / bands)
    result: Images = images @ weights.astype(images.dtype)
    return result
