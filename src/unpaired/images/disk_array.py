"""Arrays on disk, for sets of images that may exceed memory."""

import math
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired.errors import RunError

__all__ = ["disk_array"]


def disk_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Creates an array of zeros in a nameless temporary file, which is gone with the array.

    Raises:
        RunError: there is no room for the file.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if not size:
        return np.empty(shape, kind)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # else a full disk would kill the process later
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, kind, "r+", shape=shape)
    except OSError as error:
        raise RunError(
            f"no temporary file of {size:,} bytes for images ({error.strerror or error}): free"
            " the space, set TMPDIR to a folder with more, or give --limit"
        ) from error
