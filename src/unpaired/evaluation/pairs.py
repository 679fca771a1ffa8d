"""Whether the test images of A and B are pairs: declared, asked for, or by names and contents.

Equal names alone prove nothing: two unrelated sets are often numbered alike. So pairs that nobody
declared must agree in their contents as well, beyond chance. The test: the edges of every image
(the magnitude of the gradient of its grey values, at 64 x 64 pixels) are correlated with those of
its namesake; the sum over all pairs is compared with that of pairs shuffled among 8 neighbours by
name. Neighbours, so that two sets that are merely sorted alike are no pairs. Images are pairs where
fewer than 1 in 100 shuffles agree as well; this takes at least 5 of them. Inverted, recoloured or
labelled images keep their edges, and what all images of a domain share does not count.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from unpaired.data.layout.domains import Folder
from unpaired.streams import SAMPLE, stream

__all__ = ["CHANCE", "SIDE", "agreement", "alike", "in_pairs", "some_neighbours"]

CHANCE = 0.01  # the share of shuffles that may agree as well as the pairs
SIDE = 64  # pixels
_NEIGHBOURS = 8
_COMPARED = 128  # pairs, at most
_SHUFFLES = 999

Image = NDArray[np.float32]


def in_pairs(a: Folder, b: Folder) -> list[tuple[int, int]] | None:
    """The indices of images of equal names, sorted by name; None where not every image has one.

    Names are compared without folders and suffixes, and without `_A` and `_B` at their ends where
    all images of A and of B have these.
    """
    keys_a, keys_b = _keys(a, "a"), _keys(b, "b")
    alike = keys_a.keys() == keys_b.keys() and len(keys_a) == len(a) and len(keys_b) == len(b)
    return [(keys_a[key], keys_b[key]) for key in sorted(keys_a)] if alike else None


def some_neighbours(count: int) -> list[NDArray[np.intp]]:
    """Blocks of neighbouring indices below `count`: all of them, or some spread over the whole."""
    blocks = np.array_split(np.arange(count), max(1, -(-count // _NEIGHBOURS)))
    most = _COMPARED // _NEIGHBOURS
    chosen = np.linspace(0, len(blocks) - 1, min(most, len(blocks))).round().astype(int)
    return [blocks[index] for index in chosen]


def alike(a: Sequence[Image], b: Sequence[Image]) -> NDArray[np.float64]:
    """The correlations of the edges of images: of `a` by rows, of `b` by columns, -1 to 1."""
    edges_a, edges_b = (np.stack([_edges(image) for image in images]) for images in (a, b))
    return edges_a.astype(np.float64) @ edges_b.T.astype(np.float64)


def _edges(image: Image) -> Image:
    """The magnitude of the gradient of an image (H, W, bands), of mean 0 and length 1, or all 0."""
    grey = image.mean(axis=-1)
    across = grey[1:-1, 2:] - grey[1:-1, :-2]
    down = grey[2:, 1:-1] - grey[:-2, 1:-1]
    magnitude = np.hypot(across, down).ravel()
    magnitude -= magnitude.mean()
    length = float(np.linalg.norm(magnitude))
    return magnitude / length if length > 1e-4 else np.zeros_like(magnitude)


def agreement(blocks: Sequence[NDArray[np.float64]], seed: int) -> float:
    """The share of shuffles within blocks after which edges agree as well as before, or better.

    Args:
        blocks: the correlations of neighbours (see `alike`), those of pairs on the diagonal.
        seed: of the shuffles; all possible ones are made where they are few. The pairs as they
            are count as one.
    """
    sizes = [len(block) for block in blocks]
    pairs = sum(float(np.trace(block)) for block in blocks)

    def of(orders: Sequence[Sequence[int] | NDArray[np.int64]]) -> float:
        return sum(
            float(block[np.arange(len(block)), order].sum())
            for block, order in zip(blocks, orders, strict=True)
        )

    if len(sizes) == 1 and math.factorial(sizes[0]) <= _SHUFFLES:
        shuffled = [of([order]) for order in itertools.permutations(range(sizes[0]))]
    else:
        rng = stream(seed, SAMPLE, 4)
        shuffled = [pairs, *(of([rng.permutation(n) for n in sizes]) for _ in range(_SHUFFLES))]
    return float(np.mean(np.array(shuffled) >= pairs - 1e-6))


def _keys(folder: Folder, side: str) -> dict[str, int]:
    """The indices of images by what their names have in common with those of the other domain."""
    stems = [PurePosixPath(folder.label(index)).stem for index in range(len(folder))]
    for mark in ("_", "-"):
        if stems and all(stem.lower().endswith(f"{mark}{side}") for stem in stems):
            stems = [stem[:-2] for stem in stems]
    return {stem: index for index, stem in enumerate(stems)}
