"""`batches[step]`: a pure function of (seed, step). All randomness of a training is drawn here.

Order, pairing, crop, flip and the plan of the image pool come from
`default_rng((seed, STREAM, index + 1))` with a named stream for each use, so any step can be made
again at any time, in any thread: exact resume needs no state of a loader.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from unpaired.config import Recipe
from unpaired.data.domains import DataSet, Folder
from unpaired.errors import ConfigError
from unpaired.images.formats import read_image
from unpaired.images.image import over_white, to_signed, with_bands
from unpaired.images.resize import resize
from unpaired.streams import CROP, ORDER_A, ORDER_B, POOL_A, POOL_B, stream

__all__ = [
    "Batch",
    "Batches",
    "PoolPlan",
    "load_square",
    "load_whole",
    "pool_plan",
    "prefetch",
]


@dataclass(frozen=True)
class PoolPlan:
    """What an image pool does in one step, a value a lane (index of the batch).

    The lane's new fake is stored at `slot` where `store` is set. The discriminator sees what stood
    in that slot where `swap` is set, and the new fake otherwise.
    """

    slot: NDArray[np.int32]
    store: NDArray[np.bool_]
    swap: NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """All a training step needs: images (N, H, W, bands) in [-1, 1], and the pools' plans."""

    real_a: NDArray[np.float32]
    real_b: NDArray[np.float32]
    pool_a: PoolPlan
    pool_b: PoolPlan


def pool_plan(recipe: Recipe, name: int, step: int, lanes: slice) -> PoolPlan:
    """The plan of pool `name` (POOL_A or POOL_B) in one step.

    Each lane has a pool of its own: while it fills, the new fake is kept and shown; then with
    probability 1/2 a random old one is shown and replaced, else the new one is shown and not kept.
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


class Batches:
    """The batches of a training, by index: `batches[step]` is a pure function of (seed, step)."""

    def __init__(
        self, data: DataSet, recipe: Recipe, *, shard: tuple[int, int] = (0, 1), max_pixels: int
    ) -> None:
        """`shard` is (index, count): this process makes one of `count` parts of every batch.

        Raises:
            ConfigError: the batch does not divide into so many parts.
        """
        self.data = data
        self.recipe = recipe
        self.max_pixels = max_pixels
        index, count = shard
        if recipe.batch_size % count:
            raise ConfigError(
                f"--batch-size {recipe.batch_size} does not divide among {count} processes"
            )
        share = recipe.batch_size // count
        self.lanes = slice(index * share, (index + 1) * share)

    def __getitem__(self, step: int) -> Batch:
        """The batch of one step (from 0). Safe to call from several threads.

        Raises:
            ImageError: an image can no longer be read.
        """
        recipe = self.recipe
        # Four numbers a lane and domain: left, top, flip, and one in reserve.
        chance = stream(recipe.seed, CROP, step).random((2, recipe.batch_size, 4))
        lanes = range(recipe.batch_size)[self.lanes]
        real_a = [
            self._crop(self.data.train_a, ORDER_A, recipe.bands_a, step, lane, chance[0, lane])
            for lane in lanes
        ]
        real_b = [
            self._crop(self.data.train_b, ORDER_B, recipe.bands_b, step, lane, chance[1, lane])
            for lane in lanes
        ]
        return Batch(
            real_a=np.stack(real_a),
            real_b=np.stack(real_b),
            pool_a=pool_plan(recipe, POOL_A, step, self.lanes),
            pool_b=pool_plan(recipe, POOL_B, step, self.lanes),
        )

    def _crop(
        self,
        folder: Folder,
        order: int,
        bands: int,
        step: int,
        lane: int,
        chance: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """One training image: its turn in the shuffled domain, resized, cropped, mirrored."""
        recipe = self.recipe
        turn = step * recipe.batch_size + lane
        passed, place = divmod(turn, len(folder))
        name = int(_shuffled(recipe.seed, order, passed, len(folder))[place])
        image = read_image(folder.path(name), max_pixels=self.max_pixels)
        pixels = with_bands(over_white(image), bands)
        room = recipe.load_size - recipe.image_size + 1
        left, top = int(chance[0] * room), int(chance[1] * room)
        square = load_square(pixels, recipe.load_size, (left, top), recipe.image_size)
        if recipe.flip and chance[2] < 0.5:
            square = square[:, ::-1]
        return square


@lru_cache(maxsize=8)
def _shuffled(seed: int, order: int, passed: int, count: int) -> NDArray[np.int64]:
    """The order of a domain in its pass of index `passed`: every image once."""
    return stream(seed, order, passed).permutation(count)


def load_square(
    pixels: np.ndarray, load_size: int, corner: tuple[int, int], side: int
) -> NDArray[np.float32]:
    """The crop at `corner` (left, top), `side` pixels wide, of an image resized to a square.

    Bicubic with antialiasing, computed for the crop alone: the same as resizing the whole image
    to (load_size, load_size) and cropping then. `pixels` (H, W, bands) are uint8 or uint16; the
    result (side, side, bands) is float32 in [-1, 1].
    """
    height, width, bands = pixels.shape
    left, top = corner
    if (height, width) == (load_size, load_size):
        return to_signed(pixels[top : top + side, left : left + side])
    box = (
        left * width / load_size,
        top * height / load_size,
        (left + side) * width / load_size,
        (top + side) * height / load_size,
    )
    if pixels.dtype == np.uint8 and bands in (1, 3):
        image = Pillow.fromarray(pixels[:, :, 0] if bands == 1 else pixels)
        small = image.resize((side, side), Pillow.Resampling.BICUBIC, box=box)
        return to_signed(np.asarray(small).reshape(side, side, bands))
    top_value = np.iinfo(pixels.dtype).max
    signed = resize(pixels, (side, side), (0, top_value), box)
    signed /= np.float32(top_value / 2)
    signed -= 1
    return signed


def load_whole(
    folder: Folder, indices: Iterable[int], *, bands: int, side: int, max_pixels: int
) -> NDArray[np.float32]:
    """Images for looking at: whole, resized to squares, (N, side, side, bands) in [-1, 1].

    Raises:
        ImageError: an image can no longer be read.
    """
    squares = []
    for index in indices:
        image = read_image(folder.path(index), max_pixels=max_pixels)
        pixels = with_bands(over_white(image), bands)
        squares.append(load_square(pixels, side, (0, 0), side))
    return np.stack(squares)


def prefetch(batches: Batches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """The batches of steps `start` to `stop` in order, made ahead in `workers` threads.

    Pillow decodes and resizes outside the interpreter's lock, so threads suffice.
    """
    ahead = 2 * workers + 1
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    waiting: list[Future[Batch]] = []
    try:
        upcoming = iter(range(start, stop))
        for step in upcoming:
            waiting.append(pool.submit(batches.__getitem__, step))
            if len(waiting) == ahead:
                break
        while waiting:
            batch = waiting.pop(0).result()
            for step in upcoming:
                waiting.append(pool.submit(batches.__getitem__, step))
                break
            yield batch
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
