"""Means and squared deviations of the channels of one image in PyTorch, exact however large it is.

PyTorch's batch norm on a CPU adds all pixels in the type of the tensor: of 700 x 900 pixels its
translations were wrong by 0.009 of [-1, 1] (docs/results.md, 2026-11-26).
"""

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Moments", "moments"]

_CHUNK = 1024  # pixels whose sums are taken in the type of the tensor

Moments: TypeAlias = tuple[float, NDArray[np.float64], NDArray[np.float64]]
"""The number of pixels, means, and sums of squared deviations by channel."""


def moments(y: Tensor) -> Moments:
    """The moments of an image (1, channels, height, width).

    Chunks of a few rows are summed in the tensor's type, fp32 at least, and merged in float64: the
    error is that of a thousand numbers.
    """
    height, width = y.shape[2:]
    y = y.float() if y.dtype == torch.bfloat16 else y
    if y.device.type != "cpu":
        variance, mean = torch.var_mean(y, (0, 2, 3), correction=0)
        squares = variance.double() * (height * width)
        return float(height * width), mean.double().cpu().numpy(), squares.cpu().numpy()
    rows = max(_CHUNK // width, 1)
    starts = range(0, height, rows)
    parts = [
        torch.batch_norm_update_stats(y[:, :, top : top + rows], None, None, 0.0) for top in starts
    ]
    counts = np.array([min(rows, height - top) * width for top in starts], np.float64)[:, None]
    means, variances = (torch.stack(each).double().numpy() for each in zip(*parts, strict=True))
    count = float(counts.sum())
    centre = (counts * means).sum(0) / count
    return count, centre, (counts * (variances + np.square(means - centre))).sum(0)
