"""The memory a translation needs, estimated from the sizes alone, and the memory that is free.

A system that runs out of memory kills a process without a message, so an image that cannot fit is
rejected before it is decoded. The constants were measured as peak resident memory of fresh
processes on a CPU: see docs/results.md.
"""

import math

from unpaired.config import Recipe
from unpaired.directions import Direction, source_of, target_of
from unpaired.engines.architecture import PEAK_BYTES
from unpaired.errors import TooLarge
from unpaired.memory import free
from unpaired.translation.sizes import Sizes

__all__ = ["fits", "need", "require"]

_BATCH = 1.5  # in a batch an image needs up to that much more than alone
# Bytes of scratch, packed kernels, and of a heap with holes: glibc maps only what is over 32 MB.
_FIXED = 100e6
_MODEST = 150e6  # bytes: an image of 256 x 256 pixels under the recipe of 2017
_MARGIN = 0.9  # of the free memory, for a working size that is advised


def need(
    recipe: Recipe, direction: Direction, sizes: Sizes, *, batch: int = 1, network: bool = True
) -> int:
    """Estimates the bytes that `batch` images of such sizes need while they are translated.

    `network` is false where the networks have other memory than the machine's own. The weights are
    not counted: they are in memory already.
    """
    before = recipe.domains[source_of(direction)].bands
    after = recipe.domains[target_of(direction)].bands
    pixels, padded = math.prod(sizes.original), math.prod(sizes.padded)
    # An image, its result, and each once more in the decoder or encoder; up to 16 bits a sample.
    files = 4.0 * (before + after) * pixels
    # Where sizes differ, one band in fp32 and one passing copy of it.
    scaling = 8.0 * pixels if sizes.working != sizes.original else 0.0
    # The network's input, and its peak or, after it, its result with two passing copies.
    peak = 12.0 * after
    if network:
        extra = _BATCH if batch > 1 else 1.0
        peak = max(peak, extra * PEAK_BYTES[recipe.upsample, recipe.precision] * recipe.width)
    return round(batch * (files + scaling + (4.0 * before + peak) * padded) + _FIXED)


def fits(needed: int, budget: int | None = None) -> bool:
    """Whether so many bytes are free, or in the `budget`; a modest number always is."""
    return needed <= _MODEST or needed <= (free() if budget is None else budget)


def require(
    recipe: Recipe, direction: Direction, sizes: Sizes, *, network: bool = True, name: str
) -> None:
    """Requires that the image `name` needs no more memory than is free. See `need`.

    Raises:
        TooLarge: it needs more; the message has both amounts and a working size that would fit.
    """
    needed = need(recipe, direction, sizes, network=network)
    if fits(needed):
        return
    available, fitting = free(), max(sizes.working)
    while fitting >= 64 and _MARGIN * available < need(
        recipe, direction, Sizes.of(sizes.original, fitting), network=network
    ):
        fitting = fitting * 19 // 20
    advice = f"--working-size {fitting}" if fitting >= 64 else "free some, or cut the image"
    height, width = sizes.original
    raise TooLarge(
        f"{name}: {width} x {height} pixels need about {needed / 1e9:.1f} GB of memory and "
        f"{available / 1e9:.1f} GB are free: {advice}"
    )
