"""What may be chosen about streaming, and how much memory, scratch and time it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from unpaired.config import Recipe, require_within
from unpaired.console import duration
from unpaired.engines.architecture import PEAK_BYTES, SMALLEST_SIDE, STRIDE, Layer
from unpaired.errors import ConfigError, TooLarge
from unpaired.memory import free
from unpaired.translation.streaming.stages import Grid, reach

__all__ = ["KINDS", "Estimate", "Streaming", "choose_side", "estimate"]

KINDS = ("exact", "sampled", "dense", "tile")
_SIDES = (512, 448, 384, 320, 256, 192, 128, 64)
_HALO_SIDES = (1024, 768, 512, 384, 256, 128)
_QUICK = 2**25  # bytes of an activation, above which the allocator maps each one afresh
_ENDS = 16  # pixels that the ends of a generator need around a tile, both sides together
_DEVICE = 1024  # side of tiles where networks have memory of their own
_FIXED = 100e6  # bytes: packed kernels, a heap with holes, caches of readers
_MOST_TILE = 2**14


@dataclass(frozen=True)
class Streaming:
    """How images are streamed, and when.

    Attributes:
        memory: bytes that a translation may take; what needs more at once is streamed. 0: half of
            what is free.
        norm_stats: the statistics of instance norms. "exact": of the whole image; "sampled": of a
            share of its tiles; "dense": of squares of 1,024 pixels, interpolated; "tile": of each
            tile by itself; else the path of a file that `save_norm_stats` wrote.
        save_norm_stats: the file for the statistics of the image.
        tile: side of tiles in pixels, a multiple of 4; 0: chosen by memory and speed.
        dry_run: only says what memory, scratch and time it takes.

    Raises:
        ConfigError: values that are not possible.
    """

    memory: int = 0
    norm_stats: str = "exact"
    save_norm_stats: Path | None = None
    tile: int = 0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ConfigError(f"--memory is {self.memory}: give a number of bytes above 0")
        if self.tile:
            require_within("--tile", self.tile, SMALLEST_SIDE, _MOST_TILE)
            if self.tile % STRIDE:
                raise ConfigError(f"--tile is {self.tile}: give a multiple of {STRIDE}")
        if self.save_norm_stats and self.norm_stats in ("dense", "tile"):
            raise ConfigError(
                f"--save-norm-stats saves the statistics of a whole image, and --norm-stats "
                f"{self.norm_stats} has none: give exact or sampled"
            )

    @property
    def budget(self) -> int:
        """The bytes that a translation may take."""
        return self.memory or free() // 2

    @property
    def always(self) -> bool:
        """Whether images that fit are streamed, too: only that gives what is asked for."""
        asked = self.norm_stats != "exact" or self.save_norm_stats is not None
        return asked or bool(self.tile) or self.dry_run


@dataclass(frozen=True)
class Estimate:
    """What a streamed translation takes: bytes, and seconds where a trial was made.

    `memory` is that of the whole process, with what it has already.
    """

    side: int
    memory: int
    scratch: int
    stored: Literal["memory", "files"]
    passes: int
    seconds: float | None = None

    @property
    def line(self) -> str:
        """As the dry run says it."""
        where = "in memory" if self.stored == "memory" else "on disk"
        parts = [
            f"memory {_bytes(self.memory)}",
            f"scratch {_bytes(self.scratch)} {where}",
            f"{self.passes} passes over tiles of {self.side} px",
        ]
        if self.seconds is not None:
            parts.append(f"time about {duration(self.seconds)}")
        return ", ".join(parts)


def choose_side(
    recipe: Recipe, size: tuple[int, int], budget: float, *, halo: int, host: bool
) -> int:
    """The side of the tiles: the fastest that fits the budget; 0: none does.

    With a `halo`, in pixels of both sides together, large tiles have less arithmetic.
    """
    if not host:
        return min(_DEVICE, _whole(size))
    for side in _HALO_SIDES if halo else ():
        if tile_bytes(recipe, min(side, _whole(size)), halo) <= budget:
            return min(side, _whole(size))
    for side in _SIDES:
        quick = (side + _ENDS) ** 2 * recipe.width * 4 <= _QUICK
        if quick and tile_bytes(recipe, side) <= budget:
            return min(side, _whole(size))
    fitting = [side for side in _SIDES if tile_bytes(recipe, side) <= budget]
    return min(fitting[-1], _whole(size)) if fitting else 0


def _whole(size: tuple[int, int]) -> int:
    return max(-(-side // STRIDE) * STRIDE for side in (*size, SMALLEST_SIDE))


def tile_bytes(recipe: Recipe, side: int, extra: int = _ENDS) -> float:
    """Bytes that the network takes for a tile, those read ahead and written behind included."""
    peak = PEAK_BYTES[recipe.upsample, recipe.settled_precision] + 10.0
    return peak * recipe.width * (side + extra) ** 2


def estimate(
    recipe: Recipe,
    layers: Sequence[Layer],
    size: tuple[int, int],
    options: Streaming,
    *,
    passes: int,
    itemsize: int,
    result: int,
    masked: bool,
    held: int,
    host: bool,
) -> Estimate:
    """Estimates a translation of an image whose padded size is `size`.

    Args:
        recipe: that of the model.
        layers: those of the generator.
        size: (height, width), padded.
        options: what is asked for.
        passes: the stages; with one there are no arrays between them.
        itemsize: bytes of a stored number.
        result: bytes of a pixel of the result.
        masked: whether shares of pixels with data are stored too.
        held: bytes of the image that are in memory anyway.
        host: whether networks take the machine's own memory.

    Raises:
        TooLarge: the budget is too small for the smallest tiles.
    """
    budget = options.budget
    room = budget - held - _FIXED
    halo = 0 if recipe.norm == "instance" else 2 * reach(layers)
    side = options.tile or choose_side(recipe, size, room, halo=halo, host=host)
    if not side:
        least = held + _FIXED + tile_bytes(recipe, _SIDES[-1])
        raise TooLarge(
            f"streaming needs about {_bytes(round(least))} of memory, and {_bytes(budget)} are "
            "free for it: free some, or give a larger --memory"
        )
    tile = tile_bytes(recipe, side, _ENDS if passes > 1 else 2 * reach(layers)) if host else 0
    height, width = size
    scratch = height * width * result
    if passes > 1:
        channels = layers[2].channels_out
        arrays = 3 if len(layers) > 6 else 1
        rows = arrays * height // STRIDE + Grid(size, side).spare
        scratch += rows * (width // STRIDE) * channels * itemsize
        scratch += (height // STRIDE) * (width // STRIDE) * int(masked)
    fits = scratch + tile <= room
    memory = held + _FIXED + tile + (scratch if fits else 0)
    process = psutil.Process().memory_info().rss
    return Estimate(side, round(memory + process), scratch, "memory" if fits else "files", passes)


def _bytes(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
