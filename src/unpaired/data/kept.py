"""Decoded images kept in memory where it is free, so that a training decodes each of them once."""

import threading
from collections.abc import Callable, Hashable

from unpaired.images.image import Image
from unpaired.memory import free

__all__ = ["KeptImages"]

_SHARE, _FREE = 0.25, 0.5  # of the memory that is free at the first image: kept, and left free


class KeptImages:
    """Images by a key, as many as fit; which are kept changes the time of a training alone.

    The first ones stay: in each pass a training needs every image once, so that to replace the
    oldest would lose each just before it is needed.
    """

    def __init__(self, processes: int = 1) -> None:
        """`processes` share the machine's memory, each with images of its own."""
        self.processes = processes
        self.left: float | None = None  # bytes; not known before the first image
        self._floor = 0.0  # bytes that must be free
        self._images: dict[Hashable, Image] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Image]) -> Image:
        """The image of `key`, read when it is first asked for. May be called from threads.

        The arrays of an image that is kept cannot be written to.
        """
        if (known := self._images.get(key)) is not None:
            return known
        image = read()
        arrays = [each for each in (image.pixels, image.alpha, image.valid) if each is not None]
        # A half of an image keeps the whole one in memory.
        size = sum(max(each.nbytes, getattr(each.base, "nbytes", 0)) for each in arrays)
        with self._lock:
            if self.left is None:
                self.left = _SHARE * free() / self.processes
                self._floor = _FREE * free()
            if key not in self._images and size <= self.left and free() >= self._floor:
                self.left -= size
                for each in arrays:
                    each.flags.writeable = False
                self._images[key] = image
        return image
