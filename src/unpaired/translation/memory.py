"""What memory a translation needs, foretold from the sizes alone, and what memory is free.

A system that runs out of memory kills a process without a word, so an image that cannot fit is
refused before it is decoded. The figures were measured as peak resident memory of fresh processes
on a CPU: see docs/results.md.
"""

import math
from pathlib import Path

import psutil

from unpaired.config import Recipe
from unpaired.directions import Direction
from unpaired.errors import TooLarge
from unpaired.translation.sizes import padded_size_of, working_size_of

__all__ = ["fits", "free", "need", "require"]

# Bytes a pixel and unit of `Recipe.width` at a generator's peak, which is in its last step up.
# transposed: two and a half activations of full resolution and `width` channels; resize: four and
# a half, since the enlarged tensor is padded. bf16 saves nothing, for it is widened on the way.
# fp64 has no fast convolution: the 7x7 head is unrolled, 49 times 8 bytes, beside the rest.
_NETWORK = {
    ("transposed", "fp32"): 10.5,
    ("transposed", "bf16"): 11.0,
    ("transposed", "fp64"): 430.0,
    ("resize", "fp32"): 18.5,
    ("resize", "bf16"): 21.5,
    ("resize", "fp64"): 430.0,
}
_BATCH = 1.5  # in a batch an image needs up to that much more than alone
# Bytes of scratch, packed kernels, and of a heap with holes: glibc maps only what is over 32 MB.
_FIXED = 100e6
_MODEST = 150e6  # bytes: an image of 256 x 256 pixels under the recipe of 2017
_MARGIN = 0.9  # of the free memory, for a working size that is advised


def need(
    recipe: Recipe,
    direction: Direction,
    size: tuple[int, int],
    working_size: int | None = None,
    *,
    batch: int = 1,
    network: bool = True,
) -> int:
    """Bytes that `batch` images of `size` (height, width) need while they are translated.

    `working_size` is as for `Model.translate`; `network` is false where the networks have another
    memory than the machine's own. What the weights take is not counted: they are there already.
    """
    before, after = (
        (recipe.bands_a, recipe.bands_b) if direction == "ab" else (recipe.bands_b, recipe.bands_a)
    )
    working = working_size_of(size, working_size)
    pixels, worked = math.prod(size), math.prod(padded_size_of(working))
    # An image, its result, and each once more in the decoder or encoder; up to 16 bits a sample.
    files = 4.0 * (before + after) * pixels
    # Where sizes differ, one band in fp32 and one passing copy of it.
    scaling = 8.0 * pixels if working != size else 0.0
    # What goes into the network, and its peak or, after it, its result with two passing copies.
    peak = 12.0 * after
    if network:
        dear = _BATCH if batch > 1 else 1.0
        peak = max(peak, dear * _NETWORK[recipe.upsample, recipe.precision] * recipe.width)
    return round(batch * (files + scaling + (4.0 * before + peak) * worked) + _FIXED)


def free() -> int:
    """Bytes that this process may still take: of the machine, and of its control group (Linux)."""
    return min([psutil.virtual_memory().available, *_free_of_groups(Path("/"))])


def fits(needed: int) -> bool:
    """Whether so many bytes are free; a modest number is not worth asking the system."""
    return needed <= _MODEST or needed <= free()


def require(
    recipe: Recipe,
    direction: Direction,
    size: tuple[int, int],
    working_size: int | None = None,
    *,
    network: bool = True,
    name: str,
) -> None:
    """Refuses the image `name` if it needs more memory than is free. See `need`.

    Raises:
        TooLarge: it does; the message has both figures and a working size that would do.
    """
    needed = need(recipe, direction, size, working_size, network=network)
    if fits(needed):
        return
    there = free()
    fitting = max(working_size_of(size, working_size))
    while fitting >= 64 and (
        need(recipe, direction, size, fitting, network=network) > _MARGIN * there
    ):
        fitting = fitting * 19 // 20
    advice = f"--working-size {fitting}" if fitting >= 64 else "free some, or cut the image"
    raise TooLarge(
        f"{name}: {size[1]} x {size[0]} pixels need about {needed / 1e9:.1f} GB of memory and "
        f"{there / 1e9:.1f} GB are free: {advice}"
    )


def _free_of_groups(root: Path) -> list[int]:
    """What is left under the memory limits of this process's control groups, 1 and 2.

    File cache counts as used there though it gives way, so the inactive part is added back.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, limit, usage = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount, limit = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            usage = "memory.usage_in_bytes"
        else:
            continue
        # Inside a container the group's own folder may be mounted as the root of all.
        for folder in dict.fromkeys((root / mount / group.lstrip("/"), root / mount)):
            try:
                most, used = (folder / limit).read_text(), (folder / usage).read_text()
                cached = dict(
                    row.split() for row in (folder / "memory.stat").read_text().splitlines()
                )
            except (OSError, ValueError):
                continue
            if most.strip() != "max":
                cache = cached.get("total_inactive_file", cached.get("inactive_file", 0))
                left.append(max(int(most) - int(used) + int(cache), 0))
    return left
