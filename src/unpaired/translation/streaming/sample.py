"""Statistics of a share of a scene's tiles, for `--norm-stats sampled`.

The tiles are spread evenly. Each has all that its pixels see around it, so that what is sampled is
exact but for the statistics themselves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.console import progress
from unpaired.engines.architecture import Layer
from unpaired.engines.tiles import Region, TileInput, plan_tile
from unpaired.translation.streaming.driver import Network
from unpaired.translation.streaming.moments import Moments, Statistics
from unpaired.translation.streaming.stages import (
    Grid,
    Tile,
    padded,
    plan_stage,
    scale_of,
    shares,
    stages_of,
    within_slices,
)
from unpaired.translation.streaming.windows import Source, read_padded

__all__ = ["sampled_statistics"]

TILES = 16
"""Tiles that are sampled, or all of a scene that has no more."""


def sampled_statistics(
    network: Network, source: Source, side: int, count: int = TILES
) -> Statistics:
    """Computes statistics from `count` tiles of `side` pixels. Raises as `Driver.run`."""
    size = padded(source.size)
    layers, grid = network.layers, Grid(size, side)
    tiles = [tile for tile in spread(grid, count) if _counted(source, tile)]
    needed = [_needed(layers, size, tile.region) for tile in tiles]
    stored: list[dict[str, tuple[Region, NDArray[Any]]]] = [{} for _ in tiles]
    statistics = Statistics()
    stages = stages_of(layers)[:-1]
    with progress("sampled tiles", len(stages) * len(tiles), unit="tiles") as bar:
        for stage in stages:
            moments = Moments.empty(layers[stage.last].channels_out)
            scale = scale_of(stage.last, layers, size)
            for tile, needs, arrays in zip(tiles, needed, stored, strict=True):
                kept = needs[stage.last] if stage.writes else None
                plan = plan_stage(stage, layers, size, tile.region, kept)
                shortcut = None
                if stage.reads is None:
                    values = read_padded(source, plan.given)[0]
                else:
                    values = _part(arrays[stage.reads], plan.given)
                    if stage.shortcut:
                        shortcut = _part(arrays["stream"], plan.given)
                valid = read_padded(source, tile.region)[1] if source.masked else None
                finished = {step.layer: r for step, r in zip(plan.run.steps, plan.regions)}  # noqa: B905
                finished.pop(stage.last)
                if stage.entry is not None:
                    finished[stage.entry] = plan.given
                known = {
                    layer: statistics.of(layer, region, 1)
                    for layer, region in finished.items()
                    if layers[layer].norm
                }
                weights = None if valid is None else shares(valid, scale)
                given = TileInput(values, shortcut, None, known, weights)
                result = network.run(plan, given, np.float32)
                assert result.moments is not None
                moments.merge((0, 0), result.moments)
                if stage.writes and result.values is not None:
                    arrays[stage.writes] = plan.regions[-1], result.values
                if result.stream is not None:
                    arrays["stream"] = plan.regions[-1], result.stream
                bar.advance()
            statistics.moments[stage.last] = moments
    return statistics


def spread(grid: Grid, count: int) -> list[Tile]:
    """At most `count` tiles, evenly spread, in the order of the scene."""
    rows, columns = grid.shape
    if rows * columns <= count:
        return [tile for row in range(rows) for tile in grid.row(row)]
    down = min(max(round((count * rows / columns) ** 0.5), 1), rows)
    across = min(max(count // down, 1), columns)
    return [
        grid.at((2 * row + 1) * rows // (2 * down), (2 * column + 1) * columns // (2 * across))
        for row in range(down)
        for column in range(across)
    ]


def _counted(source: Source, tile: Tile) -> bool:
    """Whether a tile has pixels with data."""
    if not source.masked:
        return True
    valid = read_padded(source, tile.region)[1]
    return valid is None or bool(valid.any())


def _needed(layers: Sequence[Layer], size: tuple[int, int], owned: Region) -> list[Region]:
    """The region of each layer's result, but the head's, that a sampled tile needs."""
    last = len(layers) - 2
    regions = [owned.scaled(1, scale_of(last, layers, size))]
    for index in range(last, 0, -1):
        plan = plan_tile(layers, size, index - 1, index, regions[0], values=False)
        regions.insert(0, plan.given)
    return regions


def _part(stored: tuple[Region, NDArray[Any]], region: Region) -> NDArray[Any]:
    outer, values = stored
    return np.ascontiguousarray(values[within_slices(region, outer)])
