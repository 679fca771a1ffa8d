"""Features of sets of pictures of any number: kept in memory while few, on disk where many."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import IO

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.features.seam import FeatureNetwork

__all__ = ["FeatureNetwork", "each_picture", "extract"]

Pictures = NDArray[np.uint8]

_BATCH = 16  # pictures at once through a network
_IN_MEMORY = 64 * 2**20  # bytes of features; what is more lies on disk


def extract(
    network: FeatureNetwork,
    batches: Iterable[Pictures],
    progress: Callable[[int], object] = lambda done: None,
) -> NDArray[np.float32]:
    """Features of all pictures, in their order: (n, `network.width`).

    Args:
        network: takes RGB pictures of any size and resizes them itself.
        batches: uint8 pictures, (height, width, bands) or (n, height, width, bands), of sizes that
            may differ; grey ones (1 band) become RGB. They are read once, a few at a time.
        progress: is told how many pictures are done.

    Beyond 64 MiB the result is a `np.memmap` of a nameless temporary file, which is gone with the
    array, even if the process is killed.

    Raises:
        DataError: there are no pictures, or one is not uint8 or not of 1 or 3 bands.
    """
    kept: list[NDArray[np.float32]] = []
    file: IO[bytes] | None = None
    done = 0
    try:
        for batch in _batches_of_one_shape(batches):
            kept.append(network.features(_rgb(batch)))
            done += len(batch)
            if sum(block.nbytes for block in kept) > _IN_MEMORY:
                file = file or tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
                _move(kept, file)
            progress(done)
        if not done:
            raise DataError("there are no pictures to take features of")
        if file is None:
            return np.concatenate(kept)
        _move(kept, file)
        file.flush()
        # The map outlives the file: it has its own handle.
        return np.memmap(file, np.float32, "r", shape=(done, network.width))
    finally:
        if file is not None:
            file.close()


def each_picture(batches: Iterable[Pictures]) -> Iterator[Pictures]:
    """The pictures one by one, (height, width, bands), of single ones and of batches.

    Raises:
        DataError: an array is not of uint8 pictures.
    """
    for batch in batches:
        if batch.dtype != np.uint8 or batch.ndim not in (3, 4):
            raise DataError(
                f"pictures are uint8, (height, width, bands), not {batch.dtype} of {batch.shape}"
            )
        yield from batch if batch.ndim == 4 else (batch,)


def _batches_of_one_shape(batches: Iterable[Pictures]) -> Iterator[Pictures]:
    """The pictures in their order, in batches of neighbours of one shape."""
    for _, pictures in groupby(each_picture(batches), key=lambda picture: picture.shape):
        batch: list[Pictures] = []
        for picture in pictures:
            batch.append(picture)
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


def _rgb(pictures: Pictures) -> Pictures:
    match pictures.shape[-1]:
        case 3:
            return pictures
        case 1:
            return np.repeat(pictures, 3, axis=-1)
        case bands:
            raise DataError(f"networks of features take pictures of 1 or 3 bands, not {bands}")


def _move(kept: list[NDArray[np.float32]], file: IO[bytes]) -> None:
    for block in kept:
        file.write(np.ascontiguousarray(block, np.float32).data)
    kept.clear()
