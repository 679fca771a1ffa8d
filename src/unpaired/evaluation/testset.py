"""The images of an evaluation: squares of one size, on disk, so that memory does not grow."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.config import Recipe
from unpaired.console import counted
from unpaired.data.batches import load_whole
from unpaired.data.domains import DataSet, Folder
from unpaired.directions import Domain
from unpaired.errors import DataError, ImageError, RunError
from unpaired.images.image import from_signed
from unpaired.streams import stream

__all__ = [
    "FEWEST",
    "REFERENCE",
    "Samples",
    "Squares",
    "TestSet",
    "gather",
    "is_paired",
    "shelf",
    "to_rgb",
]

SAMPLE = 9  # random stream of the draws; 1 to 8 are those of training
FEWEST = 3  # images that figures of a set are made of
REFERENCE = 1000  # training images, at most, for floors and baselines
CHUNK, CHUNK_PIXELS = 64, 2**22  # images in memory at once, and pixels of them

Samples = NDArray[Any]  # uint8 or uint16


@dataclass(frozen=True, eq=False)
class Squares:
    """Images (n, side, side, bands), uint8 or uint16, and their names."""

    samples: Samples
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def chunks(self) -> Iterator[Samples]:
        """The images in their order, some at a time."""
        step = _at_once(self.samples.shape[1])
        for start in range(0, len(self), step):
            yield np.asarray(self.samples[start : start + step])

    def first(self, count: int) -> "Squares":
        """The first images, at most all."""
        return Squares(self.samples[:count], self.names[:count])


@dataclass(frozen=True, eq=False)
class TestSet:
    """What a model is held against, and the training images that floors and baselines know."""

    __test__ = False  # not a class of tests

    test: dict[Domain, Squares]
    train: dict[Domain, Squares]  # in an order by lot; without a domain that has none
    paired: bool  # images of one index show the same; a statement about file names
    held_out: bool  # False where there is no test set and training images stand in for it


def gather(
    data: DataSet,
    recipe: Recipe,
    *,
    side: int,
    limit: int,
    seed: int,
    max_pixels: int,
    progress: Callable[[int, int], object],
) -> TestSet:
    """Reads the images of a data set at `side` x `side` pixels, resized with antialiasing.

    Args:
        recipe: bands and depth of the domains.
        limit: images of each test set at most, drawn by `seed` (0: all); else at least 3.
        progress: is told how many images of how many are read.

    Raises:
        DataError: a domain has fewer than 3 images.
        ImageError: an image cannot be read, or its bands do not fit.
    """
    held_out = data.test_a is not None and data.test_b is not None
    test_a, test_b = data.train_a, data.train_b
    if data.test_a is not None and data.test_b is not None:
        test_a, test_b = data.test_a, data.test_b
    for folder in (test_a, test_b):
        if len(folder) < FEWEST:
            there = counted(len(folder), "image")
            raise DataError(f"{folder.root}: {there} to evaluate with: give {FEWEST} or more")
    paired = is_paired(test_a, test_b)
    chosen_a, chosen_b = (_draw(len(f), limit, seed, i) for i, f in ((0, test_a), (1, test_b)))
    if paired:
        chosen_b = chosen_a
    order_a, order_b = _by_stem(test_a), _by_stem(test_b)
    kind_a, kind_b = (recipe.bands_a, recipe.depth_a), (recipe.bands_b, recipe.depth_b)
    sets = {
        "test a": (test_a, [order_a[i] for i in chosen_a], *kind_a),
        "test b": (test_b, [order_b[i] for i in chosen_b], *kind_b),
        "train a": (data.train_a, _shuffle(len(data.train_a), seed, 2)[:REFERENCE], *kind_a),
        "train b": (data.train_b, _shuffle(len(data.train_b), seed, 3)[:REFERENCE], *kind_b),
    }
    total = sum(len(indices) for _, indices, _, _ in sets.values())
    done = 0
    squares: dict[str, Squares] = {}
    for name, (folder, indices, bands, depth) in sets.items():
        deep = depth == 16
        samples = shelf((len(indices), side, side, bands), deep=deep)
        for place, index in enumerate(indices):
            signed = _load(folder, index, bands, side, max_pixels)
            samples[place] = from_signed(signed, 16 if deep else 8)
            done += 1
            progress(done, total)
        squares[name] = Squares(samples, tuple(folder.names[index] for index in indices))
    train: dict[Domain, Squares] = {"a": squares["train a"], "b": squares["train b"]}
    return TestSet(
        {"a": squares["test a"], "b": squares["test b"]},
        {domain: kept for domain, kept in train.items() if len(kept)},
        paired,
        held_out,
    )


def shelf(shape: tuple[int, ...], *, deep: bool) -> NDArray[Any]:
    """An array of uint8 (or uint16) in a nameless temporary file, gone with the array.

    Raises:
        RunError: there is no room for it.
    """
    kind = np.dtype(np.uint16 if deep else np.uint8)
    size = math.prod(shape) * kind.itemsize
    if not size:
        return np.empty(shape, kind)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a full disk would else kill the process, later
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, kind, "r+", shape=shape)
    except OSError as error:
        raise RunError(
            f"no temporary file of {size:,} bytes for images ({error.strerror or error}): free "
            "the space, set TMPDIR to a folder with more, or give --limit"
        ) from error


def is_paired(a: Folder, b: Folder) -> bool:
    """Whether every stem of A has its B and the other way; a few shared names are chance."""
    stems_a, stems_b = ([PurePosixPath(name).stem for name in f.names] for f in (a, b))
    return sorted(stems_a) == sorted(stems_b) and len(set(stems_a)) == len(stems_a)


def to_rgb(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """(..., bands) of 8 or 16 bits as (..., 3) of 8: the first three bands, or grey.

    Of two bands the first is shown.
    """
    small = np.asarray(samples if samples.dtype == np.uint8 else samples >> 8, np.uint8)
    bands = small.shape[-1]
    return small[..., :3] if bands >= 3 else np.repeat(small[..., :1], 3, axis=-1)


def _by_stem(folder: Folder) -> list[int]:
    return sorted(range(len(folder)), key=lambda i: PurePosixPath(folder.names[i]).stem)


def _draw(count: int, limit: int, seed: int, index: int) -> list[int]:
    """All of `count` in order, or `limit` of them by lot."""
    if not limit or count <= limit:
        return list(range(count))
    return sorted(_shuffle(count, seed, index)[:limit])


def _shuffle(count: int, seed: int, index: int) -> list[int]:
    """0 to `count` - 1, in an order by lot."""
    order: list[int] = stream(seed, SAMPLE, index).permutation(count).tolist()
    return order


def _at_once(side: int) -> int:
    """Images of `side` x `side` that are held in memory together."""
    return max(1, min(CHUNK, CHUNK_PIXELS // side**2))


def _load(
    folder: Folder, index: int, bands: int, side: int, max_pixels: int
) -> NDArray[np.float32]:
    """As `load_whole`, one image; if its bands do not fit, the error names it."""
    try:
        one = load_whole(folder, [index], bands=bands, side=side, max_pixels=max_pixels)
        return one.reshape(one.shape[1:])
    except ImageError as error:
        path = str(folder.path(index))
        if path in str(error):
            raise
        raise ImageError(f"{path}: {error}") from error
