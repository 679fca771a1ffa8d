"""The memory a translation needs, estimated from the sizes alone, and the memory that is free.

A system that runs out of memory kills a process without a message, so an image that cannot fit is
rejected before it is decoded. The constants were measured as peak resident memory of fresh
processes on a CPU: see docs/results.md.
"""

import math
from typing import Protocol, runtime_checkable

from unpaired.config import Recipe
from unpaired.directions import Direction, source_of, target_of
from unpaired.engines.architecture import PEAK_BYTES
from unpaired.errors import TooLarge
from unpaired.memory import free
from unpaired.translation.detail import Detail, require_detail
from unpaired.translation.sizes import Sizes

__all__ = ["OwnPeak", "batch_limit", "fits", "need", "peak_of", "settle"]

_BATCH = 1.5  # in a batch an image needs up to that much more than alone
# Bytes of scratch, packed kernels, and of a heap with holes: glibc maps only what is over 32 MB.
_FIXED = 100e6
# Pixels translated at once. Small images batch better (up to a third faster at 32 px); from 256 px
# on, a CPU is slower with batches: see docs/results.md.
_PIXELS_ON_CPU = 256 * 256
_PIXELS_ELSEWHERE = 1024 * 1024
_MODEST = 150e6  # bytes: an image of 256 x 256 pixels under the recipe of 2017
_MARGIN = 0.9  # of the free memory, for a working size that is advised or chosen
# Longer sides of what does not fit at its own size. Few and fixed, so that results seldom depend on
# the memory that happens to be free.
_SIDES = (1024, 512, 256)


@runtime_checkable
class OwnPeak(Protocol):
    """Networks that take other memory than those of an engine."""

    peak: float
    """Bytes per pixel and unit of width at a generator's peak."""


def peak_of(networks: object) -> float | None:
    """The `peak` of networks that have their own; None: that of an engine."""
    return networks.peak if isinstance(networks, OwnPeak) else None


def need(
    recipe: Recipe,
    direction: Direction,
    sizes: Sizes,
    *,
    batch: int = 1,
    network: bool = True,
    peak: float | None = None,
) -> int:
    """Estimates the bytes that `batch` images of such sizes need while they are translated.

    `network` is false where the networks have other memory than the machine's own, `peak` is theirs
    (see `peak_of`). The weights are not counted: they are in memory already.
    """
    before = recipe.domains[source_of(direction)].bands
    after = recipe.domains[target_of(direction)].bands
    pixels, padded = math.prod(sizes.original), math.prod(sizes.padded)
    # An image, its result, and each once more in the decoder or encoder; up to 16 bits a sample.
    files = 4.0 * (before + after) * pixels
    # Where sizes differ, the image in fp32 with one small side.
    (height, width), (low, narrow) = sizes.original, sizes.working
    scaling = 4.0 * max(before * height * narrow, after * low * width)
    if sizes.working == sizes.original:
        scaling = 0.0
    # The network's input, and its peak or, after it, its result with two passing copies.
    highest = 12.0 * after
    if sizes.keep:  # gains and offsets, and what they are fitted to
        highest = max(highest, 4.0 * after * (min(after, 4) + 1) + 40.0 * after)
    if network:
        extra = _BATCH if batch > 1 else 1.0
        engines = PEAK_BYTES[recipe.upsample, recipe.settled_precision]
        highest = max(highest, extra * (engines if peak is None else peak) * recipe.width)
    return round(batch * (files + scaling + (4.0 * before + highest) * padded) + _FIXED)


def fits(needed: int, budget: int | None = None) -> bool:
    """Whether so many bytes are free, or in the `budget`; a modest number always is."""
    return needed <= _MODEST or needed <= (free() if budget is None else budget)


def batch_limit(
    recipe: Recipe,
    direction: Direction,
    sizes: Sizes,
    most: int,
    *,
    network: bool = True,
    peak: float | None = None,
) -> int:
    """The number of images of such sizes to translate at once, at most `most`. See `need`."""
    pixels = _PIXELS_ON_CPU if network else _PIXELS_ELSEWHERE
    together = max(min(most, pixels // math.prod(sizes.padded)), 1)
    while together > 1 and not fits(
        need(recipe, direction, sizes, batch=together, network=network, peak=peak)
    ):
        together //= 2
    return together


def settle(
    recipe: Recipe,
    direction: Direction,
    size: tuple[int, int],
    working_size: int | None,
    detail: Detail | None,
    *,
    network: bool = True,
    peak: float | None = None,
    name: str,
) -> Sizes:
    """Settles the sizes at which the image `name` of `size` is translated. See `need`.

    Where it does not fit at its own size, no working size is given, and the domains have as many
    bands, it is translated smaller and its detail is kept, unless `detail` is "none".

    Raises:
        ConfigError: a working size under 8, or detail to be kept between unequal bands.
        TooLarge: it needs more memory than is free; the message has both amounts and a working
            size that would fit.
    """
    before = recipe.domains[source_of(direction)]
    after = recipe.domains[target_of(direction)]
    require_detail(detail, before, after)
    sizes = Sizes.of(size, working_size, keep=detail == "keep")
    needed = need(recipe, direction, sizes, network=network, peak=peak)
    if fits(needed):
        return sizes
    available = free()

    def room(smaller: Sizes) -> bool:
        needed = need(recipe, direction, smaller, network=network, peak=peak)
        return needed <= _MARGIN * available

    keep = before.bands == after.bands and detail != "none"
    if working_size is None and keep:
        for side in _SIDES:
            smaller = Sizes.of(size, side, keep=True)
            if side < max(size) and room(smaller):
                return smaller
    fitting = max(sizes.working)
    while fitting >= 64 and not room(Sizes.of(size, fitting, keep=keep)):
        fitting = fitting * 19 // 20
    advice = f"--working-size {fitting}" if fitting >= 64 else "free some, or cut the image"
    height, width = size
    raise TooLarge(
        f"{name}: {width} x {height} pixels need about {needed / 1e9:.1f} GB of memory and "
        f"{available / 1e9:.1f} GB are free: {advice}"
    )
