"""Means and variances of whole scenes, put together from those of tiles, and their file.

Moments of parts are merged in float64 with the term between the parts (Chan, Golub, LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979). They are held
by cells of a coarse grid: one cell for the statistics of the whole scene, more where statistics
follow the scene (`--norm-stats dense`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from unpaired.engines.architecture import Layer
from unpaired.engines.tiles import Region
from unpaired.errors import ConfigError, reason_of
from unpaired.storage import atomic_path

__all__ = ["Moments", "Statistics", "load_statistics", "save_statistics"]

Floats = NDArray[np.float64]


@dataclass
class Moments:
    """Sums of weights (rows, columns), means and sums of squared deviations (..., channels)."""

    count: Floats
    mean: Floats
    squares: Floats

    @classmethod
    def empty(cls, channels: int, cells: tuple[int, int] = (1, 1)) -> "Moments":
        """Of no pixel."""
        return cls(np.zeros(cells), np.zeros((*cells, channels)), np.zeros((*cells, channels)))

    def merge(self, cell: tuple[int, int], part: tuple[float, Floats, Floats]) -> None:
        """Adds the moments of further pixels to a cell."""
        m, mean, squares = part
        n = self.count[cell]
        if not m:
            return
        d = mean - self.mean[cell]
        self.mean[cell] += d * (m / (n + m))
        self.squares[cell] += squares + d * d * (n * m / (n + m))
        self.count[cell] = n + m

    def whole(self) -> "Moments":
        """The moments of all cells together."""
        total = Moments.empty(self.mean.shape[-1])
        for cell in np.ndindex(*self.count.shape):
            part = float(self.count[cell]), self.mean[cell], self.squares[cell]
            total.merge((0, 0), part)
        return total

    @property
    def finite(self) -> bool:
        """Whether no sum has overflowed."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.squares).all())


class Statistics:
    """The finished means and variances of the layers with a norm, by their index.

    `cell` is the side in pixels of the image of the grid's cells; where there is one cell alone it
    does not matter.
    """

    def __init__(self, cell: int = 0) -> None:
        self.cell = cell
        self.moments: dict[int, Moments] = {}

    def of(self, layer: int, region: Region, scale: int) -> tuple[Floats, Floats]:
        """(mean, variance) of a layer's channels in a region of its result.

        Both are (1, 1, channels), or interpolated to (height, width, channels) where there are
        several cells. `scale` is the side in pixels of the image of a pixel there.
        """
        moments = self.moments[layer]
        if moments.count.size == 1:
            return moments.mean, moments.squares / np.maximum(moments.count, 1e-300)[..., None]
        total = moments.whole()
        there = moments.count[..., None] > 0
        mean = np.where(there, moments.mean, total.mean)
        variance = moments.squares / np.maximum(moments.count, 1e-300)[..., None]
        variance = np.where(there, variance, total.squares / max(float(total.count[0, 0]), 1e-300))
        return self._spread(mean, region, scale), self._spread(variance, region, scale)

    def _spread(self, values: Floats, region: Region, scale: int) -> Floats:
        """Interpolates values of cells, at their centres, to the pixels of a region."""
        for axis, span in enumerate(region):
            place = (np.arange(*span) + 0.5) * scale / self.cell - 0.5
            place = place.clip(0, values.shape[axis] - 1)
            below = np.minimum(place.astype(int), max(values.shape[axis] - 2, 0))
            share = (place - below)[:, None, None] if axis == 0 else (place - below)[:, None]
            above = np.minimum(below + 1, values.shape[axis] - 1)
            low, high = values.take(below, axis), values.take(above, axis)
            values = low + share * (high - low)
        return values


def save_statistics(path: Path, statistics: Statistics, layers: Sequence[Layer], key: str) -> None:
    """Writes the statistics of a scene, for `--norm-stats FILE`; `key` names their generator.

    Raises:
        RunError: the system does not let it write.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for index, moments in statistics.moments.items():
        total, name = moments.whole(), layers[index].name
        arrays[f"{name}.mean"] = total.mean[0, 0]
        arrays[f"{name}.variance"] = total.squares[0, 0] / max(float(total.count[0, 0]), 1.0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(arrays, {"unpaired.norm-stats": key}))


def load_statistics(path: Path, layers: Sequence[Layer], key: str) -> Statistics:
    """Reads what `save_statistics` wrote.

    Raises:
        ConfigError: no such file, not one of statistics, or of another generator.
    """
    try:
        arrays, given = load_file(path), _key_of(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"--norm-stats {path}: {reason_of(error)}: give exact, sampled, dense, tile, or a file "
            "that --save-norm-stats wrote"
        ) from error
    if given != key:
        raise ConfigError(
            f"--norm-stats {path}: the statistics are of another model or direction: write them "
            "again with --save-norm-stats and this model"
        )
    statistics = Statistics()
    for index, layer in enumerate(layers):
        if layer.norm:
            statistics.moments[index] = _stored(arrays, layer, path)
    return statistics


def _stored(arrays: Mapping[str, NDArray[Any]], layer: Layer, path: Path) -> Moments:
    found = [arrays.get(f"{layer.name}.{kind}") for kind in ("mean", "variance")]
    mean, variance = (
        np.zeros(0) if x is None else np.asarray(x, np.float64).reshape(1, 1, -1) for x in found
    )
    right = mean.shape == variance.shape == (1, 1, layer.channels_out)
    if not right or not np.isfinite(mean).all() or not (variance >= 0).all():
        raise ConfigError(f"--norm-stats {path}: damaged ({layer.name}): write it again")
    return Moments(np.ones((1, 1)), mean, variance)


def _key_of(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return str(dict(file.metadata() or {}).get("unpaired.norm-stats", ""))
