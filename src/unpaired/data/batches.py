"""`batches[step]`: a pure function of (seed, step) that draws all random numbers of a training.

Order, pairing, crop, flip and the plan of the image pool come from
`default_rng((seed, STREAM, index + 1))` with a named stream for each use, so any step can be
computed again at any time, in any thread: exact resume needs no state of a loader.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unpaired.config import Recipe
from unpaired.data.ahead import in_order
from unpaired.data.crops import DomainReader
from unpaired.data.kept import KeptImages
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.directions import DOMAINS, Domain
from unpaired.errors import ConfigError
from unpaired.streams import (
    CROP,
    FURTHER_CROP,
    FURTHER_ORDER_A,
    FURTHER_ORDER_B,
    FURTHER_POOL_A,
    FURTHER_POOL_B,
    ORDER_A,
    ORDER_B,
    POOL_A,
    POOL_B,
    stream,
)

__all__ = [
    "Batch",
    "Batches",
    "Further",
    "PoolPlan",
    "load_whole",
    "pool_plan",
    "prefetch",
]


@dataclass(frozen=True)
class PoolPlan:
    """The actions of an image pool in one step, one value for each lane (index in the batch).

    The lane's new fake is stored at `slot` if `store` is set. The discriminator sees the previous
    content of that slot if `swap` is set, and the new fake otherwise.
    """

    slot: NDArray[np.int32]
    store: NDArray[np.bool_]
    swap: NDArray[np.bool_]


@dataclass(frozen=True)
class Further:
    """What the discriminator of a domain sees in one step beyond the batch, K images a lane.

    `real` (N * K, H, W, bands) in [-1, 1], 0 in gaps, as `Batch.seen` says; `slot` (N, K) names
    images of each lane's pool, as it is after the new fake was stored.
    """

    real: NDArray[np.float32]
    slot: NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """The input of a training step: images (N, H, W, bands) in [-1, 1] and the pools' plans."""

    real_a: NDArray[np.float32]
    real_b: NDArray[np.float32]
    pool_a: PoolPlan
    pool_b: PoolPlan
    further: Mapping[Domain, Further] = field(default_factory=dict)
    """Of both domains; empty where discriminators see the batch alone (--discriminator-images)."""
    valid: Mapping[Domain, NDArray[np.bool_]] = field(default_factory=dict)
    """Pixels with data (N, H, W), of both domains; empty where all have data, or all count."""

    @property
    def seen(self) -> NDArray[np.bool_] | None:
        """Pixels that discriminators see (N, H, W): with data in both domains; None: all.

        In all others real and generated images are 0, so that gaps of one domain, which no
        generator can draw, do not tell them apart.
        """
        return self.valid["a"] & self.valid["b"] if self.valid else None


def pool_plan(recipe: Recipe, name: int, step: int, lanes: slice) -> PoolPlan:
    """Returns the plan of pool `name` (POOL_A or POOL_B) in one step.

    Each lane has its own pool. While it fills, the new fake is stored and shown; afterwards, with
    probability 1/2, a random stored one is shown and replaced, else the new one is shown and not
    stored (Shrivastava et al., "Learning from Simulated and Unsupervised Images", 2017).
    """
    count = recipe.batch_size
    rng = stream(recipe.seed, name, step)
    slot = rng.integers(0, max(recipe.pool_size, 1), count, dtype=np.int32)
    swap = rng.random(count) < 0.5
    if recipe.pool_size == 0:
        store = swap = np.zeros(count, bool)
    elif step < recipe.pool_size:
        slot = np.full(count, step, np.int32)
        store, swap = np.ones(count, bool), np.zeros(count, bool)
    else:
        store = swap
    return PoolPlan(slot[lanes], store[lanes], swap[lanes])


def further_slots(recipe: Recipe, name: int, step: int, lanes: slice) -> NDArray[np.int32]:
    """Returns the slots (N, K) of earlier fakes shown in one step, of those filled by then.

    `name` is FURTHER_POOL_A or FURTHER_POOL_B. They are drawn with replacement.
    """
    shape = (recipe.batch_size, recipe.discriminator_images - 1)
    filled = min(step + 1, recipe.pool_size)
    return stream(recipe.seed, name, step).integers(0, filled, shape, dtype=np.int32)[lanes]


class Batches:
    """The batches of a training, by index: `batches[step]` is a pure function of (seed, step)."""

    def __init__(
        self, data: DataSet, recipe: Recipe, *, shard: tuple[int, int] = (0, 1), max_pixels: int
    ) -> None:
        """`shard` is (index, count): this process computes one of `count` parts of every batch.

        Images are decoded once, as many as fit into the memory: see `kept`.

        Raises:
            ConfigError: the batch size is not a multiple of `count`.
        """
        self.data = data
        self.recipe = recipe
        self.max_pixels = max_pixels
        self.folders: Mapping[Domain, Folder] = {"a": data.train_a, "b": data.train_b}
        index, count = shard
        kept = KeptImages(processes=count)
        self.readers: Mapping[Domain, DomainReader] = {
            domain: DomainReader.of(recipe, domain, max_pixels, kept) for domain in DOMAINS
        }
        if recipe.batch_size % count:
            raise ConfigError(
                f"--batch-size {recipe.batch_size} cannot be divided among {count} processes"
            )
        share = recipe.batch_size // count
        self.lanes = slice(index * share, (index + 1) * share)

    def __getitem__(self, step: int) -> Batch:
        """Returns the batch of one step (from 0). May be called from several threads.

        Raises:
            ImageError: an image can no longer be read.
        """
        recipe = self.recipe
        lanes = range(recipe.batch_size)[self.lanes]
        reals, valid = self._images((ORDER_A, ORDER_B), CROP, step, recipe.batch_size, lanes)
        pool_a, pool_b = (pool_plan(recipe, name, step, self.lanes) for name in (POOL_A, POOL_B))
        return Batch(reals["a"], reals["b"], pool_a, pool_b, self._further(step, lanes), valid)

    def _further(self, step: int, lanes: range) -> Mapping[Domain, Further]:
        """Returns what discriminators see beyond the batch: in `step`, by these lanes."""
        recipe, each = self.recipe, self.recipe.discriminator_images - 1
        if not each:
            return {}
        count = recipe.batch_size * each
        own = range(lanes.start * each, lanes.stop * each)
        orders = FURTHER_ORDER_A, FURTHER_ORDER_B
        reals, valid = self._images(orders, FURTHER_CROP, step, count, own)
        if valid:
            for images in reals.values():
                images[~(valid["a"] & valid["b"])] = 0
        pools = zip(DOMAINS, (FURTHER_POOL_A, FURTHER_POOL_B), strict=True)
        return {
            domain: Further(reals[domain], further_slots(recipe, name, step, self.lanes))
            for domain, name in pools
        }

    def _images(
        self, orders: tuple[int, int], crop: int, step: int, count: int, places: range
    ) -> tuple[dict[Domain, NDArray[np.float32]], dict[Domain, NDArray[np.bool_]]]:
        """Returns images of both domains: of the `count` of a step, those at `places`.

        `orders` and `crop` are their random streams. Beside them their pixels with data: see
        `Batch.valid`.
        """
        # Four numbers for each domain and place: left, top, flip, and one in reserve.
        chance = stream(self.recipe.seed, crop, step).random((2, count, 4))
        found = {
            domain: [self._image(domain, order, step * count + k, draws[k]) for k in places]
            for domain, order, draws in zip(DOMAINS, orders, chance, strict=True)
        }
        reals = {domain: np.stack([image for image, _ in each]) for domain, each in found.items()}
        masks = {domain: [mask for _, mask in each] for domain, each in found.items()}
        if self.recipe.gaps == "count" or all(
            mask is None for each in masks.values() for mask in each
        ):
            return reals, {}
        whole = np.ones((self.recipe.image_size, self.recipe.image_size), bool)
        return reals, {
            domain: np.stack([whole if mask is None else mask for mask in each])
            for domain, each in masks.items()
        }

    def _image(
        self, domain: Domain, order: int, number: int, chance: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Returns the image of this number in shuffled passes: resized, cropped, flipped.

        Beside it its pixels with data; None: all.
        """
        recipe, folder = self.recipe, self.folders[domain]
        passes, place = divmod(number, len(folder))
        index = int(_shuffled(recipe.seed, order, passes, len(folder))[place])
        reader = self.readers[domain]
        square, valid = reader.crop(folder, index, chance, recipe.load_size, recipe.image_size)
        if recipe.flip and chance[2] < 0.5:
            return square[:, ::-1], None if valid is None else valid[:, ::-1]
        return square, valid


@lru_cache(maxsize=16)
def _shuffled(seed: int, order: int, passed: int, count: int) -> NDArray[np.int64]:
    """Returns the order of a domain in its pass of index `passed`: every image once."""
    return stream(seed, order, passed).permutation(count)


def load_whole(
    folder: Folder, indices: Iterable[int], reader: DomainReader, side: int
) -> NDArray[np.float32]:
    """Loads images for display: whole, resized to squares, (N, side, side, bands) in [-1, 1].

    Of native crops they are the squares in the middle of the images.

    Raises:
        ImageError: an image can no longer be read.
    """
    return np.stack([reader.whole(folder, index, side) for index in indices])


def prefetch(batches: Batches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Yields the batches of steps `start` to `stop`, computed ahead in `workers` threads."""
    steps = range(start, stop)
    return in_order(batches.__getitem__, steps, threads=workers, ahead=2 * workers + 1)
