"""What memory a translation needs, foretold from the sizes alone, and what memory is free.

A system that runs out of memory kills a process without a word, so a picture that cannot fit is
refused before it is decoded. The figures were measured as peak resident memory of fresh processes
on a CPU: see docs/results.md.
"""

import math
from pathlib import Path

import psutil

from unpaired.config import Recipe
from unpaired.engines.seam import Direction
from unpaired.errors import TooLarge

__all__ = ["free", "need", "require"]

# Bytes a pixel and unit of `Recipe.width` at a generator's peak, which is in its last step up:
# transposed: two and a half full-resolution activations of `width` channels; resize: four and a
# half, since the enlarged tensor is padded. Measured 10.0 to 10.2 and 18.0 to 18.3 in fp32; bf16
# saves nothing here and costs more for resize (21.0 to 21.3), fp64 is twice fp32.
_NETWORK = {
    ("transposed", "fp32"): 10.5,
    ("transposed", "bf16"): 10.5,
    ("transposed", "fp64"): 21.0,
    ("resize", "fp32"): 18.5,
    ("resize", "bf16"): 21.5,
    ("resize", "fp64"): 37.0,
}
_BATCH = 1.5  # each picture of a batch beside others costs up to that much more than one alone
_FIXED = 40e6  # bytes of scratch and packed kernels, whatever the size


def need(
    recipe: Recipe,
    direction: Direction,
    size: tuple[int, int],
    working: tuple[int, int],
    *,
    batch: int = 1,
    network: bool = True,
) -> int:
    """Bytes that `batch` pictures of `size` (height, width) need, translated at size `working`.

    `network` is false where the networks run in another memory than the machine's own.
    """
    before, after = (
        (recipe.bands_a, recipe.bands_b) if direction == "ab" else (recipe.bands_b, recipe.bands_a)
    )
    pixels, worked = math.prod(size), math.prod(working)
    # A picture and its result, each once more in its decoder or encoder, 16-bit at the most.
    total = 4.0 * (before + after) * pixels
    # The network's input, its output, and two passing copies of that, in fp32.
    total += 4.0 * (before + 3 * after) * worked
    if working != size:
        total += 16.0 * pixels  # bands in floating point, one at a time, on their way back
    if network:
        dear = _BATCH if batch > 1 else 1.0
        total += dear * _NETWORK[recipe.upsample, recipe.precision] * recipe.width * worked
    return round(batch * total + _FIXED)


def free() -> int:
    """Bytes that this process may still take: of the machine, and of its control group (Linux)."""
    return min([psutil.virtual_memory().available, *_free_of_groups(Path("/"))])


def require(
    recipe: Recipe,
    direction: Direction,
    size: tuple[int, int],
    working: tuple[int, int],
    *,
    network: bool = True,
    name: str,
) -> None:
    """Refuses the picture `name` if it needs more memory than is free. See `need`.

    Raises:
        TooLarge: it does; the message has both figures and a working size that would do.
    """
    needed, there = need(recipe, direction, size, working, network=network), free()
    if needed <= there:
        return
    fitting = int(max(working) * math.sqrt(0.8 * there / needed)) // 4 * 4
    raise TooLarge(
        f"{name}: {size[1]} x {size[0]} pixels need about {needed / 1e9:.1f} GB of memory and "
        f"{there / 1e9:.1f} GB are free: translate it smaller with --working-size {max(fitting, 8)}"
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
