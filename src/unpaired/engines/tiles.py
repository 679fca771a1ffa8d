"""Tiles of an image on their way through a generator: which pixels each layer sees and gives.

Plain integers, no framework. A tile is translated exactly as within its image where every layer
gets the pixels that it sees, padding stands at the image's own borders only, and instance norms
take the statistics of the whole image. Positions count pixels at the resolution of a layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired.directions import Direction
from unpaired.engines.architecture import Layer

__all__ = [
    "Edges",
    "Region",
    "Span",
    "TileInput",
    "TileNetworks",
    "TilePlan",
    "TileResult",
    "TileRun",
    "TileStep",
    "closes_block",
    "extents",
    "opens_block",
    "plan_tile",
    "within",
]

Span = tuple[int, int]
"""First pixel and the one after the last, along one axis."""

Edges = tuple[int, int, int, int]
"""Pixels to pad (above 0) or to cut (below 0) at the top, bottom, left and right."""


class Region(NamedTuple):
    """A rectangle of pixels."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def scaled(self, numerator: int, denominator: int) -> "Region":
        """The same rectangle at another resolution; its borders must be pixels there."""
        spans = [
            (start * numerator // denominator, stop * numerator // denominator)
            for start, stop in self
        ]
        return Region(*spans)


@dataclass(frozen=True)
class TileStep:
    """One layer on a tile.

    `edges` apply to its input, after the enlargement if there is one, and the convolution itself
    pads nothing; of a transposed layer they cut its result. `shortcut`, of a layer that closes a
    residual block, cuts what the block adds its result to.
    """

    layer: int
    edges: Edges
    shortcut: Edges = (0, 0, 0, 0)


@dataclass(frozen=True)
class TileRun:
    """Consecutive layers on a tile. It is hashable: engines compile by it.

    Attributes:
        entry: index of the layer whose result, before norm and activation, is given; None: the
            tile is of the image.
        steps: the layers.
        owned: what to cut of the result for the moments: pixels of the halo count elsewhere.
        values: whether the result is wanted, or its moments alone.
        stream: what to cut of the input of a residual block that is returned too; None: it is not.
        moments: whether the moments of the result are wanted.
    """

    entry: int | None
    steps: tuple[TileStep, ...]
    owned: Edges = (0, 0, 0, 0)
    values: bool = True
    stream: Edges | None = None
    moments: bool = True


class TileInput(NamedTuple):
    """What a run gets: arrays (height, width, channels) of floats.

    Attributes:
        values: the tile of the image in [-1, 1], or the result of the layer `entry`.
        shortcut: where `entry` closes a block, what its result is added to, of the same pixels.
        image: of a run that ends with the head, the image's own pixels at its result.
        statistics: (mean, variance) by the index of each layer with a norm that the run finishes:
            vectors (1, 1, channels), or one for each pixel.
        weights: (height, width) in [0, 1], of the owned pixels in the moments; None: 1.
    """

    values: NDArray[Any]
    shortcut: NDArray[Any] | None = None
    image: NDArray[Any] | None = None
    statistics: Mapping[int, tuple[NDArray[Any], NDArray[Any]]] = {}
    weights: NDArray[Any] | None = None


class TileResult(NamedTuple):
    """What a run gives.

    Attributes:
        values: (height, width, channels): the last layer's result before norm and activation, or
            of the head the translation in [-1, 1]; None where it is not wanted.
        stream: the input of the residual block, where wanted.
        moments: sum of weights, means, sums of squared deviations by channel, in float64.
        largest: the largest absolute value of `values` and `stream`, where half precision was
            wanted; else 0.
    """

    values: NDArray[Any] | None
    stream: NDArray[Any] | None
    moments: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None
    largest: float


@runtime_checkable
class TileNetworks(Protocol):
    """Generators that can be run on tiles, a few layers at a time."""

    def translate(self, images: Any, direction: Direction) -> NDArray[Any]:
        """See seam.Networks.translate."""

    def run_tile(
        self, run: TileRun, given: TileInput, direction: Direction, dtype: DTypeLike
    ) -> TileResult:
        """Runs layers of the direction's generator on a tile; results have the type `dtype`."""


def opens_block(layer: Layer) -> bool:
    """Whether it is the first of a residual block."""
    return layer.name.endswith(".conv1")


def closes_block(layer: Layer) -> bool:
    """Whether it is the last of a residual block."""
    return layer.name.endswith(".conv2")


def extents(layers: Sequence[Layer], size: tuple[int, int]) -> list[Region]:
    """The region of each layer's result for an image of `size`, (height, width), whole."""
    regions = []
    height, width = size
    for layer in layers:
        factor = layer.enlarge * (layer.stride if layer.transposed else 1)
        divisor = 1 if layer.transposed else layer.stride
        height, width = height * factor // divisor, width * factor // divisor
        regions.append(Region((0, height), (0, width)))
    return regions


@dataclass(frozen=True)
class TilePlan:
    """A run, and the regions that it is about.

    Attributes:
        run: what an engine is given.
        given: the region of its input: of the image, or of the result of the layer `run.entry`.
        regions: those of the results of its steps.
    """

    run: TileRun
    given: Region
    regions: tuple[Region, ...]


def plan_tile(
    layers: Sequence[Layer],
    size: tuple[int, int],
    entry: int | None,
    last: int,
    result: Region,
    *,
    owned: Region | None = None,
    values: bool = True,
    stream: Region | None = None,
    moments: bool = True,
) -> TilePlan:
    """Plans the layers after `entry` up to `last` for a tile of an image of `size`.

    Args:
        layers: those of the generator.
        size: (height, width) of the image, padded to multiples of 4.
        entry: the layer whose result is given; None: the image.
        last: the last layer of the run.
        result: the region of its result that is wanted.
        owned: the part of it that counts in the moments; None: all.
        values: whether the result is wanted, or its moments alone.
        stream: the region of the block's input that is wanted, where `last` opens a block.
        moments: whether they are wanted.
    """
    first = 0 if entry is None else entry + 1
    whole = extents(layers, size)
    before = [Region((0, size[0]), (0, size[1])), *whole]
    steps: list[TileStep] = []
    regions = [result]
    for index in range(last, first - 1, -1):
        rows = _axis(layers[index], regions[0].rows, before[index].rows[1])
        columns = _axis(layers[index], regions[0].columns, before[index].columns[1])
        steps.insert(0, TileStep(index, (*rows[1], *columns[1])))
        regions.insert(0, Region(rows[0], columns[0]))
    given, *results = regions
    for at, step in enumerate(steps):
        if closes_block(layers[step.layer]) and at:
            cut = within(results[at], regions[at - 1])
            steps[at] = TileStep(step.layer, step.edges, cut)
    run = TileRun(
        entry,
        tuple(steps),
        within(owned or result, result),
        values,
        None if stream is None else within(stream, regions[-2]),
        moments,
    )
    return TilePlan(run, given, tuple(results))


def within(inner: Region, outer: Region) -> Edges:
    """What to cut of `outer` to get `inner`."""
    (top, bottom), (left, right) = (
        (o[0] - i[0], i[1] - o[1]) for i, o in zip(inner, outer, strict=True)
    )
    return top, bottom, left, right


def _axis(layer: Layer, result: Span, extent: int) -> tuple[Span, Span]:
    """Along one axis: the input span that a result span needs, and what to pad or cut there."""
    side, stride, enlarge = layer.shape[-1], layer.stride, layer.enlarge
    first, last = layer.inputs(result[0], result[1] - 1)
    span = max(first, 0), min(last + 1, extent)
    if layer.transposed:
        there = span[0] * stride - layer.padding, (span[1] - 1) * stride - layer.padding + side
        return span, (there[0] - result[0], result[1] - there[1])
    needed = result[0] * stride - layer.padding, (result[1] - 1) * stride - layer.padding + side
    return span, (span[0] * enlarge - needed[0], needed[1] - span[1] * enlarge)
