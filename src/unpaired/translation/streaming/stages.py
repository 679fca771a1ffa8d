"""The stages of a generator, and the tiles of a scene: what a pass reads, runs and leaves.

Each stage runs the layers up to one whose statistics are not known yet, for every tile. The ends,
which have the resolution of the image, are computed again instead of stored; between them there
are three arrays at a quarter of it: the stream of the residual blocks, and the result of either
convolution of a block.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.engines.architecture import STRIDE, Layer, halo
from unpaired.engines.tiles import Region, TilePlan, extents, opens_block, plan_tile
from unpaired.translation.sizes import Sizes

__all__ = [
    "ARRAYS",
    "Array",
    "Grid",
    "Stage",
    "Tile",
    "grown",
    "macs_of",
    "only_stage",
    "padded",
    "plan_stage",
    "reach",
    "scale_of",
    "shares",
    "stages_of",
    "stages_without_statistics",
    "within_slices",
]

Array = Literal["stream", "first", "second"]
ARRAYS: tuple[Array, Array, Array] = ("stream", "first", "second")
"""The input of the residual blocks, and the results of the two convolutions of a block."""


_EXTRA_HALO = 1.25  # arithmetic of one pass with its halo, above which there are several passes


@dataclass(frozen=True)
class Stage:
    """One pass over all tiles.

    Attributes:
        entry: the layer whose stored result is read; None: the image.
        last: the last layer that is run.
        reads: the array with that result; None: the image.
        shortcut: whether the stream is read too, to be added to it.
        writes: the array for the result; None: its moments alone are wanted, or it is the image.
        stream: whether the stream is replaced by the input of this block.
        moments: whether a norm follows, so that moments are wanted.
    """

    entry: int | None
    last: int
    reads: Array | None = None
    shortcut: bool = False
    writes: Array | None = None
    stream: bool = False
    moments: bool = True


def stages_of(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    """The stages of a generator with instance norms, in their order; the last gives the image."""
    blocks = [index for index, layer in enumerate(layers) if opens_block(layer)]
    before = (blocks[0] if blocks else len(layers) - 3) - 1  # the last layer before the blocks
    stages = [Stage(None, index) for index in range(before)]
    stages.append(Stage(None, before, writes="stream"))
    for index in blocks:
        reads: Array = "stream" if index == blocks[0] else "second"
        later = index != blocks[0]
        stages += [
            Stage(index - 1, index, reads, later, "first", stream=True),
            Stage(index, index + 1, "first", writes="second"),
        ]
    entry = len(layers) - 4
    for last in range(entry + 1, len(layers)):
        reads = "second" if blocks else "stream"
        stages.append(Stage(entry, last, reads, bool(blocks), moments=layers[last].norm))
    return tuple(stages)


def stages_without_statistics(
    layers: Sequence[Layer], size: tuple[int, int], side: int
) -> tuple[Stage, ...]:
    """The stages where all statistics are known.

    One pass with the whole halo, unless that has much more arithmetic than several without it.
    """
    halo = 2 * reach(layers)
    if math.prod(min(side + halo, each) / min(side, each) for each in size) <= _EXTRA_HALO:
        return (only_stage(layers),)
    stages = stages_of(layers)
    wanted = (*(stage for stage in stages if stage.writes), stages[-1])
    return tuple(replace(stage, moments=False) for stage in wanted)


def only_stage(layers: Sequence[Layer]) -> Stage:
    """The one stage that translates a tile from the image alone."""
    return Stage(None, len(layers) - 1, moments=False)


@dataclass(frozen=True)
class Tile:
    """A tile: its place in the grid, and its region of the padded image."""

    row: int
    column: int
    region: Region


@dataclass(frozen=True)
class Grid:
    """The tiles of an image whose padded size is `size`; the last of a row may be smaller."""

    size: tuple[int, int]
    side: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of tiles."""
        return -(-self.size[0] // self.side), -(-self.size[1] // self.side)

    @property
    def spare(self) -> int:
        """Rows at a quarter of the resolution that a row of tiles may have, and one of its halo."""
        return min(self.side, self.size[0]) // STRIDE + 1

    def row(self, row: int) -> list[Tile]:
        """The tiles of one row."""
        return [self.at(row, column) for column in range(self.shape[1])]

    def at(self, row: int, column: int) -> Tile:
        """One tile."""
        spans = [
            (index * self.side, min((index + 1) * self.side, extent))
            for index, extent in zip((row, column), self.size, strict=True)
        ]
        return Tile(row, column, Region(*spans))

    def around(self, tile: Tile, pixels: int) -> Iterator[tuple[int, int]]:
        """The places of the tiles within so many pixels of a tile, itself included."""
        reach = -(-pixels // self.side)
        rows, columns = self.shape
        for row in range(max(tile.row - reach, 0), min(tile.row + reach + 1, rows)):
            for column in range(max(tile.column - reach, 0), min(tile.column + reach + 1, columns)):
                yield row, column


def plan_stage(
    stage: Stage,
    layers: Sequence[Layer],
    size: tuple[int, int],
    owned: Region,
    kept: Region | None = None,
) -> TilePlan:
    """Plans a stage for a tile that owns the region `owned` of the image.

    `kept`, at the resolution of the result, is the region whose results are wanted; by default
    what the tile owns.
    """
    mine = owned.scaled(1, scale_of(stage.last, layers, size))
    wanted = kept or mine
    return plan_tile(
        layers,
        size,
        stage.entry,
        stage.last,
        wanted,
        owned=mine,
        values=stage.writes is not None or layers[stage.last].name == "head",
        stream=wanted if stage.stream else None,
        moments=stage.moments,
    )


def scale_of(layer: int, layers: Sequence[Layer], size: tuple[int, int]) -> int:
    """The side, in pixels of the image, of a pixel of a layer's result."""
    return size[0] // extents(layers, size)[layer].shape[0]


def grown(region: Region, pixels: int, size: tuple[int, int]) -> Region:
    """The region with so many pixels more on each side, as far as the image goes."""
    spans = [
        (max(start - pixels, 0), min(stop + pixels, extent))
        for (start, stop), extent in zip(region, size, strict=True)
    ]
    return Region(*spans)


def reach(layers: Sequence[Layer]) -> int:
    """The halo of a generator, in whole strides."""
    return -(-halo(layers) // STRIDE) * STRIDE


def padded(size: tuple[int, int]) -> tuple[int, int]:
    """The size of an image that is mirrored to the right and below, as networks need it."""
    return Sizes.of(size, None).padded


def within_slices(inner: Region, outer: Region) -> tuple[slice, slice]:
    """The slices of an array of the region `outer` that are the region `inner`."""
    rows, columns = (slice(i[0] - o[0], i[1] - o[0]) for i, o in zip(inner, outer, strict=True))
    return rows, columns


def shares(valid: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """The share of pixels with data in squares of `side` x `side` pixels."""
    if side == 1:
        return valid.astype(np.float32)
    height, width = valid.shape
    blocks = valid.reshape(height // side, side, width // side, side)
    share: NDArray[np.float32] = blocks.mean((1, 3), dtype=np.float32)
    return share


def macs_of(layers: Sequence[Layer], size: tuple[int, int]) -> list[int]:
    """The multiplications of each layer for an image of `size`."""
    counts = []
    for layer, region in zip(layers, extents(layers, size), strict=True):
        height, width = region.shape
        outer, inner, side, _ = layer.shape
        pixels = height * width // (layer.stride**2 if layer.transposed else 1)
        counts.append(pixels * outer * inner * side * side)
    return counts
